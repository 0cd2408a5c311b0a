// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_pg.h"
#include "base/time.h"
#include "delivery/sink_net.h"
#include "os/address.h"
#include "os/io.h"

#include <errno.h>
#include <libpq-fe.h>
#include <linux/tcp.h> // that of glibc does not count bytes
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum {
    CONNECT_S = 20,
    QUERY_S = 60,
    IDLE_S = 60, // between two pieces of a COPY
    CANCEL_S = 10,
    CANCELS_MAX = 16,          // that databases may keep waiting
    TURN_MS = 100,             // how often is asked whether the server stops
    SAID_BYTES_MAX = 16 << 20, // by a database, on one connection
    ADDRESSES_MAX = 4,
    ADDRESS_BYTES = 64,
};

struct pg {
    const struct delivery_env *env;
    const atomic_bool *is_cut;
    struct arena *texts;
    PGconn *c;
    PgTrouble trouble;
};

// ---- The address

static Err refuse(Str *ret_text, const char *text)
{
    *ret_text = str_of(text);
    return fail(ERR_INVALID, text);
}

static void read_properties(struct arena *a, Str s, PgAddress *at)
{
    while (s.n > 0) {
        Str name, value, one;
        size_t n = MIN(MIN(str_find(s, '&'), str_find(s, ';')), s.n);
        one = str_head(s, n);
        s = str_skip(s, MIN(n + 1, s.n));
        (void)str_cut(one, '=', &name, &value);
        if (str_eq_nocase(name, S("sslmode")))
            at->ssl_mode = str_lower(a, value);
        else if (str_eq_nocase(name, S("ssl")) && str_eq_nocase(value, S("true")) &&
                 at->ssl_mode.p == NULL)
            at->ssl_mode = S("require");
    }
}

Err pg_address_parse(struct arena *a, Str jdbc_url, PgAddress *ret, Str *ret_text)
{
    static const Str schemes[] = { S_INIT("jdbc:redshift://"), S_INIT("jdbc:postgresql://") };
    static const Str modes[] = { S_INIT("disable"), S_INIT("allow"),     S_INIT("prefer"),
                                 S_INIT("require"), S_INIT("verify-ca"), S_INIT("verify-full") };
    PgAddress at = { .port = S("5439") };
    Str rest = { 0 }, host;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (str_starts(jdbc_url, schemes[i]))
            rest = str_skip(jdbc_url, schemes[i].n);
    if (rest.p == NULL)
        return refuse(ret_text, "A cluster's URL is jdbc:redshift://host:port/database.");
    if (!str_cut(rest, '/', &host, &rest))
        return refuse(ret_text, "A cluster's URL names a database.");
    size_t n = MIN(str_find(rest, '?'), str_find(rest, ';'));
    at.database = str_head(rest, n);
    read_properties(a, str_skip(rest, MIN(n + 1, rest.n)), &at);
    size_t colon = host.n;
    while (colon > 0 && host.p[colon - 1] != ':' && host.p[colon - 1] != ']')
        colon--;
    at.host = host;
    if (colon > 0 && host.p[colon - 1] == ':') {
        at.host = str_head(host, colon - 1);
        at.port = str_skip(host, colon);
    }
    if (str_starts(at.host, S("[")) && str_ends(at.host, S("]")))
        at.host = str_head(str_skip(at.host, 1), at.host.n - 2);
    uint64_t port;
    if (at.host.n == 0 || at.database.n == 0 || str_find(at.host, ',') < at.host.n ||
        str_u64(at.port, &port).kind != ERR_NONE || port == 0 || port > 65535)
        return refuse(ret_text, "A cluster's URL is jdbc:redshift://host:port/database.");
    bool known = at.ssl_mode.p == NULL;
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        known = known || str_eq(at.ssl_mode, modes[i]);
    if (!known)
        return refuse(ret_text, "The sslmode in the cluster's URL is not known.");
    *ret = at;
    return OK;
}

// ---- Waiting

static Err note(struct pg *p, ErrKind kind, const char *state, Str text)
{
    p->trouble = (PgTrouble){ .text = str_dup(p->texts, str_trim(text)) };
    for (size_t i = 0; state != NULL && i < 5 && state[i] != 0; i++)
        p->trouble.state[i] = state[i];
    return fail(kind, "the database does not do it");
}

static Err broken(struct pg *p)
{
    return note(p, ERR_CLOSED, NULL, str_of(PQerrorMessage(p->c)));
}

static int64_t now_ns(const struct pg *p)
{
    return p->env->io->mono_ns(p->env->io);
}

// libpq keeps a message until all of it is there, and a result with all of its rows.
static bool says_too_much(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
           info.tcpi_bytes_received > SAID_BYTES_MAX;
}

// Asked before each wait, so that a database which always has a byte more has no more time.
static Err check_end(struct pg *p, int fd, int64_t end_ns)
{
    if (sink_is_over(p->env, p->is_cut))
        return note(p, ERR_TIMEOUT, NULL, S("The attempt is ended."));
    if (now_ns(p) >= end_ns)
        return note(p, ERR_TIMEOUT, NULL, S("The database does not answer in time."));
    if (says_too_much(fd))
        return note(p, ERR_TIMEOUT, NULL, S("The database says too much."));
    return OK;
}

static Err wait_until(struct pg *p, short events, int64_t end_ns)
{
    for (;;) {
        struct pollfd at = { .fd = PQsocket(p->c), .events = events };
        if (at.fd < 0)
            return broken(p);
        TRY(check_end(p, at.fd, end_ns));
        int n = poll(&at, 1, TURN_MS);
        if (n > 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return note(p, ERR_CLOSED, NULL, S("Waiting for the database failed."));
    }
}

// ---- Connecting

// Addresses as libpq takes them, "10.0.0.1,10.0.0.2": looked up here, so that each can be judged.
static Err look_up(struct pg *p, struct arena *a, const PgAddress *at, Str *ret, Str *ret_hosts)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = NULL;
    if (getaddrinfo(str_c(a, at->host), str_c(a, at->port), &hints, &all) != 0)
        return note(p, ERR_CLOSED, NULL, S("The name of the cluster is not known."));
    size_t n = 0;
    bool hidden = false;
    *ret = *ret_hosts = S("");
    for (const struct addrinfo *i = all; i != NULL && n < ADDRESSES_MAX; i = i->ai_next) {
        char text[ADDRESS_BYTES];
        if (!p->env->plain_http && address_is_private(i->ai_addr)) {
            hidden = true;
            continue;
        }
        if (getnameinfo(i->ai_addr, i->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        *ret = str_cat3(a, *ret, n > 0 ? S(",") : S(""), str_dup(a, str_of(text)));
        *ret_hosts = str_cat3(a, *ret_hosts, n > 0 ? S(",") : S(""), at->host);
        n++;
    }
    freeaddrinfo(all);
    if (n > 0)
        return OK;
    return note(p, ERR_CLOSED, NULL,
                hidden ? S("The cluster's address is a private one.")
                       : S("The cluster's name has no address."));
}

static Str mode_of(const struct delivery_env *env, const PgAddress *at)
{
    bool weak = at->ssl_mode.p == NULL || str_eq(at->ssl_mode, S("disable")) ||
                str_eq(at->ssl_mode, S("allow")) || str_eq(at->ssl_mode, S("prefer"));
    if (!weak || (at->ssl_mode.p != NULL && env->plain_http))
        return at->ssl_mode;
    if (env->plain_http)
        return S("prefer");
    return env->verify ? S("verify-full") : S("require");
}

static Err start(struct pg *p, struct arena *a, const PgAddress *at)
{
    Str addresses, hosts;
    TRY(look_up(p, a, at, &addresses, &hosts));
    const char *const names[] = { "host",
                                  "hostaddr",
                                  "port",
                                  "dbname",
                                  "user",
                                  "password",
                                  "sslmode",
                                  "sslrootcert",
                                  "gssencmode",
                                  "application_name",
                                  "client_encoding",
                                  "tcp_user_timeout",
                                  NULL };
    const char *const values[] = { str_c(a, hosts),
                                   str_c(a, addresses),
                                   str_c(a, at->port),
                                   str_c(a, at->database),
                                   str_c(a, at->user),
                                   str_c(a, at->password),
                                   str_c(a, mode_of(p->env, at)),
                                   p->env->ca_file.n > 0 ? str_c(a, p->env->ca_file)
                                                         : "/etc/ssl/certs/ca-certificates.crt",
                                   "disable",
                                   "headrace",
                                   "UTF8",
                                   "10000", // ms: a cancellation ends, too
                                   NULL };
    p->c = PQconnectStartParams(names, values, 0);
    CHECK(p->c != NULL);
    return PQstatus(p->c) == CONNECTION_BAD ? broken(p) : OK;
}

static void be_silent(void *unused, const PGresult *r)
{
    (void)unused;
    (void)r;
}

static Err connect_in_time(struct pg *p, const PgAddress *at)
{
    AUTO(arena) a = arena_open();
    TRY(start(p, a, at));
    int64_t end_ns = now_ns(p) + CONNECT_S * NS_PER_S;
    for (PostgresPollingStatusType s = PGRES_POLLING_WRITING; s != PGRES_POLLING_OK;
         s = PQconnectPoll(p->c)) {
        if (s == PGRES_POLLING_FAILED)
            return broken(p);
        TRY(wait_until(p, s == PGRES_POLLING_READING ? POLLIN : POLLOUT, end_ns));
    }
    (void)PQsetNoticeReceiver(p->c, be_silent, NULL);
    return PQsetnonblocking(p->c, 1) == 0 ? OK : broken(p);
}

Err pg_connect(const struct delivery_env *env, const PgAddress *at, const atomic_bool *is_cut,
               struct pg **ret)
{
    struct pg *p = xalloc(sizeof *p);
    p->env = env;
    p->is_cut = is_cut;
    p->texts = arena_open();
    *ret = p;
    return connect_in_time(p, at);
}

void pg_close(struct pg *p)
{
    if (p == NULL)
        return;
    if (p->c != NULL)
        PQfinish(p->c);
    arena_close(p->texts);
    free(p);
}

const PgTrouble *pg_trouble(const struct pg *p)
{
    return &p->trouble;
}

// ---- Queries

static Err flush(struct pg *p, int64_t end_ns)
{
    for (;;) {
        int left = PQflush(p->c);
        if (left == 0)
            return OK;
        if (left < 0)
            return broken(p);
        TRY(wait_until(p, POLLIN | POLLOUT, end_ns));
        if (PQconsumeInput(p->c) != 1)
            return broken(p);
    }
}

// The next result; NULL: there are no more.
static Err next_result(struct pg *p, int64_t end_ns, PGresult **ret)
{
    while (PQisBusy(p->c)) {
        TRY(wait_until(p, POLLIN, end_ns));
        if (PQconsumeInput(p->c) != 1)
            return broken(p);
    }
    *ret = PQgetResult(p->c);
    return OK;
}

static Err judge(struct pg *p, const PGresult *r)
{
    switch (PQresultStatus(r)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
        return OK;
    default:
        break;
    }
    Str text = str_of(PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
    Str detail = str_of(PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL));
    if (detail.n > 0)
        text = str_fmt(p->texts, "%.*s: %.*s", FMT(text), FMT(detail));
    Str where = str_of(PQresultErrorField(r, PG_DIAG_CONTEXT));
    if (where.n > 0)
        text = str_fmt(p->texts, "%.*s (%.*s)", FMT(text), FMT(where));
    if (text.n == 0)
        text = str_of(PQresultErrorMessage(r));
    bool dead = PQstatus(p->c) == CONNECTION_BAD;
    return note(p, dead ? ERR_CLOSED : ERR_IO, PQresultErrorField(r, PG_DIAG_SQLSTATE), text);
}

static atomic_int cancels;

static void *run_cancel(void *c)
{
    char scrap[256];
    (void)PQcancel(c, scrap, sizeof scrap);
    PQfreeCancel(c);
    atomic_fetch_sub(&cancels, 1);
    return NULL;
}

// Asks the database to end what it does. libpq waits for the answer as long as it takes, so that is
// done by a thread, which is left alone when it takes too long or the attempt is to end.
static void cancel(struct pg *p)
{
    pthread_t thread;
    struct timespec until;
    int64_t end_ns = now_ns(p) + CANCEL_S * NS_PER_S;
    PGcancel *c = atomic_load(&cancels) < CANCELS_MAX ? PQgetCancel(p->c) : NULL;
    if (c == NULL)
        return;
    atomic_fetch_add(&cancels, 1);
    if (pthread_create(&thread, NULL, run_cancel, c) != 0) {
        atomic_fetch_sub(&cancels, 1);
        PQfreeCancel(c);
        return;
    }
    do {
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t at_ns = until.tv_sec * NS_PER_S + until.tv_nsec + TURN_MS * NS_PER_MS;
        until = (struct timespec){ .tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S };
        if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
            return;
    } while (now_ns(p) < end_ns && !sink_is_over(p->env, p->is_cut));
    (void)pthread_detach(thread);
}

// All results of what was sent; the last but the end decides, an error before it wins. The first
// one's content is taken by `take`. In COPY there is one only until the COPY is over.
static Err collect(struct pg *p, int64_t timeout_ns, void (*take)(void *of, const PGresult *r),
                   void *of)
{
    int64_t end_ns = now_ns(p) + timeout_ns;
    Err e = flush(p, end_ns), result = OK;
    while (e.kind == ERR_NONE) {
        PGresult *r = NULL;
        e = next_result(p, end_ns, &r);
        if (e.kind != ERR_NONE || r == NULL)
            break;
        bool copies = PQresultStatus(r) == PGRES_COPY_IN;
        Err judged = judge(p, r);
        if (judged.kind == ERR_NONE && take != NULL)
            take(of, r);
        if (result.kind == ERR_NONE)
            result = judged;
        PQclear(r);
        if (copies)
            return result;
    }
    if (e.kind == ERR_TIMEOUT)
        cancel(p);
    return e.kind != ERR_NONE ? e : result;
}

static Err send_query(struct pg *p, struct arena *a, Str sql)
{
    return PQsendQuery(p->c, str_c(a, sql)) == 1 ? OK : broken(p);
}

struct first {
    struct arena *a;
    Str value;
};

static void take_first(void *of, const PGresult *r)
{
    struct first *f = of;
    if (PQntuples(r) > 0 && PQnfields(r) > 0 && !PQgetisnull(r, 0, 0))
        f->value = str_dup(f->a, str_from(PQgetvalue(r, 0, 0), (size_t)PQgetlength(r, 0, 0)));
}

Err pg_run(struct pg *p, struct arena *a, Str sql, int64_t timeout_ns, Str *ret)
{
    struct first f = { .a = a };
    TRY(send_query(p, a, sql));
    TRY(collect(p, timeout_ns, take_first, &f));
    if (ret != NULL)
        *ret = f.value;
    return OK;
}

struct columns {
    struct arena *a;
    PgColumn *at;
    size_t n;
};

static void take_columns(void *of, const PGresult *r)
{
    struct columns *c = of;
    c->n = MIN((size_t)PQnfields(r), (size_t)PG_COLUMNS_MAX);
    c->at = arena_new(c->a, PgColumn, c->n + 1);
    for (size_t i = 0; i < c->n; i++)
        c->at[i] = (PgColumn){ .name = str_dup(c->a, str_of(PQfname(r, (int)i))),
                               .type = PQftype(r, (int)i) };
}

Err pg_columns(struct pg *p, struct arena *a, Str query, PgColumn **ret, size_t *ret_n)
{
    struct columns c = { .a = a };
    TRY(send_query(p, a, query));
    TRY(collect(p, QUERY_S * NS_PER_S, take_columns, &c));
    *ret = c.at;
    *ret_n = c.n;
    return OK;
}

// ---- COPY

Err pg_copy_begin(struct pg *p, Str sql)
{
    AUTO(arena) a = arena_open();
    TRY(send_query(p, a, sql));
    return collect(p, QUERY_S * NS_PER_S, NULL, NULL);
}

Err pg_copy_put(struct pg *p, Str bytes)
{
    int64_t end_ns = now_ns(p) + IDLE_S * NS_PER_S;
    for (;;) {
        int put = PQputCopyData(p->c, bytes.p, (int)bytes.n);
        if (put > 0)
            return flush(p, end_ns);
        if (put < 0)
            return broken(p);
        TRY(flush(p, end_ns));
    }
}

Err pg_copy_end(struct pg *p, Str give_up)
{
    AUTO(arena) a = arena_open();
    int64_t end_ns = now_ns(p) + IDLE_S * NS_PER_S;
    for (;;) {
        int ended = PQputCopyEnd(p->c, give_up.p != NULL ? str_c(a, give_up) : NULL);
        if (ended > 0)
            break;
        if (ended < 0)
            return broken(p);
        TRY(flush(p, end_ns));
    }
    return collect(p, IDLE_S * NS_PER_S, NULL, NULL);
}

// ---- Texts

static Str doubled(struct arena *a, Str s, char quote)
{
    char *out = arena_alloc(a, 2 * s.n + 2, 1);
    size_t n = 0;
    out[n++] = quote;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == quote)
            out[n++] = quote;
        out[n++] = s.p[i];
    }
    out[n++] = quote;
    return str_from(out, n);
}

Str pg_quote(struct arena *a, Str text)
{
    return doubled(a, text, '\'');
}

Str pg_name(struct arena *a, Str name)
{
    return doubled(a, name, '"');
}
