// SPDX-License-Identifier: Apache-2.0
#include "columnar/rows.h"
#include "base/memory.h"
#include "codec/text.h"

#include <math.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    PADDING_BYTES = 128,  // behind the record; at least what a guess of a key reads
    LOOKAHEAD = 4,        // guesses that are tried before a key is looked up
    SHOWN_BYTES = 60,     // of a value in a message
    KEPT_BYTES = 1 << 20, // of a buffer that was needed once
    CELLS_MAX = 32 << 20, // of nulls that the objects of one record leave to be filled in
};

// ---- What is wrong

static bool malformed(struct rows *r, const char *what)
{
    if (r->p >= r->end)
        what = "the record ends inside a JSON document";
    r->err =
        problem_set(r->problem, COLUMNAR_MALFORMED, "Encountered malformed JSON: %s (at byte %zu).",
                    what, (size_t)(MIN(r->p, r->end) - r->text));
    return false;
}

static bool starved(struct rows *r)
{
    r->err = fail(ERR_MEMORY, "no memory for the rows of a columnar file");
    return false;
}

static const char *type_name(const struct type *t)
{
    static const char *const names[] = {
        "boolean",   "tinyint", "smallint", "int",     "bigint", "float",
        "double",    "decimal", "string",   "varchar", "char",   "binary",
        "timestamp", "date",    "array",    "map",     "struct",
    };
    return names[t->kind];
}

static bool mismatch(struct rows *r, const struct column *c, Str value)
{
    Str shown = str_head(value, SHOWN_BYTES);
    while (shown.n > 0 && str_utf8_count(shown) == SIZE_MAX)
        shown.n--;
    r->err = problem_set(r->problem, COLUMNAR_MISMATCH,
                         "The value '%.*s'%s of the JSON field for column '%.*s' cannot be a %s.",
                         FMT(shown), shown.n < value.n ? "..." : "",
                         FMT(type_path(r->tmp, c->type)), type_name(c->type));
    return false;
}

// ---- Bytes

static inline void skip_blanks(struct rows *r)
{
    while (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')
        r->p++;
}

static int32_t hex4(const char *p)
{
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

// The escape whose backslash is *r->p; at most four bytes. Lone surrogates are refused, as they are
// no text.
static bool escape(struct rows *r, char *out, size_t *n)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char letter = r->p[1];
    const char *at = letter != 0 ? strchr(letters, letter) : NULL;
    if (at != NULL) {
        out[(*n)++] = meant[at - letters];
        r->p += 2;
        return true;
    }
    int32_t unit = letter == 'u' ? hex4(r->p + 2) : -1;
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return malformed(r, "a bad escape in a string");
    size_t used = 6;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int32_t low = r->p[6] == '\\' && r->p[7] == 'u' ? hex4(r->p + 8) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return malformed(r, "half of a surrogate pair in a string");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        used = 12;
    }
    *n += put_utf8(out + *n, (uint32_t)unit);
    r->p += used;
    return true;
}

// Copies what a string holds as it is, up to a quote, a backslash or a control byte; may write up
// to 16 bytes more than that.
static inline size_t copy_plain(struct rows *r, char *out)
{
#ifdef __SSE2__
    const char *start = r->p;
    for (;; r->p += 16, out += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)r->p);
        _mm_storeu_si128((__m128i *)(void *)out, x);
        __m128i special = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
        special = _mm_or_si128(special, _mm_cmpeq_epi8(x, _mm_set1_epi8('"')));
        special = _mm_or_si128(special, _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
        unsigned mask = (unsigned)_mm_movemask_epi8(special);
        if (mask != 0) {
            r->p += __builtin_ctz(mask);
            return (size_t)(r->p - start);
        }
    }
#else
    size_t n = text_plain(str_from(r->p, (size_t)(r->end - r->p)));
    memcpy(out, r->p, n);
    r->p += n;
    return n;
#endif
}

// The rest of the string whose opening quote is behind us. `out` has room for what is left of the
// record, and the slack.
static inline bool string_to(struct rows *r, char *out, size_t *ret_n)
{
    size_t n = 0;
    for (;;) {
        n += copy_plain(r, out + n);
        if (*r->p == '"')
            break;
        if (*r->p != '\\')
            return malformed(r, "a control character in a string");
        if (!escape(r, out, &n))
            return false;
    }
    r->p++;
    *ret_n = n;
    return true;
}

static size_t bytes_left(const struct rows *r)
{
    return (size_t)(r->end - r->p);
}

// The same into memory that lives until the next one. Zero bytes follow it.
static bool string_scratch(struct rows *r, Str *ret)
{
    size_t n;
    buf_clear(&r->scratch);
    if (!buf_reserve(&r->scratch, bytes_left(r) + PADDING_BYTES))
        return starved(r);
    if (!string_to(r, r->scratch.p, &n))
        return false;
    r->scratch.p[n] = 0;
    *ret = str_from(r->scratch.p, n);
    return true;
}

static bool word(struct rows *r, Str w)
{
    if (memcmp(r->p, w.p, w.n) != 0) // the padding is longer than any word
        return malformed(r, "a value is expected");
    r->p += w.n;
    return true;
}

// ---- What no column wants, or wants as it is written

static bool skip_string(struct rows *r)
{
    char bytes[4];
    for (;;) {
        r->p += text_plain(str_from(r->p, bytes_left(r)));
        size_t n = 0;
        if (*r->p == '"')
            break;
        if (r->p == r->end || *r->p != '\\')
            return malformed(r, "a control character in a string");
        if (!escape(r, bytes, &n))
            return false;
    }
    r->p++;
    return true;
}

static bool skip_value(struct rows *r, unsigned depth);

static bool skip_member(struct rows *r, unsigned depth)
{
    if (*r->p != '"')
        return malformed(r, "a key is expected");
    r->p++;
    if (!skip_string(r))
        return false;
    skip_blanks(r);
    if (*r->p != ':')
        return malformed(r, "a colon is expected");
    r->p++;
    return skip_value(r, depth);
}

// The list or object that begins here.
static bool skip_nested(struct rows *r, unsigned depth)
{
    bool object = *r->p == '{';
    char close = object ? '}' : ']';
    if (depth == 0)
        return malformed(r, "it is nested too deeply");
    r->p++;
    skip_blanks(r);
    if (*r->p == close) {
        r->p++;
        return true;
    }
    for (;;) {
        skip_blanks(r);
        if (!(object ? skip_member(r, depth - 1) : skip_value(r, depth - 1)))
            return false;
        skip_blanks(r);
        if (*r->p == close)
            break;
        if (*r->p != ',')
            return malformed(r, "a comma or the end of a list or object is expected");
        r->p++;
    }
    r->p++;
    return true;
}

static bool skip_value(struct rows *r, unsigned depth)
{
    struct number ignored;
    skip_blanks(r);
    switch (*r->p) {
    case '"':
        r->p++;
        return skip_string(r);
    case '{':
    case '[':
        return skip_nested(r, depth);
    case 't':
        return word(r, S("true"));
    case 'f':
        return word(r, S("false"));
    case 'n':
        return word(r, S("null"));
    default: {
        const char *end = number_scan(r->p, &ignored);
        if (end == NULL)
            return malformed(r, "a value is expected");
        r->p = end;
        return true;
    }
    }
}

// ---- Values into columns

static bool add_int(struct rows *r, struct column *c, int64_t value)
{
    if (!column_room(c))
        return starved(r);
    c->ints[c->dense] = value;
    column_added(c);
    return true;
}

// Cuts to the characters of the type, as Hive does; a char does not keep blanks at its end.
static size_t cut_text(const struct type *t, const char *p, size_t n)
{
    size_t chars = 0, at = 0;
    for (; at < n && n > t->chars_max; at++) {
        bool starts = ((unsigned char)p[at] & 0xc0) != 0x80;
        if (starts && chars++ == t->chars_max)
            break;
    }
    n = n > t->chars_max ? at : n;
    while (t->kind == TYPE_CHAR && n > 0 && p[n - 1] == ' ')
        n--;
    return n;
}

// The text that lies behind the column's bytes becomes its next value.
static inline void added_text(struct column *c, size_t n)
{
    if (c->type->chars_max != 0)
        n = cut_text(c->type, c->bytes + c->bytes_n, n);
    c->lengths[c->dense] = (uint32_t)n;
    c->bytes_n += n;
    column_added(c);
}

static bool add_text(struct rows *r, struct column *c, Str s)
{
    if (!column_room(c) || !column_room_bytes(c, s.n))
        return starved(r);
    memcpy(c->bytes + c->bytes_n, s.p, s.n);
    added_text(c, s.n);
    return true;
}

static bool add_real(struct rows *r, struct column *c, const struct number *x)
{
    double value;
    if (!number_real(x, &value) || (c->type->kind == TYPE_FLOAT && isinf((float)value)))
        return mismatch(r, c, x->text);
    if (!column_room(c))
        return starved(r);
    c->reals[c->dense] = value;
    column_added(c);
    return true;
}

static bool add_whole(struct rows *r, struct column *c, const struct number *x)
{
    static const int64_t max[] = { [TYPE_TINYINT] = INT8_MAX,
                                   [TYPE_SMALLINT] = INT16_MAX,
                                   [TYPE_INT] = INT32_MAX,
                                   [TYPE_BIGINT] = INT64_MAX };
    int64_t value, limit = max[c->type->kind];
    if (!number_whole(x, &value) || value > limit || value < -limit - 1)
        return mismatch(r, c, x->text);
    return add_int(r, c, value);
}

static bool add_decimal(struct rows *r, struct column *c, const struct number *x)
{
    Decimal value;
    if (!number_decimal(x, c->type->precision, c->type->scale, &value))
        return mismatch(r, c, x->text);
    if (!column_room(c))
        return starved(r);
    c->decimals[c->dense] = value;
    column_added(c);
    return true;
}

static bool add_moment(struct rows *r, struct column *c, Str s)
{
    Moment value;
    bool good = false;
    if (r->from.serde == COLUMNAR_OPENX)
        good = s.n > 0 && moment_openx(s, &value);
    else if (r->from.timestamp_format_count == 0)
        good = moment_plain(s, &value);
    for (size_t i = 0;
         r->from.serde == COLUMNAR_HIVE && !good && i < r->from.timestamp_format_count; i++)
        good = moment_format_read(r->formats[i], s, &value);
    if (!good)
        return mismatch(r, c, s);
    if (!column_room(c))
        return starved(r);
    c->moments[c->dense] = value;
    column_added(c);
    return true;
}

// A number, with the text that it is written as.
static bool add_number(struct rows *r, struct column *c, const struct number *x)
{
    switch (c->type->kind) {
    case TYPE_TINYINT:
    case TYPE_SMALLINT:
    case TYPE_INT:
    case TYPE_BIGINT:
        return add_whole(r, c, x);
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        return add_real(r, c, x);
    case TYPE_DECIMAL:
        return add_decimal(r, c, x);
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
    case TYPE_BINARY:
        return add_text(r, c, x->text);
    case TYPE_TIMESTAMP:
        return add_moment(r, c, x->text);
    default:
        return mismatch(r, c, x->text);
    }
}

// 0x1f, which the OpenX SerDe takes for a whole number.
static bool is_hexadecimal(Str s, struct number *ret)
{
    if (s.n < 3 || s.n > 17 || s.p[0] != '0' || (s.p[1] != 'x' && s.p[1] != 'X'))
        return false;
    uint64_t value = 0;
    for (size_t i = 2; i < s.n; i++) {
        char c = (char)(s.p[i] | 0x20);
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
        if (digit > 15)
            return false;
        value = value << 4 | digit;
    }
    *ret = (struct number){ .text = s, .digits = value, .exact = true };
    return true;
}

static bool add_boolean_text(struct rows *r, struct column *c, Str s)
{
    bool yes = str_eq_nocase(s, S("true"));
    if (!yes && !str_eq_nocase(s, S("false")))
        return mismatch(r, c, s);
    return add_int(r, c, yes);
}

// Text for a column of another type; of a member, or as the key of a map, which is always text.
// Zero bytes follow s.
static bool add_parsed(struct rows *r, struct column *c, Str s)
{
    struct number x;
    int64_t days;
    switch (c->type->kind) {
    case TYPE_BOOLEAN:
        return add_boolean_text(r, c, s);
    case TYPE_TIMESTAMP:
        return add_moment(r, c, s);
    case TYPE_DATE:
        return moment_date(s, &days) ? add_int(r, c, days) : mismatch(r, c, s);
    case TYPE_LIST:
    case TYPE_MAP:
    case TYPE_STRUCT:
        return mismatch(r, c, s);
    default:
        if (type_is_text(c->type->kind))
            return add_text(r, c, s);
        if (c->type->kind <= TYPE_BIGINT && is_hexadecimal(s, &x))
            return add_whole(r, c, &x);
        return number_scan(s.p, &x) == s.p + s.n ? add_number(r, c, &x) : mismatch(r, c, s);
    }
}

// The string whose opening quote is here.
static inline bool string_value(struct rows *r, struct column *c)
{
    size_t n;
    Str s;
    r->p++;
    if (type_is_text(c->type->kind)) {
        if (!column_room(c) || !column_room_bytes(c, bytes_left(r)))
            return starved(r);
        if (!string_to(r, c->bytes + c->bytes_n, &n))
            return false;
        added_text(c, n);
        return true;
    }
    if (!string_scratch(r, &s))
        return false;
    bool for_hive = c->type->kind == TYPE_TIMESTAMP || c->type->kind == TYPE_DATE;
    if (r->from.serde == COLUMNAR_HIVE && !for_hive)
        return mismatch(r, c, s);
    return add_parsed(r, c, s);
}

static bool value(struct rows *r, struct column *c);

// ---- Structs

static int32_t key_slow(struct rows *r, struct keys *k, size_t *place)
{
    Str key;
    const char *start = r->p;
    if (!string_scratch(r, &key))
        return KEY_UNWANTED;
    ArenaMark mark = arena_mark(r->tmp);
    int32_t field = keys_find(k, &r->from, r->tmp, key);
    arena_rewind(r->tmp, mark);
    *place += keys_learn(k, *place, str_from(start, (size_t)(r->p - start) - 1), field);
    return field;
}

// The field for the key behind whose opening quote we are. r->err is set if there is no key.
static inline int32_t key_field(struct rows *r, struct keys *k, size_t *place)
{
    for (size_t i = *place; i < k->n && i < *place + LOOKAHEAD; i++) {
        const struct key_guess *g = &k->guesses[i];
        if (key_fits(g, r->p)) {
            r->p += g->n;
            *place = i + 1;
            return g->field;
        }
    }
    return key_slow(r, k, place);
}

static bool fill_nulls(struct rows *r, struct column *c, size_t n)
{
    r->cells += c->type->child_count;
    if (r->cells > CELLS_MAX) {
        r->err = problem_set(r->problem, COLUMNAR_MALFORMED,
                             "The record leaves out more than %d values.", CELLS_MAX);
        return false;
    }
    for (size_t i = 0; i < c->type->child_count; i++)
        if (c->children[i].n < n && !column_null(&c->children[i]))
            return starved(r);
    return true;
}

// A member: its key is here. *left counts the fields that have not come.
static inline bool member(struct rows *r, struct column *c, size_t *place, size_t *left)
{
    struct keys *k = r->keys[c->type->number];
    if (*r->p != '"')
        return malformed(r, "a key is expected");
    r->p++;
    int32_t field = key_field(r, k, place);
    if (r->err.kind != ERR_NONE)
        return false;
    skip_blanks(r);
    if (*r->p != ':')
        return malformed(r, "a colon is expected");
    r->p++;
    skip_blanks(r);
    if (field == KEY_UNWANTED)
        return skip_value(r, COLUMNAR_JSON_DEPTH_MAX);
    struct column *child = &c->children[field];
    if (child->n > c->dense)
        column_truncate(child, c->dense); // it came before: the last one counts
    else
        --*left;
    return value(r, child);
}

// The object that begins here. The entries of its fields lie behind those of the structs before it.
static bool struct_value(struct rows *r, struct column *c)
{
    size_t place = 0, left = c->type->child_count;
    if (!column_room(c))
        return starved(r);
    r->p++;
    skip_blanks(r);
    while (*r->p != '}') {
        if (!member(r, c, &place, &left))
            return false;
        skip_blanks(r);
        if (*r->p == '}')
            break;
        if (*r->p != ',')
            return malformed(r, "a comma or the end of an object is expected");
        r->p++;
        skip_blanks(r);
        if (*r->p == '}')
            return malformed(r, "a key is expected");
    }
    r->p++;
    if (left > 0 && !fill_nulls(r, c, c->dense + 1))
        return false;
    column_added(c);
    return true;
}

// ---- Lists and maps

static void added_list(struct column *c, size_t n)
{
    c->lengths[c->dense] = (uint32_t)n;
    c->elements += n;
    column_added(c);
}

static bool list_value(struct rows *r, struct column *c)
{
    size_t n = 0;
    if (!column_room(c))
        return starved(r);
    r->p++;
    skip_blanks(r);
    for (bool more = *r->p != ']'; more; n++) {
        skip_blanks(r);
        if (!value(r, &c->children[0]))
            return false;
        skip_blanks(r);
        more = *r->p == ',';
        if (!more && *r->p != ']')
            return malformed(r, "a comma or the end of a list is expected");
        r->p += more;
    }
    r->p++;
    added_list(c, n);
    return true;
}

static int compare_texts(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

// Whether the last n keys of text have one twice: such a map is none, and readers differ.
static bool has_twins(struct rows *r, const struct column *keys, size_t n)
{
    if (n < 2 || !type_is_text(keys->type->kind))
        return false;
    Str *all = arena_try_raw_new(r->tmp, Str, n);
    if (all == NULL)
        return !starved(r);
    const char *end = keys->bytes + keys->bytes_n;
    for (size_t i = 0; i < n; i++) {
        uint32_t length = keys->lengths[keys->dense - 1 - i];
        end -= length;
        all[i] = str_from(end, length);
    }
    qsort(all, n, sizeof *all, compare_texts);
    for (size_t i = 1; i < n; i++)
        if (str_eq(all[i - 1], all[i]))
            return true;
    return false;
}

static bool map_member(struct rows *r, struct column *c)
{
    Str key;
    if (*r->p != '"')
        return malformed(r, "a key is expected");
    r->p++;
    if (!string_scratch(r, &key) || !add_parsed(r, &c->children[0], key))
        return false;
    skip_blanks(r);
    if (*r->p != ':')
        return malformed(r, "a colon is expected");
    r->p++;
    skip_blanks(r);
    return value(r, &c->children[1]);
}

static bool map_value(struct rows *r, struct column *c)
{
    const char *start = r->p;
    size_t n = 0;
    if (!column_room(c))
        return starved(r);
    r->p++;
    skip_blanks(r);
    for (bool more = *r->p != '}'; more; n++) {
        skip_blanks(r);
        if (!map_member(r, c))
            return false;
        skip_blanks(r);
        more = *r->p == ',';
        if (!more && *r->p != '}')
            return malformed(r, "a comma or the end of an object is expected");
        r->p += more;
    }
    r->p++;
    ArenaMark mark = arena_mark(r->tmp);
    bool twins = has_twins(r, &c->children[0], n);
    arena_rewind(r->tmp, mark);
    if (twins)
        return r->err.kind == ERR_NONE ? mismatch(r, c, str_from(start, (size_t)(r->p - start)))
                                       : false;
    added_list(c, n);
    return true;
}

// ---- Any value

static bool nested_value(struct rows *r, struct column *c)
{
    const char *start = r->p;
    bool object = *start == '{';
    TypeKind k = c->type->kind;
    if (object && k == TYPE_STRUCT)
        return struct_value(r, c);
    if (object && k == TYPE_MAP)
        return map_value(r, c);
    if (!object && k == TYPE_LIST)
        return list_value(r, c);
    if (!skip_value(r, COLUMNAR_JSON_DEPTH_MAX))
        return false;
    Str text = str_from(start, (size_t)(r->p - start));
    if (r->from.serde == COLUMNAR_OPENX && type_is_text(k))
        return add_text(r, c, text);
    return mismatch(r, c, text);
}

static bool boolean_value(struct rows *r, struct column *c, bool yes)
{
    Str text = yes ? S("true") : S("false");
    if (!word(r, text))
        return false;
    if (c->type->kind == TYPE_BOOLEAN)
        return add_int(r, c, yes);
    return type_is_text(c->type->kind) ? add_text(r, c, text) : mismatch(r, c, text);
}

static bool number_value(struct rows *r, struct column *c)
{
    struct number x;
    const char *end = number_scan(r->p, &x);
    if (end == NULL)
        return malformed(r, "a value is expected");
    r->p = end;
    return add_number(r, c, &x);
}

// The value that begins here.
static bool value(struct rows *r, struct column *c)
{
    switch (*r->p) {
    case '"':
        return string_value(r, c);
    case '{':
    case '[':
        return nested_value(r, c);
    case 't':
        return boolean_value(r, c, true);
    case 'f':
        return boolean_value(r, c, false);
    case 'n':
        return word(r, S("null")) && (column_null(c) || starved(r));
    default:
        return number_value(r, c);
    }
}

// ---- Records

static Err take_text(struct rows *r, Str record)
{
    size_t cap = record.n + PADDING_BYTES;
    if (cap > r->text_cap) {
        cap = MAX(cap, 2 * MIN(r->text_cap, (size_t)KEPT_BYTES));
        char *p = memory_try_resize(r->text, cap);
        if (p == NULL)
            return fail(ERR_MEMORY, "no memory for a record");
        r->text = p;
        r->text_cap = cap;
    }
    if (record.n > 0)
        memcpy(r->text, record.p, record.n);
    memset(r->text + record.n, 0, PADDING_BYTES);
    r->p = r->text;
    r->end = r->text + record.n;
    return OK;
}

static bool objects(struct rows *r)
{
    size_t before = r->root.n;
    if (!text_is_utf8(str_from(r->text, bytes_left(r))))
        return malformed(r, "the record is not UTF-8");
    for (;;) {
        skip_blanks(r);
        if (r->p == r->end)
            break;
        if (*r->p != '{')
            return malformed(r, "an object is expected");
        if (!struct_value(r, &r->root))
            return false;
    }
    if (r->root.n == before)
        r->err = problem_set(r->problem, COLUMNAR_MALFORMED, "The record holds no JSON object.");
    return r->err.kind == ERR_NONE;
}

Err rows_read(struct rows *r, Str record, uint64_t *ret_rows, ColumnarProblem *problem)
{
    size_t before = r->root.n;
    if (record.n > COLUMNAR_RECORD_BYTES_MAX)
        return problem_set(problem, COLUMNAR_MALFORMED, "The record has more than %d bytes.",
                           COLUMNAR_RECORD_BYTES_MAX);
    TRY(take_text(r, record));
    r->problem = problem;
    r->err = OK;
    r->cells = 0;
    if (!objects(r)) {
        CHECK(r->err.kind != ERR_NONE);
        column_truncate(&r->root, before);
    }
    arena_reset(r->tmp);
    TRY(r->err);
    *ret_rows = r->root.n - before;
    return OK;
}

// ---- Opening

static Err open_keys(struct rows *r, const struct type *t, ColumnarProblem *problem)
{
    if (t->kind == TYPE_STRUCT)
        TRY(keys_open(t, &r->from, problem, &r->keys[t->number]));
    for (size_t i = 0; i < t->child_count; i++)
        TRY(open_keys(r, &t->children[i], problem));
    return OK;
}

Err rows_init(struct rows *r, const struct columnar_schema *s, const ColumnarDeserializer *from,
              ColumnarProblem *problem)
{
    *r = (struct rows){ .from = *from, .type_count = s->type_count, .tmp = arena_open() };
    r->keys = xalloc(mul_checked(s->type_count, sizeof *r->keys));
    column_init(&r->root, &s->root);
    TRY(open_keys(r, &s->root, problem));
    size_t formats = from->timestamp_format_count;
    if (formats > COLUMNAR_FORMATS_MAX)
        return problem_set(problem, COLUMNAR_OPTION, "there are more than %d formats of timestamps",
                           COLUMNAR_FORMATS_MAX);
    r->formats = xalloc(mul_checked(formats, sizeof *r->formats));
    for (size_t i = 0; i < formats; i++)
        TRY(moment_format_open(from->timestamp_formats[i], problem, &r->formats[i]));
    r->from.mappings = NULL; // they are the caller's
    r->from.timestamp_formats = NULL;
    return OK;
}

void rows_done(struct rows *r)
{
    if (r->tmp == NULL)
        return;
    for (size_t i = 0; i < r->type_count; i++)
        keys_close(r->keys[i]);
    free(r->keys);
    for (size_t i = 0; r->formats != NULL && i < r->from.timestamp_format_count; i++)
        moment_format_close(r->formats[i]);
    free(r->formats);
    column_done(&r->root);
    arena_close(r->tmp);
    buf_done(&r->scratch);
    free(r->text);
    *r = (struct rows){ 0 };
}

void rows_clear(struct rows *r)
{
    column_clear(&r->root);
    column_shrink(&r->root, KEPT_BYTES);
    if (r->scratch.cap > KEPT_BYTES)
        buf_done(&r->scratch);
    if (r->text_cap > KEPT_BYTES) {
        free(r->text);
        r->text = NULL;
        r->text_cap = 0;
    }
}

size_t rows_bytes(const struct rows *r)
{
    return sizeof *r + column_bytes(&r->root) + r->text_cap + r->scratch.cap + arena_bytes(r->tmp);
}
