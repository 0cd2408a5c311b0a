// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/series.h"
#include "codec/hash.h"
#include "codec/little.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROW_VERSION = 1,
    ROW_HEAD_BYTES = 1 + 8 + 8 + 1,
    DIGEST_BYTES = 16,
    POINT_KEY_BYTES = 1 + 4 + 8,
    MINUTE_S = 60,
    HOUR_S = 3600,
    LAST_EVERY_S = 600, // how old the time of the last data may be
};

Err series_open(struct kv *db, struct series_store *ret)
{
    TRY(kv_table_open(db, S("cloudwatch.series"), &ret->series));
    return kv_table_open(db, S("cloudwatch.points"), &ret->points);
}

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const Dimension *)x)->name, ((const Dimension *)y)->name);
}

void dimensions_sort(Dimension *dims, size_t n)
{
    if (n > 0)
        qsort(dims, n, sizeof *dims, by_name);
}

// ---- Rows of series

static void add_text(struct buf *b, Str s)
{
    uint8_t length[2];
    put16(length, (uint16_t)s.n);
    buf_add(b, str_from(length, sizeof length));
    buf_add(b, s);
}

// "account/region" 0x00 namespace 0x00 name 0x00, as far as they are given.
static Str key_prefix(struct arena *a, const SeriesName *name)
{
    Str key = str_fmt(a, "%.*s/%.*s", FMT(name->account), FMT(name->region));
    key = str_cat(a, key, S("\0"));
    if (name->name_space.p == NULL)
        return key;
    key = str_cat3(a, key, name->name_space, S("\0"));
    return name->name.p == NULL ? key : str_cat3(a, key, name->name, S("\0"));
}

static void add_dimensions(struct buf *b, const SeriesName *name)
{
    CHECK(name->dim_count <= SERIES_DIMENSIONS_MAX);
    buf_add_byte(b, (char)name->dim_count);
    for (size_t i = 0; i < name->dim_count; i++) {
        add_text(b, name->dims[i].name);
        add_text(b, name->dims[i].value);
    }
}

static Str series_key(struct arena *a, const SeriesName *name)
{
    AUTO_BUF(dims);
    unsigned char digest[SHA256_BYTES];
    add_dimensions(&dims, name);
    sha256(dims.p, dims.n, digest);
    return str_cat(a, key_prefix(a, name), str_from(digest, DIGEST_BYTES));
}

static Str series_row(struct arena *a, const Series *s)
{
    AUTO_BUF(b);
    uint8_t head[ROW_HEAD_BYTES - 1] = { ROW_VERSION };
    put64(head + 1, s->id);
    put64(head + 9, (uint64_t)s->last_s);
    buf_add(&b, str_from(head, sizeof head));
    add_dimensions(&b, &s->name);
    return str_dup(a, buf_str(&b));
}

static bool take_text(Str *rest, Str *ret)
{
    if (rest->n < 2)
        return false;
    size_t n = get16((const uint8_t *)rest->p);
    if (rest->n - 2 < n)
        return false;
    *ret = str_from(rest->p + 2, n);
    *rest = str_skip(*rest, 2 + n);
    return true;
}

// Texts borrow from the row.
static Err read_row(struct arena *a, Str row, Series *ret)
{
    const uint8_t *p = (const uint8_t *)row.p;
    if (row.n < ROW_HEAD_BYTES)
        return fail(ERR_CORRUPT, "a metric's row is too short");
    if (p[0] != ROW_VERSION)
        return fail(ERR_FORMAT, "a metric's row was written by a newer program");
    size_t n = p[ROW_HEAD_BYTES - 1];
    Dimension *dims = arena_new(a, Dimension, MAX(n, (size_t)1));
    Str rest = str_skip(row, ROW_HEAD_BYTES);
    for (size_t i = 0; i < n; i++)
        if (!take_text(&rest, &dims[i].name) || !take_text(&rest, &dims[i].value))
            return fail(ERR_CORRUPT, "a metric's row ends inside of a dimension");
    ret->id = get64(p + 1);
    ret->last_s = (int64_t)get64(p + 9);
    ret->name.dims = dims;
    ret->name.dim_count = n;
    return OK;
}

Err series_find(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                const SeriesName *name, Series *ret)
{
    Str row;
    kv_on(tx, s->series);
    TRY(kv_get(tx, a, series_key(a, name), &row));
    *ret = (Series){ .name = *name };
    return read_row(a, row, ret);
}

static Err find_or_make(const struct series_store *s, struct kv_txn *tx, struct arena *tmp,
                        const SeriesName *name, int64_t at_s, uint64_t *ret_id)
{
    Series series = { 0 };
    Err e = series_find(s, tx, tmp, name, &series);
    if (e.kind == ERR_NOT_FOUND) {
        TRY(kv_next_id(tx, &series.id));
        series.name = *name;
        series.last_s = INT64_MIN;
        e = OK;
    }
    TRY(e);
    if (series.last_s == INT64_MIN || at_s - series.last_s >= LAST_EVERY_S) {
        series.last_s = at_s;
        kv_on(tx, s->series);
        TRY(kv_put(tx, series_key(tmp, name), series_row(tmp, &series)));
    }
    *ret_id = series.id;
    return OK;
}

// ---- Points

static void put_big_endian(uint8_t *p, uint64_t value, size_t bytes)
{
    for (size_t i = bytes; i > 0; i--, value >>= 8)
        p[i - 1] = (uint8_t)value;
}

static int64_t block_seconds(bool by_seconds)
{
    return by_seconds ? MINUTE_S : HOUR_S;
}

static Str point_key(struct arena *a, bool by_seconds, int64_t block, uint64_t id)
{
    uint8_t *key = arena_alloc(a, POINT_KEY_BYTES, 1);
    key[0] = by_seconds ? 's' : 'm';
    put_big_endian(key + 1, (uint64_t)block, 4);
    put_big_endian(key + 5, id, 8);
    return str_from(key, POINT_KEY_BYTES);
}

static Err read_block(const struct series_store *s, struct kv_txn *tx, struct arena *a, Str key,
                      Block *ret)
{
    Str row;
    kv_on(tx, s->points);
    Err e = kv_get(tx, a, key, &row);
    if (e.kind == ERR_NOT_FOUND) {
        *ret = (Block){ 0 };
        return OK;
    }
    TRY(e);
    return block_read(a, row, ret);
}

static Err add_point(const struct series_store *s, struct kv_txn *tx, struct arena *tmp,
                     uint64_t id, int64_t at_s, bool by_seconds, unsigned unit, const StatSet *set)
{
    AUTO_BUF(row);
    Block b;
    int64_t width = block_seconds(by_seconds);
    Str key = point_key(tmp, by_seconds, at_s / width, id);
    TRY(read_block(s, tx, tmp, key, &b));
    block_add(tmp, &b, (unsigned)(at_s % width / (width / BLOCK_SLOTS)), unit, set);
    block_write(&row, &b);
    TRY(buf_err(&row));
    return kv_put(tx, key, buf_str(&row));
}

Err series_add(const struct series_store *s, struct kv_txn *tx, struct arena *tmp,
               const SeriesName *name, int64_t at_s, bool by_seconds, unsigned unit,
               const StatSet *set)
{
    uint64_t id;
    CHECK(at_s >= 0);
    TRY(find_or_make(s, tx, tmp, name, at_s, &id));
    if (by_seconds)
        TRY(add_point(s, tx, tmp, id, at_s, true, unit, set));
    return add_point(s, tx, tmp, id, at_s, false, unit, set);
}

Err series_points(const struct series_store *s, struct kv_txn *tx, struct arena *tmp, uint64_t id,
                  bool by_seconds, int64_t from_s, int64_t to_s, SeriesVisit *each, void *self)
{
    int64_t width = block_seconds(by_seconds), step = width / BLOCK_SLOTS;
    from_s = MAX(from_s, 0);
    for (int64_t block = from_s / width; block * width < to_s; block++) {
        Block b;
        ArenaMark before = arena_mark(tmp);
        TRY(read_block(s, tx, tmp, point_key(tmp, by_seconds, block, id), &b));
        for (size_t i = 0; i < b.n; i++) {
            int64_t at_s = block * width + b.at[i].slot * step;
            if (at_s + step > from_s && at_s < to_s)
                TRY(each(self, at_s, b.at[i].unit, &b.at[i].set));
        }
        arena_rewind(tmp, before);
    }
    return OK;
}

// ---- What is over

static Err expire_points(const struct series_store *s, struct kv_txn *tx, bool by_seconds,
                         int64_t before_s, size_t max, size_t *ret_removed)
{
    AUTO(arena) tmp = arena_open();
    Str *keys = arena_new(tmp, Str, max);
    size_t n = 0;
    Str horizon = str_head(point_key(tmp, by_seconds, before_s / block_seconds(by_seconds), 0), 5);
    kv_on(tx, s->points);
    struct kv_scan scan = kv_scan_start(tx, str_head(horizon, 1), S(""));
    while (n < max && kv_scan_next(&scan)) {
        Str key = str_cat(tmp, str_head(horizon, 1), scan.rest);
        if (str_cmp(str_head(key, horizon.n), horizon) >= 0)
            break;
        keys[n++] = key;
    }
    kv_scan_end(&scan);
    TRY(scan.err);
    for (size_t i = 0; i < n; i++)
        TRY(kv_del(tx, keys[i]));
    *ret_removed = n;
    return OK;
}

static Err expire_series(const struct series_store *s, struct kv_txn *tx, int64_t before_s,
                         size_t max, size_t *ret_removed)
{
    AUTO(arena) tmp = arena_open();
    Str *keys = arena_new(tmp, Str, max);
    size_t n = 0;
    kv_on(tx, s->series);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (n < max && kv_scan_next(&scan)) {
        Series series = { 0 };
        ArenaMark mark = arena_mark(tmp);
        Err e = read_row(tmp, scan.value, &series);
        arena_rewind(tmp, mark);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
        if (series.last_s + LAST_EVERY_S < before_s)
            keys[n++] = str_dup(tmp, scan.rest);
    }
    kv_scan_end(&scan);
    TRY(scan.err);
    for (size_t i = 0; i < n; i++)
        TRY(kv_del(tx, keys[i]));
    *ret_removed = n;
    return OK;
}

Err series_expire(const struct series_store *s, struct kv_txn *tx, int64_t now_s, size_t max,
                  bool *ret_more)
{
    size_t seconds, minutes, series;
    TRY(expire_points(s, tx, true, MAX(now_s - SERIES_SECONDS_KEPT, 0), max, &seconds));
    TRY(expire_points(s, tx, false, MAX(now_s - SERIES_MINUTES_KEPT, 0), max, &minutes));
    TRY(expire_series(s, tx, now_s - SERIES_MINUTES_KEPT, max, &series));
    *ret_more = seconds == max || minutes == max || series == max;
    return OK;
}

// ---- Walking

SeriesWalk series_walk(const struct series_store *s, struct kv_txn *tx, struct arena *a,
                       const SeriesName *within, Str after)
{
    SeriesName realm = { .account = within->account, .region = within->region };
    SeriesWalk w = { .a = a, .within = *within };
    // Keys are told behind the account and region, whatever else is asked for.
    Str realm_prefix = key_prefix(a, &realm), prefix = key_prefix(a, within);
    w.prefix = str_skip(prefix, realm_prefix.n);
    kv_on(tx, s->series);
    w.scan = kv_scan_start(tx, prefix, after.n > 0 ? str_cat(a, realm_prefix, after) : S(""));
    return w;
}

bool series_next(SeriesWalk *w, Err *ret_err, Series *ret)
{
    *ret_err = OK;
    if (!kv_scan_next(&w->scan)) {
        *ret_err = w->scan.err;
        return false;
    }
    w->key = str_cat(w->a, w->prefix, w->scan.rest);
    Series s = { .name = w->within };
    size_t tail = DIGEST_BYTES + 1, end;
    if (w->key.n < tail) {
        *ret_err = fail(ERR_CORRUPT, "a metric's key is too short");
        kv_scan_end(&w->scan);
        return false;
    }
    Str names = str_head(w->key, w->key.n - tail); // namespace 0x00 name
    end = str_find(names, '\0');
    s.name.name_space = str_head(names, end);
    s.name.name = str_skip(names, MIN(end + 1, names.n));
    *ret_err = read_row(w->a, str_dup(w->a, w->scan.value), &s);
    if (ret_err->kind != ERR_NONE) {
        kv_scan_end(&w->scan);
        return false;
    }
    *ret = s;
    return true;
}

void series_walk_end(SeriesWalk *w)
{
    kv_scan_end(&w->scan);
}
