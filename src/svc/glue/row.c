// SPDX-License-Identifier: Apache-2.0
// Rows: keys, values, counts, what is left of dropped tables.
#include "aws/bind.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/glue/glue.h"

#define ROW_VERSION '1'

// ---- Values

void glue_write_row(struct buf *b, const struct shape *shape, const void *row)
{
    buf_add_byte(b, ROW_VERSION);
    bind_write(&protocol_json_1_1, shape, row, b);
}

Err glue_put_row(struct kv_txn *tx, struct kv_table *t, Str key, const struct shape *shape,
                 const void *row)
{
    AUTO_BUF(b);
    glue_write_row(&b, shape, row);
    TRY(buf_err(&b));
    kv_on(tx, t);
    return kv_put(tx, key, buf_str(&b));
}

// What is written behind the version of the format.
static Err row_body(Str value, Str *ret)
{
    if (value.n == 0)
        return fail(ERR_CORRUPT, "a row of the catalog is empty");
    if (value.p[0] != ROW_VERSION)
        return fail(ERR_FORMAT, "a row of the catalog was written by a newer program");
    *ret = str_skip(value, 1);
    return OK;
}

static Err read_json(struct arena *a, const struct shape *shape, Str json, void *into)
{
    struct protocol_reader r;
    Str fault = { 0 };
    protocol_json_1_1.reader_init(&r, a, json);
    Err e = bind_decode(&r, shape, a, into, &fault);
    if (e.kind == ERR_MEMORY)
        return e;
    return e.kind == ERR_NONE && fault.p == NULL ? OK
                                                 : fail(ERR_CORRUPT, "a row cannot be understood");
}

// `value` must live as long as the arena: text is borrowed from it.
Err glue_read_row(struct arena *a, const struct shape *shape, Str value, void *into)
{
    Str json;
    TRY(row_body(value, &json));
    return read_json(a, shape, json, into);
}

Err glue_get_row(struct kv_txn *tx, struct kv_table *t, struct arena *a, Str key,
                 const struct shape *shape, void *into)
{
    Str value;
    kv_on(tx, t);
    TRY(kv_get(tx, a, key, &value));
    return glue_read_row(a, shape, value, into);
}

// ---- Keys

Str glue_database_prefix(struct arena *a, const Place *p)
{
    return str_fmt(a, "%.*s\1%.*s\1", FMT(p->account), FMT(p->region));
}

Str glue_database_key(struct arena *a, const Place *p)
{
    return str_cat(a, glue_database_prefix(a, p), p->database);
}

Str glue_table_prefix(struct arena *a, const Place *p)
{
    return str_cat(a, glue_database_key(a, p), S("\1"));
}

Str glue_table_key(struct arena *a, const Place *p)
{
    return str_cat(a, glue_table_prefix(a, p), p->table);
}

Str glue_id_key(struct arena *a, uint64_t id, Str rest)
{
    return str_fmt(a, "%016llx%.*s", (unsigned long long)id, FMT(rest));
}

Str glue_version_key(struct arena *a, uint64_t id, uint64_t version)
{
    return glue_id_key(a, id, str_fmt(a, "%016llx", (unsigned long long)(UINT64_MAX - version)));
}

// Each value ends with \1; \1 and \2 in it become \2 and another byte, so that no two lists of
// values have one key and the keys are in the order of the values.
Str glue_partition_key(struct arena *a, uint64_t id, const Str *values, size_t n)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < values[i].n; k++) {
            char c = values[i].p[k];
            if (c == '\1' || c == '\2')
                buf_add_byte(&b, '\2');
            buf_add_byte(&b, c);
        }
        buf_add_byte(&b, '\1');
    }
    Str all = buf_str(&b);
    if (all.n <= PARTITION_KEY_BYTES_MAX)
        return glue_id_key(a, id, all);
    unsigned char digest[SHA256_BYTES];
    sha256(all.p, all.n, digest);
    Str head = str_head(all, PARTITION_KEY_BYTES_MAX);
    return glue_id_key(a, id, str_cat(a, head, hex_str(a, digest, sizeof digest)));
}

// ---- Databases and tables

void glue_place_database(const Place *p, glue_Database *d)
{
    d->catalog_id = p->account;
}

Err glue_get_database(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                      glue_Database *ret)
{
    TRY(glue_get_row(tx, s->databases, a, glue_database_key(a, p), s->database_shape, ret));
    glue_place_database(p, ret);
    return OK;
}

Err glue_need_database(struct call *c, struct kv_txn *tx, const Place *p, Str shown)
{
    struct glue *s = c->state;
    Str value;
    kv_on(tx, s->databases);
    Err e = kv_get(tx, c->arena, glue_database_key(c->arena, p), &value);
    return e.kind == ERR_NOT_FOUND ? glue_no_database(c, shown) : e;
}

void glue_place_table(const Place *p, Str name, glue_Table *t)
{
    t->catalog_id = p->account;
    t->database_name = p->database;
    t->name = name;
}

Err glue_read_id_row(struct arena *a, const struct shape *shape, Str value, uint64_t *ret_id,
                     void *into)
{
    Str body;
    unsigned char id[TABLE_ID_CHARS / 2];
    TRY(row_body(value, &body));
    if (body.n < TABLE_ID_CHARS || !hex_decode(id, str_head(body, TABLE_ID_CHARS)))
        return fail(ERR_CORRUPT, "a row has no id");
    *ret_id = 0;
    for (size_t i = 0; i < sizeof id; i++)
        *ret_id = *ret_id << 8 | id[i];
    return read_json(a, shape, str_skip(body, TABLE_ID_CHARS), into);
}

Err glue_read_table(struct glue *s, struct arena *a, Str value, TableRow *ret)
{
    *ret = (TableRow){ 0 };
    return glue_read_id_row(a, s->table_shape, value, &ret->id, &ret->table);
}

Err glue_get_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                   TableRow *ret)
{
    Str value;
    kv_on(tx, s->tables);
    TRY(kv_get(tx, a, glue_table_key(a, p), &value));
    TRY(glue_read_table(s, a, value, ret));
    glue_place_table(p, p->table, &ret->table);
    return OK;
}

Err glue_put_id_row(struct kv_txn *tx, struct kv_table *t, Str key, const struct shape *shape,
                    uint64_t id, const void *row)
{
    AUTO_BUF(b);
    buf_addf(&b, "%c%016llx", ROW_VERSION, (unsigned long long)id);
    bind_write(&protocol_json_1_1, shape, row, &b);
    TRY(buf_err(&b));
    kv_on(tx, t);
    return kv_put(tx, key, buf_str(&b));
}

Err glue_put_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                   const TableRow *row)
{
    return glue_put_id_row(tx, s->tables, glue_table_key(a, p), s->table_shape, row->id,
                           &row->table);
}

Err glue_need_table(struct call *c, struct kv_txn *tx, const Place *p, Str shown_database,
                    Str shown_table, TableRow *ret)
{
    Err e = glue_get_table(c->state, tx, c->arena, p, ret);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    TRY(glue_need_database(c, tx, p, shown_database));
    return glue_no_table(c, shown_table);
}

// ---- Counts

Str glue_count_key(struct arena *a, char what, Str whose)
{
    return str_fmt(a, "%c%.*s", what, FMT(whose));
}

Err glue_count(struct glue *s, struct kv_txn *tx, struct arena *a, Str key, uint64_t *ret)
{
    Str value;
    *ret = 0;
    kv_on(tx, s->counts);
    Err e = kv_get(tx, a, key, &value);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    return str_u64(value, ret).kind == ERR_NONE ? OK : fail(ERR_CORRUPT, "a count is no number");
}

Err glue_count_add(struct glue *s, struct kv_txn *tx, struct arena *a, Str key, int64_t more)
{
    uint64_t count;
    TRY(glue_count(s, tx, a, key, &count));
    uint64_t less = more < 0 ? (uint64_t)-more : 0;
    if (less > count)
        return fail(ERR_CORRUPT, "a count is smaller than what it counts");
    count = more < 0 ? count - less : count + (uint64_t)more;
    if (count == 0)
        return kv_del(tx, key);
    return kv_put(tx, key, str_fmt(a, "%llu", (unsigned long long)count));
}

Err glue_room(struct call *c, struct kv_txn *tx, Str key, uint64_t max, const char *what)
{
    uint64_t count;
    TRY(glue_count(c->state, tx, c->arena, key, &count));
    if (count < max)
        return OK;
    return call_fail(c, &glue_ResourceNumberLimitExceededException,
                     "Number of %s resources exceeds the account limit %llu", what,
                     (unsigned long long)max);
}

// ---- Dropping

Err glue_drop_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p, uint64_t id)
{
    kv_on(tx, s->tables);
    TRY(kv_del(tx, glue_table_key(a, p)));
    kv_on(tx, s->tags);
    TRY(kv_del(tx, glue_arn(a, p)));
    kv_on(tx, s->dropped);
    TRY(kv_put(tx, glue_id_key(a, id, S("")), S("")));
    atomic_store(&s->has_dropped, true); // without a commit a sweep finds nothing
    return OK;
}

// Up to `room` rows of a table that begin with the id.
static Err sweep_rows(struct kv_txn *tx, struct kv_table *t, Str id, size_t *room)
{
    AUTO(arena) tmp = arena_open();
    Str *keys = arena_new(tmp, Str, *room);
    size_t n = 0;
    kv_on(tx, t);
    struct kv_scan scan = kv_scan_start(tx, id, S(""));
    while (n < *room && kv_scan_next(&scan))
        keys[n++] = str_cat(tmp, id, scan.rest);
    Err e = scan.err;
    kv_scan_end(&scan);
    TRY(e);
    for (size_t i = 0; i < n; i++)
        TRY(kv_del(tx, keys[i]));
    *room -= n;
    return OK;
}

static Err sweep_table(struct glue *s, struct kv_txn *tx, struct arena *tmp, Str id)
{
    struct kv_table *const tables[] = { s->versions, s->partitions, s->indexes, s->statistics };
    size_t room = SWEEP_ROWS;
    for (size_t i = 0; i < COUNT_OF(tables) && room > 0; i++)
        TRY(sweep_rows(tx, tables[i], id, &room));
    if (room == 0)
        return OK; // there may be more
    kv_on(tx, s->counts);
    TRY(kv_del(tx, glue_count_key(tmp, 'p', id)));
    TRY(kv_del(tx, glue_count_key(tmp, 'v', id)));
    kv_on(tx, s->dropped);
    return kv_del(tx, id);
}

Err glue_sweep(struct glue *s)
{
    AUTO(arena) tmp = arena_open();
    if (!atomic_load(&s->has_dropped))
        return OK;
    AUTO(kv_txn) tx = kv_write(s->dropped);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    Str id = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
    Err e = scan.err;
    kv_scan_end(&scan);
    TRY(e);
    if (id.p == NULL) {
        atomic_store(&s->has_dropped, false); // we write: nobody else has dropped one meanwhile
        return OK;
    }
    TRY(sweep_table(s, tx, tmp, id));
    return kv_commit(tx);
}

// ---- Pages

Str glue_token(struct arena *a, Str last)
{
    size_t n = base64_encoded_bytes(last.n);
    char *text = arena_alloc(a, n + 1, 1);
    base64_encode(text, last.p, last.n);
    return str_from(text, n);
}

Err glue_token_read(struct call *c, Str token, Str *ret_after)
{
    *ret_after = S("");
    if (token.n == 0)
        return OK;
    if (token.n > base64_encoded_bytes(KV_KEY_BYTES_MAX))
        return glue_invalid(c, "Invalid token provided");
    char *bytes = arena_alloc(c->arena, base64_decoded_max(token.n), 1);
    Base64Result r = base64_decode(bytes, token.p, token.n);
    if (r.fault != BASE64_GOOD)
        return glue_invalid(c, "Invalid token provided");
    *ret_after = str_from(bytes, r.n);
    return OK;
}

struct kv_scan glue_scan(struct kv_txn *tx, struct arena *a, Str prefix, Str after)
{
    if (after.n > 0)
        after = str_head(str_cat(a, prefix, after), KV_KEY_BYTES_MAX);
    return kv_scan_start(tx, prefix, after);
}
