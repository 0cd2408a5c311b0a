// SPDX-License-Identifier: Apache-2.0
// How commands reach a server: where it is, with which key, and what its errors mean for the exit
// status.
#pragma once
#include "cli/command.h"
#include "client/client.h"
#include "codec/json.h"
#include "http/client.h"

extern const Flag remote_flags[];
extern const size_t remote_flag_count;
enum { REMOTE_PAGE_FLAGS = 1 }; // the first of them are those of remote_page

// From the flags, then AWS's variables, then the data directory's credentials and the address that
// a server listens on by default.
ExitCode remote_config(const struct invocation *in, ClientConfig *ret);
ExitCode remote_open(const struct invocation *in, struct client **ret);

// One of the server's own pages, which need no key; any certificate will do. `header` may be NULL.
// Complains when there is no reply.
ExitCode remote_page(const struct invocation *in, Str method, Str target, const HttpHeader *header,
                     int64_t timeout_ns, HttpReply *ret);

// One operation of Kinesis, or of Firehose where the command is about that. Errors have been
// printed when the code is not EXIT_GOOD.
ExitCode remote_call(const struct invocation *in, struct client *c, Str operation, Str body,
                     const JsonValue **ret);
// The same for callers that handle AWS errors themselves: only failures to get a reply are printed.
ExitCode remote_send(const struct invocation *in, struct client *c, struct arena *a, Str operation,
                     Str body, ClientReply *ret);
// The answer of a page for operators (server/admin.h), and its text. Errors have been printed.
// EXIT_AUTH: the key was refused.
ExitCode remote_ask(const struct invocation *in, Str page, Str body, const JsonValue **ret,
                    Str *ret_text);
// Says why no reply came from the server.
ExitCode remote_unreachable(const struct invocation *in, Err e);
ExitCode remote_refused(const ClientReply *reply);  // the same for a page of operators
ExitCode remote_complain(const ClientReply *reply); // prints an AWS error; its exit code

Str stream_page_body(struct arena *a, Str stream); // {"stream":"..."}, of such pages
Str streams_page_body(struct arena *a, const Str *streams, size_t n); // {"streams":["..."]}
// {"StreamName":"..."}
Str stream_body(struct arena *a, Str stream);
Str json_number_text(const JsonValue *map, Str key); // its digits, or empty
