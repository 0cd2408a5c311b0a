// SPDX-License-Identifier: Apache-2.0
// Redshift: the records lie in objects already; a manifest names them, and COPY loads what it names
// ("Amazon Redshift destination"):
//
//     s3://<bucket>/<prefix>manifests/<yyyy>/<MM>/<dd>/<HH>/<stream>-<time>-<request id>
//     {"entries":[{"url":"s3://bucket/key","mandatory":true}]}
//     COPY <table> (<columns>) FROM 's3://...' IAM_ROLE '<role>' MANIFEST <options>
//
// What is given up leaves its manifest below <prefix>errors/manifests/. AWS documents no more than
// "errors/"; the rest is what it leaves in its users' buckets. A server that says it is a plain
// PostgreSQL knows no COPY from S3: the rows are sent to it (sink_copy.h), all objects of a
// manifest in one transaction. Whether that one came to pass is asked of the server when the
// connection broke at its end, so that the next attempt does not double the rows.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/sink.h"
#include "delivery/sink_copy.h"
#include "delivery/sink_net.h"
#include "delivery/sink_pg.h"
#include "delivery/sink_secret.h"
#include "hub/hub.h"
#include "os/io.h"

#include <stdlib.h>

enum {
    COPY_S = 600, // of a COPY from S3
    QUERY_S = 60,
    READ_BYTES = 1 << 20,
    SEND_BYTES = 256 << 10,
    REQUEST_ID_BYTES = 64,
    XID_BYTES = 32,
    RUN_BYTES = 128,
};

// Types of PostgreSQL (pg_type.dat) for which empty is a text, and those that are times.
enum {
    TYPE_BYTEA = 17,
    TYPE_CHAR = 18,
    TYPE_NAME = 19,
    TYPE_TEXT = 25,
    TYPE_BPCHAR = 1042,
    TYPE_VARCHAR = 1043,
    TYPE_TIMESTAMP = 1114,
    TYPE_TIMESTAMPTZ = 1184,
};

struct redshift_sink {
    struct sink sink; // first
    struct delivery_env *env;
    struct arena *names;
    PgAddress address;
    struct sink_secret *secret; // NULL: user and password are here
    HubActor as;
    Str bucket, prefix, kms_key, stream, role;
    Str table, columns, options;
    bool zipped; // the objects are, whatever the options say
    // The transaction whose end is not known, whose it was, and in which run of the server.
    char request_id[REQUEST_ID_BYTES], xid[XID_BYTES], run[RUN_BYTES];
};

// ---- Open

static void close_sink(struct sink *s)
{
    struct redshift_sink *p = (struct redshift_sink *)s;
    if (p == NULL)
        return;
    sink_secret_close(p->secret);
    arena_close(p->names);
    free(p);
}

static Err open_sink(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text)
{
    const DeliveryRedshift *r = &config->redshift;
    PgAddress at;
    TRY(pg_address_parse(a, r->jdbc_url, &at, ret_text));
    if (r->table.n == 0) {
        *ret_text = S("The name of the table is missing.");
        return fail(ERR_INVALID, "no table");
    }
    struct redshift_sink *p = xalloc(sizeof *p);
    struct arena *n = p->names = arena_open();
    p->sink.ops = &sink_redshift;
    p->env = env;
    p->address =
        (PgAddress){ .host = str_dup(n, at.host),
                     .port = str_dup(n, at.port),
                     .database = str_dup(n, at.database),
                     .user = str_dup(n, r->user),
                     .password = str_dup(n, r->password),
                     .ssl_mode = at.ssl_mode.p != NULL ? str_dup(n, at.ssl_mode) : (Str){ 0 } };
    p->role = str_dup(n, r->role_arn.n > 0 ? r->role_arn : config->s3.role_arn);
    p->as = (HubActor){ .account = str_dup(n, config->account),
                        .region = str_dup(n, config->region),
                        .role_arn = config->s3.role_arn.p != NULL ? str_dup(n, config->s3.role_arn)
                                                                  : (Str){ 0 },
                        .service = str_dup(n, config->service),
                        .source_arn = str_dup(n, config->arn) };
    sink_secret_open(env, config, &p->secret);
    p->bucket = str_dup(n, config->s3.bucket);
    p->prefix = str_dup(n, config->s3.prefix);
    p->kms_key = config->s3.kms_key.p != NULL ? str_dup(n, config->s3.kms_key) : (Str){ 0 };
    p->stream = str_dup(n, config->name);
    p->table = str_dup(n, r->table);
    p->columns = str_dup(n, r->columns);
    p->options = str_dup(n, r->options);
    p->zipped = config->s3.compression == DELIVERY_GZIP;
    *ret = &p->sink;
    return OK;
}

// ---- What goes wrong

static SinkResult retry(SinkAttempt *at, Str code, Str message)
{
    at->code = code;
    at->message = str_dup(at->arena, message);
    return SINK_RETRY;
}

static bool says(Str text, const char *part)
{
    return str_search(text, str_of(part)) < text.n;
}

// By what Redshift says ("Amazon Redshift Data Delivery Errors"; SQLSTATE is of little use there).
static const char *code_by_text(Str t)
{
    static const struct {
        const char *part, *code;
    } texts[] = {
        { "not authorized to assume IAM Role", "Redshift.AccessDenied" },
        { "S3ServiceException:Access Denied", "Redshift.S3BucketAccessDenied" },
        { "S3ServiceException: Access Denied", "Redshift.S3BucketAccessDenied" },
        { "AccessDenied", "Redshift.S3BucketAccessDenied" },
        { "PermanentRedirect", "Redshift.IncorrectOrMissingRegion" },
        { "must be addressed using the specified endpoint", "Redshift.IncorrectOrMissingRegion" },
        { "Number of jsonpaths and the number of columns should match", "Redshift.ColumnMismatch" },
        { "Invalid JSONPath", "Redshift.IncorrectJsonPathsFile" },
        { "jsonpaths file", "Redshift.IncorrectJsonPathsFile" },
        { "NoSuchKey", "Redshift.MissingS3File" },
        { "does not exist in the S3", "Redshift.MissingS3File" },
        { "onflicting or redundant options", "Redshift.IncorrectCopyOptions" },
        { "is not compatible with", "Redshift.IncorrectCopyOptions" },
        { "stl_load_errors", "Redshift.DataLoadFailed" },
        { "disk full", "Redshift.DiskFull" },
        { "Disk Full", "Redshift.DiskFull" },
        { "password authentication failed", "Redshift.AuthenticationFailed" },
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (says(t, texts[i].part))
            return texts[i].code;
    return NULL;
}

static const char *code_by_state(Str state)
{
    static const struct {
        const char *state, *code; // the first that fits; classes after their members
    } states[] = {
        { "28", "Redshift.AuthenticationFailed" }, { "3D000", "Redshift.DatabaseNotFound" },
        { "42P01", "Redshift.TableNotFound" },     { "3F000", "Redshift.TableNotFound" },
        { "42703", "Redshift.ColumnNotFound" },    { "42501", "Redshift.InsufficientPrivilege" },
        { "42", "Redshift.SyntaxError" },          { "53100", "Redshift.DiskFull" },
        { "25006", "Redshift.ReadOnlyCluster" },   { "23502", "Redshift.MissingColumn" },
        { "22", "Redshift.DataLoadFailed" },       { "23", "Redshift.DataLoadFailed" },
        { "08", "Redshift.ConnectionFailed" },     { "57P", "Redshift.ConnectionFailed" },
        { "53300", "Redshift.ConnectionFailed" },
    };
    for (size_t i = 0; i < COUNT_OF(states); i++)
        if (str_starts(state, str_of(states[i].state)))
            return states[i].code;
    return NULL;
}

static SinkResult troubled(SinkAttempt *at, const struct pg *db, Err e)
{
    const PgTrouble *t = pg_trouble(db);
    const char *code = code_by_text(t->text);
    if (code == NULL)
        code = code_by_state(str_of(t->state));
    if (code == NULL && says(t->text, "database \"") && says(t->text, "does not exist"))
        code = "Redshift.DatabaseNotFound"; // while connecting there is no state
    if (code == NULL)
        code = e.kind == ERR_CLOSED || e.kind == ERR_TIMEOUT ? "Redshift.ConnectionFailed"
                                                             : "InternalError";
    return retry(at, str_of(code), t->text);
}

// ---- Manifests

static Str manifest_key(const struct redshift_sink *p, const SinkAttempt *at, const char *folder)
{
    Civil c = time_civil(at->began_ms * NS_PER_MS);
    return str_fmt(at->arena, "%.*s%s%04d/%02u/%02u/%02u/%.*s-%04d-%02u-%02u-%02u-%02u-%02u-%.*s",
                   FMT(p->prefix), folder, (int)c.year, c.month, c.day, c.hour, FMT(p->stream),
                   (int)c.year, c.month, c.day, c.hour, c.minute, c.second, FMT(at->request_id));
}

static void write_manifest(const SinkAttempt *at, struct buf *out)
{
    struct event_writer w;
    json_writer_init(&w, out);
    w.ops->map(&w);
    w.ops->key(&w, S("entries"));
    w.ops->list(&w);
    for (size_t i = 0; i < at->object_count; i++) {
        const SinkObject *o = &at->objects[i];
        w.ops->map(&w);
        w.ops->key(&w, S("url"));
        w.ops->text(&w, str_fmt(at->arena, "s3://%.*s/%.*s", FMT(o->bucket), FMT(o->key)));
        w.ops->key(&w, S("mandatory"));
        w.ops->boolean(&w, true);
        w.ops->map_end(&w);
    }
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

static Err put_manifest(const struct redshift_sink *p, SinkAttempt *at, Str key)
{
    const struct hub_objects *s3 = p->env->hub->objects;
    const HubObjectWant want = { .as = p->as, .bucket = p->bucket, .kms_key = p->kms_key };
    HubObjectAnswer answer = { 0 };
    struct hub_put *put = NULL;
    AUTO_BUF(b);
    write_manifest(at, &b);
    TRY(buf_err(&b));
    if (s3 == NULL)
        return fail(ERR_NOT_FOUND, "there is no object store");
    Err e = s3->begin(s3->self, at->arena, &want, &put, &answer);
    if (e.kind == ERR_NONE && answer.fault == HUB_OBJECT_GOOD)
        e = s3->write(put, buf_str(&b));
    if (e.kind == ERR_NONE && answer.fault == HUB_OBJECT_GOOD)
        e = s3->finish(put, at->arena, key, S("application/json"), (Str){ 0 }, &answer);
    s3->close(put);
    if (e.kind == ERR_NONE && answer.fault != HUB_OBJECT_GOOD) {
        at->code = str_cat(at->arena, S("S3."), answer.code);
        at->message = answer.text;
        return fail(ERR_DENIED, "a manifest cannot be written");
    }
    return e;
}

static Err give_up(struct sink *s, SinkAttempt *at)
{
    const struct redshift_sink *p = (const struct redshift_sink *)s;
    return put_manifest(p, at, manifest_key(p, at, "errors/manifests/"));
}

// ---- Redshift itself

static SinkResult copy_from_s3(struct redshift_sink *p, SinkAttempt *at, struct pg *db, Str key)
{
    Str url = str_fmt(at->arena, "s3://%.*s/%.*s", FMT(p->bucket), FMT(key));
    Str columns = p->columns.n > 0 ? str_fmt(at->arena, " (%.*s)", FMT(p->columns)) : S("");
    Str sql = str_fmt(at->arena, "COPY %.*s%.*s FROM %.*s IAM_ROLE %.*s MANIFEST %.*s",
                      FMT(p->table), FMT(columns), FMT(pg_quote(at->arena, url)),
                      FMT(pg_quote(at->arena, p->role)), FMT(p->options));
    Err e = pg_run(db, at->arena, sql, COPY_S * NS_PER_S, NULL);
    return e.kind == ERR_NONE ? SINK_DELIVERED : troubled(at, db, e);
}

// ---- A plain PostgreSQL

struct load {
    struct redshift_sink *p;
    SinkAttempt *at;
    struct pg *db;
    CopyOptions options;
    CopyColumn *columns;
    size_t n;
};

static Err send_rows(struct load *l, struct buf *rows, size_t at_least)
{
    if (rows->n < at_least || rows->n == 0)
        return OK;
    TRY(pg_copy_put(l->db, buf_str(rows)));
    l->at->bytes_sent += rows->n;
    buf_clear(rows);
    return OK;
}

// Sets the attempt's code where the object or its content is at fault, and not the database.
static Err load_object(struct load *l, const SinkObject *o)
{
    const struct hub_objects *s3 = l->p->env->hub->objects;
    AUTO(copy_rows) rows = NULL;
    AUTO_BUF(out);
    copy_rows_open(&l->options, l->columns, l->n, &rows);
    for (uint64_t at = 0;;) {
        AUTO(arena) a = arena_open();
        HubObjectAnswer answer = { 0 };
        Str piece = { 0 }, text = { 0 };
        TRY(s3->read(s3->self, a, &l->p->as, o->bucket, o->key, at, READ_BYTES, &piece, &answer));
        if (answer.fault != HUB_OBJECT_GOOD) {
            (void)retry(l->at,
                        answer.fault == HUB_OBJECT_NO_KEY || answer.fault == HUB_OBJECT_NO_BUCKET
                            ? S("Redshift.MissingS3File")
                            : S("Redshift.S3BucketAccessDenied"),
                        answer.text);
            return fail(ERR_DENIED, "an object cannot be read");
        }
        bool end = piece.n < READ_BYTES;
        Err e = copy_rows_feed(rows, piece, end, &out, &text);
        if (e.kind == ERR_INVALID)
            (void)retry(l->at, S("Redshift.DataLoadFailed"), text);
        TRY(e);
        TRY(send_rows(l, &out, end ? 1 : SEND_BYTES));
        if (end)
            return OK;
        at += piece.n;
    }
}

static Err load_objects(struct load *l)
{
    for (size_t i = 0; i < l->at->object_count; i++)
        TRY(load_object(l, &l->at->objects[i]));
    return OK;
}

static Err find_columns(struct load *l)
{
    struct redshift_sink *p = l->p;
    struct arena *a = l->at->arena;
    PgColumn *columns;
    Str query = str_fmt(a, "SELECT %.*s FROM %.*s LIMIT 0",
                        FMT(p->columns.n > 0 ? p->columns : S("*")), FMT(p->table));
    TRY(pg_columns(l->db, a, query, &columns, &l->n));
    l->columns = arena_new(a, CopyColumn, l->n + 1);
    for (size_t i = 0; i < l->n; i++) {
        unsigned t = columns[i].type;
        l->columns[i] = (CopyColumn){
            .name = columns[i].name,
            .is_text = t == TYPE_CHAR || t == TYPE_NAME || t == TYPE_TEXT || t == TYPE_BPCHAR ||
                       t == TYPE_VARCHAR || t == TYPE_BYTEA,
            .is_time = t == TYPE_TIMESTAMP || t == TYPE_TIMESTAMPTZ,
        };
    }
    return OK;
}

static Err begin_copy(struct load *l)
{
    struct arena *a = l->at->arena;
    Str names = S("");
    for (size_t i = 0; i < l->n; i++)
        names = str_cat3(a, names, i > 0 ? S(", ") : S(""), pg_name(a, l->columns[i].name));
    return pg_copy_begin(l->db,
                         str_fmt(a, "COPY %.*s (%.*s) FROM STDIN", FMT(l->p->table), FMT(names)));
}

// What changes when the server starts, and when it recovers from a crash, which resets statistics:
// numbers of transactions that were not committed are given again then.
#define SQL_RUN                                                                                  \
    "SELECT pg_postmaster_start_time()::text || ' ' || (SELECT coalesce(stats_reset::text, '') " \
    "FROM pg_stat_bgwriter)"

static bool keep(char *to, size_t cap, Str text)
{
    if (text.p == NULL || text.n >= cap)
        return false;
    memcpy(to, text.p, text.n);
    to[text.n] = 0;
    return true;
}

// A server that knows no numbers of transactions goes without.
static Err begin_transaction(struct load *l, bool *ret_noted)
{
    struct arena *a = l->at->arena;
    struct redshift_sink *p = l->p;
    Str xid = { 0 }, run = { 0 };
    TRY(pg_run(l->db, a, S("BEGIN"), QUERY_S * NS_PER_S, NULL));
    Err e = pg_run(l->db, a, S("SELECT txid_current()"), QUERY_S * NS_PER_S, &xid);
    if (e.kind == ERR_NONE)
        e = pg_run(l->db, a, S(SQL_RUN), QUERY_S * NS_PER_S, &run);
    *ret_noted = e.kind == ERR_NONE && keep(p->xid, XID_BYTES, xid) && keep(p->run, RUN_BYTES, run);
    if (e.kind != ERR_IO)
        return e;
    TRY(pg_run(l->db, a, S("ROLLBACK"), QUERY_S * NS_PER_S, NULL));
    return pg_run(l->db, a, S("BEGIN"), QUERY_S * NS_PER_S, NULL);
}

// From here on the transaction may come to pass without our hearing of it.
static Err commit(struct load *l, bool noted)
{
    if (noted)
        noted = keep(l->p->request_id, REQUEST_ID_BYTES, l->at->request_id);
    Err e = pg_run(l->db, l->at->arena, S("COMMIT"), QUERY_S * NS_PER_S, NULL);
    bool ended = str_starts(str_of(pg_trouble(l->db)->state), S("57")); // by an administrator
    if (e.kind == ERR_NONE || (e.kind == ERR_IO && !ended)) // it did, or it did not: certainly
        l->p->request_id[0] = 0;
    return e;
}

// Whether the transaction of the attempt before has come to pass. When the server has started anew
// since, nobody can tell: the rows are sent again.
static Err was_committed(struct load *l, bool *ret)
{
    struct arena *a = l->at->arena;
    Str status = { 0 }, run = { 0 };
    *ret = false;
    if (!str_eq(str_of(l->p->request_id), l->at->request_id))
        return OK;
    Err e = pg_run(l->db, a, S(SQL_RUN), QUERY_S * NS_PER_S, &run);
    if (e.kind == ERR_NONE && str_eq(run, str_of(l->p->run)))
        e = pg_run(l->db, a, str_fmt(a, "SELECT txid_status(%s)", l->p->xid), QUERY_S * NS_PER_S,
                   &status);
    *ret = e.kind == ERR_NONE && str_eq(status, S("committed"));
    if (e.kind == ERR_NONE && str_eq(status, S("in progress"))) {
        (void)retry(l->at, S("Redshift.ConnectionFailed"),
                    S("The transaction of the attempt before has not ended yet."));
        return fail(ERR_BUSY, "a transaction has not ended");
    }
    if (e.kind == ERR_IO)
        return OK;
    if (e.kind == ERR_NONE)
        l->p->request_id[0] = 0;
    return e;
}

static Err copy_rows_in(struct load *l)
{
    bool noted = false;
    TRY(begin_transaction(l, &noted));
    TRY(begin_copy(l));
    Err e = load_objects(l);
    bool dead = e.kind == ERR_CLOSED || e.kind == ERR_TIMEOUT;
    if (e.kind != ERR_NONE && dead)
        return e;
    Err ended = pg_copy_end(l->db, e.kind != ERR_NONE ? S("given up") : (Str){ 0 });
    TRY(e.kind != ERR_NONE ? e : ended);
    return commit(l, noted);
}

static Err load_all(struct load *l, bool *ret_done)
{
    Str text = { 0 };
    TRY(was_committed(l, ret_done));
    if (*ret_done)
        return OK;
    if (copy_options_parse(l->at->arena, l->p->options, &l->options, &text).kind != ERR_NONE) {
        (void)retry(l->at, S("Redshift.IncorrectCopyOptions"), text);
        return fail(ERR_INVALID, "COPY options that cannot be followed");
    }
    l->options.gzip = l->options.gzip || l->p->zipped;
    TRY(find_columns(l));
    return copy_rows_in(l);
}

static SinkResult copy_as_rows(struct redshift_sink *p, SinkAttempt *at, struct pg *db)
{
    struct load l = { .p = p, .at = at, .db = db };
    bool done = false;
    Err e = load_all(&l, &done);
    if (e.kind == ERR_NONE)
        return SINK_DELIVERED;
    if (at->code.p != NULL)
        return SINK_RETRY;
    if (pg_trouble(db)->text.p == NULL) // ours: no memory, the store
        return retry(at, S("InternalError"), str_of(e.text));
    return troubled(at, db, e);
}

// ---- One attempt

static SinkResult deliver(struct sink *s, SinkAttempt *at)
{
    struct redshift_sink *p = (struct redshift_sink *)s;
    AUTO(pg) db = NULL;
    Str key = manifest_key(p, at, "manifests/"), version = { 0 };
    at->code = at->message = (Str){ 0 };
    at->bytes_sent = 0;
    PgAddress address = p->address;
    if (p->secret != NULL && (!sink_secret_get(p->secret, at, S("username"), &address.user) ||
                              !sink_secret_get(p->secret, at, S("password"), &address.password)))
        return SINK_RETRY;
    Err e = put_manifest(p, at, key);
    if (e.kind != ERR_NONE)
        return at->code.p != NULL ? SINK_RETRY : retry(at, S("InternalError"), str_of(e.text));
    e = pg_connect(p->env, &address, at->is_cut, &db);
    if (e.kind == ERR_NONE)
        e = pg_run(db, at->arena, S("SELECT version()"), QUERY_S * NS_PER_S, &version);
    if (e.kind != ERR_NONE)
        return troubled(at, db, e);
    SinkResult r =
        says(version, "Redshift") ? copy_from_s3(p, at, db, key) : copy_as_rows(p, at, db);
    if (r != SINK_DELIVERED)
        return r;
    for (size_t i = 0; at->batch != NULL && i < at->batch->n; i++)
        at->pending[i] = false;
    at->pending_count = 0;
    return SINK_DELIVERED;
}

static int64_t pause_ns(struct sink *s, int64_t attempts)
{
    return sink_back_off_ns(((struct redshift_sink *)s)->env, attempts);
}

const struct sink_ops sink_redshift = {
    .error_type = "redshift-failed",
    .metric = "Redshift",
    .wants_objects = true,
    .open = open_sink,
    .close = close_sink,
    .deliver = deliver,
    .pause_ns = pause_ns,
    .give_up = give_up,
};
