// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "codec/crc.h"
#include "codec/little.h"
#include "columnar/dictionary.h"
#include "columnar/parquet_priv.h"
#include "columnar/thrift.h"

#include <endian.h>
#include <stdlib.h>

enum {
    INT96_BYTES = 12,
    COPY_BYTES = 16, // at once, so that it is one instruction
    JULIAN_OF_1970 = 2440588,
    DAY_SECONDS = 86400,
    LEVELS_GROUP = 8, // that are packed together
    LEVELS_OPEN_MAX = 4096,
    DICTIONARY_TRIAL = 32768, // values, after which one must have helped
    ROOM_KEPT_PAGES = 4,
    PAGE_DATA = 0,
    PAGE_DICTIONARY = 2,
    PAGE_DATA_V2 = 3,
};

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for a page");
}

// ---- Types

static const ParquetType physicals[] = {
    [TYPE_BOOLEAN] = PARQUET_BOOLEAN, [TYPE_TINYINT] = PARQUET_INT32,
    [TYPE_SMALLINT] = PARQUET_INT32,  [TYPE_INT] = PARQUET_INT32,
    [TYPE_BIGINT] = PARQUET_INT64,    [TYPE_FLOAT] = PARQUET_FLOAT,
    [TYPE_DOUBLE] = PARQUET_DOUBLE,   [TYPE_DECIMAL] = PARQUET_FIXED,
    [TYPE_STRING] = PARQUET_BYTES,    [TYPE_VARCHAR] = PARQUET_BYTES,
    [TYPE_CHAR] = PARQUET_BYTES,      [TYPE_BINARY] = PARQUET_BYTES,
    [TYPE_TIMESTAMP] = PARQUET_INT96, [TYPE_DATE] = PARQUET_INT32,
};

// The fewest bytes that hold every number of so many digits, and its sign.
static unsigned decimal_bytes(unsigned precision)
{
    Decimal max = 1;
    for (unsigned i = 0; i < precision; i++)
        max *= 10;
    unsigned n = 1;
    while (n < sizeof max && (max - 1) >> (8 * n - 1) != 0)
        n++;
    return n;
}

void leaf_init(struct leaf *l, const struct parquet *p, const struct type *t, uint8_t def_max,
               uint8_t rep_max)
{
    *l = (struct leaf){ .type = t,
                        .physical = physicals[t->kind],
                        .fixed_bytes = t->kind == TYPE_DECIMAL ? decimal_bytes(t->precision) : 0,
                        .def_max = def_max,
                        .rep_max = rep_max,
                        .with_dictionary = p->o.dictionary && t->kind != TYPE_BOOLEAN };
    l->pages_end = &l->pages;
}

static void dictionary_free(struct leaf *l)
{
    if (l->dictionary != NULL)
        dictionary_done(l->dictionary);
    free(l->dictionary);
    l->dictionary = NULL;
}

static void pages_free(struct leaf *l)
{
    while (l->pages != NULL) {
        struct page *next = l->pages->next;
        free(l->pages);
        l->pages = next;
    }
    l->pages_end = &l->pages;
    free(l->dictionary_page);
    l->dictionary_page = NULL;
}

void leaf_done(struct leaf *l)
{
    pages_free(l);
    dictionary_free(l);
    buf_done(&l->values);
    buf_done(&l->fixed);
    struct buf *levels[] = { &l->def.done, &l->def.open, &l->rep.done, &l->rep.open };
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        buf_done(levels[i]);
    free(l->notes);
}

// ---- Values in PLAIN form

static void add_booleans(struct leaf *l, const int64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (l->bit == 0)
            buf_add_byte(&l->values, 0);
        if (l->values.n > 0)
            l->values.p[l->values.n - 1] |= (char)(v[i] << l->bit);
        l->bit = (l->bit + 1) % 8;
    }
}

static void add_moments(uint8_t *out, const Moment *v, size_t n)
{
    for (size_t i = 0; i < n; i++, out += INT96_BYTES) {
        int64_t day = v[i].seconds / DAY_SECONDS, rest = v[i].seconds % DAY_SECONDS;
        if (rest < 0) {
            day--;
            rest += DAY_SECONDS;
        }
        put64(out, (uint64_t)(rest * INT64_C(1000000000) + v[i].ns));
        put32(out + 8, (uint32_t)(day + JULIAN_OF_1970));
    }
}

static void add_decimals(uint8_t *out, const Decimal *v, size_t n, unsigned bytes)
{
    for (size_t i = 0; i < n; i++, out += bytes) {
        Decimal x = v[i];
        for (unsigned k = bytes; k-- > 0; x >>= 8)
            out[k] = (uint8_t)x;
    }
}

// Each text behind its length. Reads and writes up to 16 bytes too far.
static char *add_texts(char *out, const char *p, const uint32_t *lengths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t length = lengths[i];
        put32((uint8_t *)out, length);
        out += 4;
        for (size_t k = 0; k < length; k += COPY_BYTES)
            memcpy(out + k, p + k, COPY_BYTES);
        out += length;
        p += length;
    }
    return out;
}

// Of a value in PLAIN form; 0: they differ.
static size_t value_bytes(const struct leaf *l)
{
    static const size_t sizes[] = {
        [PARQUET_INT32] = 4, [PARQUET_INT64] = 8,  [PARQUET_INT96] = INT96_BYTES,
        [PARQUET_FLOAT] = 4, [PARQUET_DOUBLE] = 8, [PARQUET_FIXED] = 0
    };
    return l->physical == PARQUET_FIXED ? l->fixed_bytes : sizes[l->physical];
}

static size_t plain_bytes(const struct leaf *l, const struct column *c)
{
    return l->physical == PARQUET_BYTES ? c->bytes_n + 4 * c->dense : c->dense * value_bytes(l);
}

static Err add_plain(struct leaf *l, const struct column *c, struct buf *to)
{
    if (l->physical == PARQUET_BOOLEAN) {
        add_booleans(l, c->ints, c->dense);
        return buf_err(&l->values);
    }
    size_t more = plain_bytes(l, c);
    if (!buf_reserve(to, more + COPY_BYTES))
        return no_memory();
    char *out = to->p + to->n;
    switch (l->physical) {
    case PARQUET_INT32:
        for (size_t i = 0; i < c->dense; i++)
            put32((uint8_t *)out + 4 * i, (uint32_t)c->ints[i]);
        break;
    case PARQUET_INT64:
        for (size_t i = 0; i < c->dense; i++)
            put64((uint8_t *)out + 8 * i, (uint64_t)c->ints[i]);
        break;
    case PARQUET_FLOAT:
        for (size_t i = 0; i < c->dense; i++) {
            float x = (float)c->reals[i];
            memcpy(out + 4 * i, &x, sizeof x);
        }
        break;
    case PARQUET_DOUBLE:
        if (c->dense > 0)
            memcpy(out, c->reals, 8 * c->dense);
        break;
    case PARQUET_INT96:
        add_moments((uint8_t *)out, c->moments, c->dense);
        break;
    case PARQUET_FIXED:
        add_decimals((uint8_t *)out, c->decimals, c->dense, l->fixed_bytes);
        break;
    default:
        CHECK(add_texts(out, c->bytes, c->lengths, c->dense) == out + more);
    }
    to->n += more;
    return OK;
}

// ---- Pages

// Writes a page behind its header: `plain` as it is (levels of version 2), then `raw` compressed.
static Err make_page(Str plain, Str raw, const struct buf *head, struct page **ret)
{
    size_t n = plain.n + raw.n;
    struct page *page = memory_try(sizeof *page + head->n + n);
    if (page == NULL)
        return no_memory();
    page->next = NULL;
    page->n = head->n + n;
    memcpy(page->bytes, head->p, head->n);
    if (plain.n > 0)
        memcpy(page->bytes + head->n, plain.p, plain.n);
    if (raw.n > 0)
        memcpy(page->bytes + head->n + plain.n, raw.p, raw.n);
    *ret = page;
    return OK;
}

// The block made smaller, in p->packed, or itself.
static Err squeeze(struct parquet *p, Str raw, Str *ret)
{
    *ret = raw;
    if (p->o.compression == COLUMNAR_UNCOMPRESSED)
        return OK;
    buf_clear(&p->packed);
    if (!buf_reserve(&p->packed, pack_room(p->pack, raw.n)))
        return no_memory();
    *ret = str_from(p->packed.p, pack_block(p->pack, raw, p->packed.p));
    return OK;
}

static void begin_header(struct parquet *p, struct thrift *t, int type, size_t raw_bytes, Str plain,
                         Str packed)
{
    uint32_t crc = crc32_zlib(crc32_zlib(0, plain.p, plain.n), packed.p, packed.n);
    buf_clear(&p->head);
    *t = thrift_begin(&p->head);
    thrift_i32(t, 1, type);
    thrift_i32(t, 2, (int32_t)(plain.n + raw_bytes));
    thrift_i32(t, 3, (int32_t)(plain.n + packed.n));
    thrift_i32(t, 4, (int32_t)crc);
}

static ParquetEncoding dictionary_encoding(const struct parquet *p)
{
    return p->o.v2 ? PARQUET_RLE_DICTIONARY : PARQUET_PLAIN_DICTIONARY;
}

// The page that all pages with numbers of the dictionary refer to; then there is no more of it.
static Err end_dictionary(struct parquet *p, struct leaf *l)
{
    if (l->dictionary == NULL)
        return OK;
    if (l->chunk.dictionary) {
        struct thrift t;
        Str raw = buf_str(&l->dictionary->bytes), packed;
        TRY(squeeze(p, raw, &packed));
        begin_header(p, &t, PAGE_DICTIONARY, raw.n, S(""), packed);
        thrift_struct(&t, 7);
        thrift_i32(&t, 1, (int32_t)l->dictionary->n);
        thrift_i32(&t, 2, p->o.v2 ? PARQUET_PLAIN : PARQUET_PLAIN_DICTIONARY);
        thrift_end(&t);
        thrift_end(&t);
        TRY(make_page(S(""), packed, &p->head, &l->dictionary_page));
        l->chunk.dictionary_bytes = l->dictionary_page->n;
        l->chunk.raw_bytes += p->head.n + raw.n;
        l->chunk.bytes += l->dictionary_page->n;
    }
    dictionary_free(l);
    return OK;
}

static unsigned bits_of(size_t max)
{
    return max == 0 ? 0 : 64 - (unsigned)__builtin_clzll(max);
}

// Whether the first page is smaller by its dictionary. One that does not help there will not later.
static bool dictionary_helps(const struct leaf *l)
{
    size_t numbers = l->dense * bits_of(l->dictionary->n) / 8;
    return l->dictionary->bytes.n + numbers < l->plain_bytes;
}

// Values are written as they are, also those of the open page.
static Err leave_dictionary(struct leaf *l)
{
    struct dictionary *d = l->dictionary;
    AUTO_BUF(numbers);
    buf_add(&numbers, buf_str(&l->values));
    TRY(buf_err(&numbers));
    buf_clear(&l->values);
    for (size_t i = 0; i < numbers.n; i += 4) {
        uint32_t number;
        memcpy(&number, numbers.p + i, sizeof number);
        Str s = dictionary_text(d, number);
        buf_add(&l->values, d->fixed > 0 ? s : str_from(s.p - 4, s.n + 4));
    }
    TRY(buf_err(&l->values));
    dictionary_free(l);
    return OK;
}

static void put_levels(const struct parquet *p, struct buf *out, const struct leaf *l,
                       const struct leaf_levels *levels, uint8_t max)
{
    size_t start = out->n, length_bytes = p->o.v2 ? 0 : 4;
    if (max == 0)
        return;
    buf_add(out, str_head(S("\0\0\0\0"), length_bytes));
    buf_add(out, buf_str(&levels->done));
    if (levels->any)
        hybrid_bytes(out, (const uint8_t *)levels->open.p, levels->open.n, bits_of(max));
    else
        hybrid_run(out, max, l->slots, bits_of(max));
    if (length_bytes > 0 && !out->overflown)
        put32((uint8_t *)out->p + start, (uint32_t)(out->n - start - length_bytes));
}

static void put_values(struct buf *out, const struct leaf *l)
{
    if (l->dictionary == NULL) {
        buf_add(out, buf_str(&l->values));
        return;
    }
    unsigned width = bits_of(l->dictionary->n > 0 ? l->dictionary->n - 1 : 0);
    buf_add_byte(out, (char)width);
    hybrid_words(out, (const uint32_t *)(const void *)l->values.p, l->values.n / 4, width);
}

static Err note_page(struct parquet *p, struct leaf *l, size_t bytes)
{
    if (l->note_count == l->note_cap) {
        size_t cap = MAX(l->note_cap * 2, (size_t)16);
        struct page_note *notes = memory_try_resize(l->notes, cap * sizeof *notes);
        if (notes == NULL)
            return no_memory();
        l->notes = notes;
        l->note_cap = cap;
    }
    l->notes[l->note_count++] = (struct page_note){
        .offset = l->chunk.bytes - l->chunk.dictionary_bytes,
        .bytes = (uint32_t)bytes,
        .first_row = l->chunk_rows,
        .nulls = l->slots - l->dense,
        .all_null = l->dense == 0,
        .least = range_text(p->notes, &l->range, l, false),
        .greatest = range_text(p->notes, &l->range, l, true),
    };
    return OK;
}

static void page_header(struct parquet *p, const struct leaf *l, struct thrift *t, size_t def_bytes,
                        size_t rep_bytes)
{
    int encoding = l->dictionary != NULL ? (int)dictionary_encoding(p) : PARQUET_PLAIN;
    thrift_struct(t, p->o.v2 ? 8 : 5);
    thrift_i32(t, 1, (int32_t)l->slots);
    if (p->o.v2) {
        thrift_i32(t, 2, (int32_t)(l->slots - l->dense));
        thrift_i32(t, 3, (int32_t)l->rows);
        thrift_i32(t, 4, encoding);
        thrift_i32(t, 5, (int32_t)def_bytes);
        thrift_i32(t, 6, (int32_t)rep_bytes);
        thrift_bool(t, 7, p->o.compression != COLUMNAR_UNCOMPRESSED);
    } else {
        thrift_i32(t, 2, encoding);
        thrift_i32(t, 3, PARQUET_RLE);
        thrift_i32(t, 4, PARQUET_RLE);
    }
    thrift_end(t);
    thrift_end(t);
}

// Empties a buffer; gives it up if one large value made it large.
static void reuse(const struct parquet *p, struct buf *b)
{
    if (b->cap > ROOM_KEPT_PAGES * p->o.page_bytes)
        buf_done(b);
    else
        buf_clear(b);
}

static void next_page(const struct parquet *p, struct leaf *l)
{
    l->chunk_rows += l->rows;
    l->slots = l->dense = l->rows = l->plain_bytes = 0;
    l->bit = 0;
    l->range = (struct range){ 0 };
    reuse(p, &l->values);
    struct buf *levels[] = { &l->def.done, &l->def.open, &l->rep.done, &l->rep.open };
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        reuse(p, levels[i]);
    l->def.any = l->rep.any = false;
}

static Err write_page(struct parquet *p, struct leaf *l)
{
    struct buf *raw = &p->raw;
    buf_clear(raw);
    put_levels(p, raw, l, &l->rep, l->rep_max);
    size_t rep_bytes = raw->n;
    put_levels(p, raw, l, &l->def, l->def_max);
    size_t def_bytes = raw->n - rep_bytes;
    put_values(raw, l);
    TRY(buf_err(raw));

    struct thrift t;
    struct page *page;
    Str plain = str_head(buf_str(raw), p->o.v2 ? rep_bytes + def_bytes : 0), packed;
    Str body = str_skip(buf_str(raw), plain.n);
    TRY(squeeze(p, body, &packed));
    begin_header(p, &t, p->o.v2 ? PAGE_DATA_V2 : PAGE_DATA, body.n, plain, packed);
    page_header(p, l, &t, def_bytes, rep_bytes);
    TRY(buf_err(&p->head));
    TRY(make_page(plain, packed, &p->head, &page));
    *l->pages_end = page;
    l->pages_end = &page->next;
    TRY(note_page(p, l, page->n));

    l->chunk.values += l->slots;
    l->chunk.nulls += l->slots - l->dense;
    l->chunk.raw_bytes += p->head.n + raw->n;
    l->chunk.bytes += page->n;
    l->chunk.dictionary |= l->dictionary != NULL;
    l->chunk.plain |= l->dictionary == NULL;
    range_join(&l->chunk_range, &l->range, l->type);
    return OK;
}

Err leaf_close_page(struct parquet *p, struct leaf *l)
{
    if (l->slots == 0)
        return OK;
    struct dictionary *d = l->dictionary;
    if (d != NULL && l->note_count == 0 && !dictionary_helps(l))
        TRY(leave_dictionary(l));
    TRY(write_page(p, l));
    next_page(p, l);
    reuse(p, &p->raw);
    reuse(p, &p->packed);
    if (d != NULL && l->dictionary != NULL && d->bytes.n > p->o.page_bytes)
        TRY(end_dictionary(p, l));
    return OK;
}

// ---- Batches

static Err add_number(struct leaf *l, Str value)
{
    uint32_t number;
    TRY(dictionary_add(l->dictionary, value, &number));
    memcpy(l->values.p + l->values.n, &number, sizeof number);
    l->values.n += sizeof number;
    return OK;
}

static Err add_numbers(struct leaf *l, const struct column *c)
{
    const char *p = c->bytes;
    size_t bytes = value_bytes(l);
    if (!buf_reserve(&l->values, 4 * c->dense))
        return no_memory();
    l->plain_bytes += plain_bytes(l, c);
    if (bytes > 0) {
        buf_clear(&l->fixed);
        TRY(add_plain(l, c, &l->fixed));
        p = l->fixed.p;
    }
    for (size_t i = 0; i < c->dense; i++) {
        size_t n = bytes > 0 ? bytes : c->lengths[i];
        TRY(add_number(l, str_from(p, n)));
        p += n;
    }
    return OK;
}

// Appends levels, or, where they are not given, as many of the greatest. What is open is encoded,
// so that it does not grow with the page: a page of nulls has millions of them.
static Err levels_append(struct leaf_levels *to, const uint8_t *levels, size_t n, size_t before,
                         uint8_t max)
{
    unsigned width = bits_of(max);
    if (!to->any && levels == NULL)
        return OK;
    if (!to->any) {
        size_t whole = before - before % LEVELS_GROUP;
        if (whole > 0)
            hybrid_run(&to->done, max, whole, width);
        n += before - whole;
    }
    size_t given = to->any ? n : n - before % LEVELS_GROUP;
    if (!buf_reserve(&to->open, n))
        return no_memory();
    char *out = to->open.p + to->open.n;
    memset(out, max, n);
    if (levels != NULL)
        memcpy(out + n - given, levels, given);
    to->open.n += n;
    to->any = true;
    if (to->open.n >= LEVELS_OPEN_MAX) {
        size_t done = hybrid_bytes_begin(&to->done, (const uint8_t *)to->open.p, to->open.n, width);
        buf_drop(&to->open, done);
    }
    return buf_err(&to->done);
}

static Err add_levels(struct leaf *l, const uint8_t *def, const uint8_t *rep, size_t slots)
{
    TRY(levels_append(&l->def, def, slots, l->slots, l->def_max));
    return rep != NULL ? levels_append(&l->rep, rep, slots, l->slots, l->rep_max) : OK;
}

static size_t levels_bytes(const struct leaf *l)
{
    return l->def.done.n + l->rep.done.n + (l->def.open.n + l->rep.open.n) / 8;
}

static bool is_page_full(const struct parquet *p, const struct leaf *l)
{
    size_t values = l->values.n;
    if (l->dictionary != NULL) {
        values = l->dense * bits_of(l->dictionary->n) / 8;
        if (l->dictionary->bytes.n > p->o.page_bytes)
            return true;
    }
    return values + levels_bytes(l) >= p->o.page_bytes;
}

Err leaf_add(struct parquet *p, struct leaf *l, const struct column *c, const uint8_t *def,
             const uint8_t *rep, size_t slots, size_t rows)
{
    if (l->with_dictionary && l->note_count == 0 && l->slots == 0 && l->dictionary == NULL) {
        l->dictionary = xalloc(sizeof *l->dictionary);
        dictionary_init(l->dictionary, value_bytes(l));
    }
    TRY(add_levels(l, def, rep, slots));
    TRY(l->dictionary != NULL ? add_numbers(l, c) : add_plain(l, c, &l->values));
    if (l->physical != PARQUET_INT96) // which has no order
        range_add(&l->range, c);
    bool judge = l->dense < DICTIONARY_TRIAL && l->dense + c->dense >= DICTIONARY_TRIAL;
    l->slots += slots;
    l->dense += c->dense;
    l->rows += rows;
    // Not only when a page is full: a dictionary of many values costs more than all the rest.
    if (judge && l->dictionary != NULL && l->note_count == 0 && !dictionary_helps(l))
        TRY(leave_dictionary(l));
    return is_page_full(p, l) ? leaf_close_page(p, l) : OK;
}

// ---- Chunks

Err leaf_close_chunk(struct parquet *p, struct leaf *l)
{
    TRY(leaf_close_page(p, l));
    TRY(end_dictionary(p, l));
    struct page_note *notes = arena_try_new(p->notes, struct page_note, l->note_count);
    if (notes == NULL)
        return no_memory();
    if (l->note_count > 0)
        memcpy(notes, l->notes, l->note_count * sizeof *notes);
    l->chunk.notes = notes;
    l->chunk.note_count = l->note_count;
    l->chunk.least = range_text(p->notes, &l->chunk_range, l, false);
    l->chunk.greatest = range_text(p->notes, &l->chunk_range, l, true);
    return OK;
}

Err leaf_write(struct parquet *p, struct leaf *l)
{
    l->chunk.at = p->out->written;
    if (l->dictionary_page != NULL)
        TRY(out_add(p->out, str_from(l->dictionary_page->bytes, l->dictionary_page->n)));
    for (const struct page *page = l->pages; page != NULL; page = page->next)
        TRY(out_add(p->out, str_from(page->bytes, page->n)));
    pages_free(l);
    l->note_count = 0;
    l->chunk_rows = 0;
    l->chunk_range = (struct range){ 0 };
    return OK;
}

size_t leaf_held(const struct leaf *l)
{
    return l->chunk.bytes + l->values.n + levels_bytes(l) +
           (l->dictionary != NULL ? l->dictionary->bytes.n : 0);
}
