// SPDX-License-Identifier: Apache-2.0
// The server of the demo: this very program, started as a child that ends with us.
#pragma once
#include "cli/command.h"

struct demo_server;

// Starts `serve` on the data directory and waits until it is ready. What it logs goes to
// DIR/server.log. `listen` is absent for a free port. Settings of the command line are passed on.
ExitCode demo_server_start(const struct invocation *in, Str data_dir, Str listen,
                           struct demo_server **ret);
Str demo_server_url(const struct demo_server *s); // "http://127.0.0.1:40123"
Str demo_server_access_key(const struct demo_server *s);
Str demo_server_secret_key(const struct demo_server *s);
bool demo_server_runs(struct demo_server *s);

// Asks it to end and waits; printed if it did not end well.
ExitCode demo_server_stop(struct demo_server *s);
void demo_server_close(struct demo_server *s); // ends it the hard way if need be; NULL is fine
AUTO_CLOSE(demo_server)
