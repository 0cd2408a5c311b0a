// SPDX-License-Identifier: Apache-2.0
// Commands about a store work on a directory, or through the server that holds it.
#pragma once
#include "cli/remote.h"
#include "os/io.h"

// Of commands that take zones without the other settings.
#define STORE_ZONES_FLAG                                          \
    {                                                             \
        S_INIT("zones"), 0, S_INIT("DIR"),                        \
            S_INIT("Where the files are, once for each zone, if " \
                   "the configuration does not say so")           \
    }

typedef struct StoreSide {
    Str data_dir;
    Str content_dir; // where its files are: the same, or the first zone that has them
    Settings *settings;
    bool is_online;  // a server holds the directory, or --endpoint says where one is
    bool any_server; // the one of --endpoint, whatever directory it has
} StoreSide;

// EXIT_NOT_FOUND: there is neither a data directory nor an endpoint. Changes nothing on disk. When
// a server holds the directory, and nobody says where it listens, its own note is taken as
// --endpoint.
ExitCode store_side(struct invocation *in, StoreSide *ret);

// What the server at the endpoint holds (the answer of "stat"). EXIT_FAILED: it holds another
// directory than this one. With --endpoint any will do.
ExitCode store_ask_stat(const struct invocation *in, const StoreSide *side, const JsonValue **ret,
                        Str *ret_text);

// Waits for the check or backup that the server has begun; shows on a terminal how it goes. The
// last answer comes back. EXIT_GOOD: it is done.
ExitCode store_wait_job(const struct invocation *in, const JsonValue *job, const JsonValue **ret);

// A path that a server with another working directory understands.
Str absolute_path(struct arena *a, Str path);
