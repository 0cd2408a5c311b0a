// SPDX-License-Identifier: Apache-2.0
// Calls to a PostgreSQL or Redshift by libpq, each with an end: a server that is dead or slow holds
// no thread for longer, nor does one that is given up because ours is being stopped.
#pragma once
#include "base/buf.h"
#include "delivery/env.h"

#include <stdatomic.h>

typedef struct PgAddress {
    Str host, port, database;
    Str user, password;
    Str ssl_mode; // libpq's word; absent: what the environment wants
} PgAddress;

// jdbc:redshift://host:5439/database?ssl=true&sslmode=verify-full, and jdbc:postgresql://. User and
// password are not taken from it. ERR_INVALID with a text.
Err pg_address_parse(struct arena *a, Str jdbc_url, PgAddress *ret, Str *ret_text);

struct pg;

// What went wrong with the last call: SQLSTATE ("" if the server had no say) and its words.
typedef struct PgTrouble {
    char state[6];
    Str text; // in the arena of the connection
} PgTrouble;

// Always gives a connection, which may have failed: pg_trouble tells why.
// `is_cut`: as in a SinkAttempt.
Err pg_connect(const struct delivery_env *env, const PgAddress *at, const atomic_bool *is_cut,
               struct pg **ret);
void pg_close(struct pg *p); // NULL is fine
AUTO_CLOSE(pg)
const PgTrouble *pg_trouble(const struct pg *p);

// ERR_IO: the server refused it. ERR_CLOSED: the connection is broken. ERR_TIMEOUT: it was
// cancelled, or nothing came back. The first value of the first row lands in *ret, if not NULL;
// absent: there is none.
Err pg_run(struct pg *p, struct arena *a, Str sql, int64_t timeout_ns, Str *ret);

// The names and types of what a query gives; at most PG_COLUMNS_MAX.
enum { PG_COLUMNS_MAX = 1600 };
typedef struct PgColumn {
    Str name;
    unsigned type; // an OID
} PgColumn;
Err pg_columns(struct pg *p, struct arena *a, Str query, PgColumn **ret, size_t *ret_n);

// COPY ... FROM STDIN: begin, any number of pieces, end. `give_up`: absent, or why it is to fail.
Err pg_copy_begin(struct pg *p, Str sql);
Err pg_copy_put(struct pg *p, Str bytes);
Err pg_copy_end(struct pg *p, Str give_up);

Str pg_quote(struct arena *a, Str text); // 'it''s'
Str pg_name(struct arena *a, Str name);  // "a ""column"""
