// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "codec/cbor_wire.h"
#include "codec/text.h"

#include <math.h>
#include <string.h>

// What is open; held in event_reader.stack. In definite items event_reader.left counts the values
// (in maps: the pairs) that have not begun yet.
enum { IS_MAP = 1, IS_INDEFINITE = 2, VALUE_DUE = 4 };

enum { WANT_DOCUMENT, WANT_NOTHING }; // held in event_reader.state

typedef struct Head {
    unsigned major;
    unsigned information;
    uint64_t argument; // 0 in indefinite items
} Head;

static Err broken(struct event_reader *r, const char *text)
{
    r->ended = true;
    return fail(ERR_INVALID, text);
}

static size_t left(const struct event_reader *r)
{
    return r->input.n - r->at;
}

static uint64_t big_endian(const char *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | (unsigned char)p[i];
    return value;
}

// Reads the beginning of an item and moves past it.
static Err head_at(struct event_reader *r, Head *ret)
{
    if (left(r) == 0)
        return broken(r, "the document ends too early");
    unsigned char first = (unsigned char)r->input.p[r->at];
    Head h = { .major = first >> 5, .information = first & 31, .argument = first & 31 };
    size_t more = 0;
    if (h.information == CBOR_INDEFINITE) {
        if (h.major == CBOR_UNSIGNED || h.major == CBOR_NEGATIVE || h.major == CBOR_TAG)
            return broken(r, "a number or tag of indefinite length");
        h.argument = 0;
    } else if (h.information > CBOR_IN_8_BYTES) {
        return broken(r, "a reserved length");
    } else if (h.information >= CBOR_IN_1_BYTE) {
        more = (size_t)1 << (h.information - CBOR_IN_1_BYTE);
        if (left(r) - 1 < more)
            return broken(r, "the document ends inside a number");
        h.argument = big_endian(r->input.p + r->at + 1, more);
    }
    r->at += 1 + more;
    *ret = h;
    return OK;
}

// ---- Strings.

// The bytes of a definite string whose head has been read.
static Err definite_string(struct event_reader *r, const Head *h, Str *ret)
{
    if (h->argument > left(r))
        return broken(r, "a string is longer than the document");
    Str s = str_from(r->input.p + r->at, (size_t)h->argument);
    if (h->major == CBOR_TEXT && !text_is_utf8(s))
        return broken(r, "a text is not well-formed UTF-8");
    r->at += s.n;
    *ret = s;
    return OK;
}

static bool break_at(const struct event_reader *r)
{
    return left(r) > 0 && (unsigned char)r->input.p[r->at] == CBOR_BREAK;
}

// Walks over the chunks of an indefinite string and counts their bytes; with `out`, copies them.
static Err walk_chunks(struct event_reader *r, unsigned major, char *out, size_t *ret_bytes)
{
    size_t bytes = 0;
    while (!break_at(r)) {
        Head h;
        Str chunk;
        TRY(head_at(r, &h));
        if (h.major != major || h.information == CBOR_INDEFINITE)
            return broken(r, "a chunk of a string is not a string of its kind");
        TRY(definite_string(r, &h, &chunk));
        if (out != NULL && chunk.n > 0)
            memcpy(out + bytes, chunk.p, chunk.n);
        bytes += chunk.n;
    }
    r->at++;
    *ret_bytes = bytes;
    return OK;
}

static Err string_after(struct event_reader *r, const Head *h, Str *ret)
{
    if (h->information != CBOR_INDEFINITE)
        return definite_string(r, h, ret);
    size_t bytes, start = r->at;
    TRY(walk_chunks(r, h->major, NULL, &bytes));
    char *joined = arena_try(r->arena, bytes, 1); // no more than the document holds
    if (joined == NULL) {
        r->ended = true;
        return fail(ERR_MEMORY, "no memory for the text of a document");
    }
    r->at = start;
    TRY(walk_chunks(r, h->major, joined, &bytes));
    *ret = str_from(joined, bytes);
    return OK;
}

// ---- Numbers.

static double half_value(uint64_t bits)
{
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double value = exponent == 0   ? ldexp(fraction, -24)
                   : exponent < 31 ? ldexp(fraction + 1024, exponent - 25)
                   : fraction == 0 ? (double)INFINITY
                                   : (double)NAN;
    return (bits & 0x8000) != 0 ? -value : value;
}

static double float_value(const Head *h)
{
    if (h->information == CBOR_IN_2_BYTES)
        return half_value(h->argument);
    if (h->information == CBOR_IN_4_BYTES) {
        uint32_t bits = (uint32_t)h->argument;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    double value;
    memcpy(&value, &h->argument, sizeof value);
    return value;
}

static Event integer_value(const Head *h)
{
    bool negative = h->major == CBOR_NEGATIVE;
    if (h->argument > INT64_MAX)
        return (Event){ .kind = EVENT_DOUBLE,
                        .real = negative ? -1.0 - (double)h->argument : (double)h->argument };
    int64_t value = (int64_t)h->argument;
    return (Event){ .kind = EVENT_INT, .number = negative ? -1 - value : value };
}

static Err simple_value(struct event_reader *r, const Head *h, Event *ret)
{
    switch (h->information) {
    case CBOR_FALSE:
    case CBOR_TRUE:
        *ret = (Event){ .kind = EVENT_BOOL, .number = h->information == CBOR_TRUE };
        return OK;
    case CBOR_NULL:
    case CBOR_UNDEFINED:
        *ret = (Event){ .kind = EVENT_NULL };
        return OK;
    case CBOR_IN_2_BYTES:
    case CBOR_IN_4_BYTES:
    case CBOR_IN_8_BYTES:
        *ret = (Event){ .kind = EVENT_DOUBLE, .real = float_value(h) };
        return OK;
    default:
        return broken(r, "an unassigned simple value, or a break where none belongs");
    }
}

// The number under tag 1, told in milliseconds. Nanoseconds must fit as well, as all callers reckon
// in them: the years 1677 to 2262.
static Err time_value(struct event_reader *r, Event *e)
{
    const int64_t most = INT64_MAX / NS_PER_MS;
    if (e->kind == EVENT_DOUBLE && r->seconds)
        e->real = round(e->real * 1000.0);
    if (e->kind == EVENT_DOUBLE && fabs(e->real) <= (double)most)
        *e = (Event){ .kind = EVENT_INT, .number = (int64_t)floor(e->real) };
    else if (e->kind == EVENT_INT && r->seconds &&
             __builtin_mul_overflow(e->number, 1000, &e->number))
        e->number = INT64_MAX;
    if (e->kind != EVENT_INT || e->number > most || e->number < -most)
        return broken(r, "a time is not a number, or far outside of history");
    e->kind = EVENT_TIME;
    return OK;
}

// ---- Structure.

static Err open_after(struct event_reader *r, const Head *h, Event *ret)
{
    bool map = h->major == CBOR_MAP, indefinite = h->information == CBOR_INDEFINITE;
    if (r->depth == EVENT_DEPTH_MAX) {
        r->ended = true;
        return fail(ERR_LIMIT, "the document is nested too deeply");
    }
    if (h->argument > left(r) / (map ? 2 : 1)) // every item takes a byte at least
        return broken(r, "a map or list is longer than the document");
    r->left[r->depth] = h->argument;
    r->stack[r->depth++] = (unsigned char)((map ? IS_MAP : 0) | (indefinite ? IS_INDEFINITE : 0));
    *ret = (Event){ .kind = map ? EVENT_MAP : EVENT_LIST };
    return OK;
}

static Err value_at(struct event_reader *r, Event *ret)
{
    Head h;
    Event e = { 0 };
    bool is_time = false;
    TRY(head_at(r, &h));
    while (h.major == CBOR_TAG) {
        is_time = is_time || h.argument == CBOR_TAG_EPOCH;
        TRY(head_at(r, &h));
    }
    switch (h.major) {
    case CBOR_UNSIGNED:
    case CBOR_NEGATIVE:
        e = integer_value(&h);
        break;
    case CBOR_BYTES:
    case CBOR_TEXT:
        e.kind = h.major == CBOR_TEXT ? EVENT_TEXT : EVENT_BYTES;
        TRY(string_after(r, &h, &e.text));
        break;
    case CBOR_LIST:
    case CBOR_MAP:
        TRY(open_after(r, &h, &e));
        break;
    default:
        TRY(simple_value(r, &h, &e));
        break;
    }
    if (is_time)
        TRY(time_value(r, &e));
    *ret = e;
    return OK;
}

static Err key_at(struct event_reader *r, Event *ret)
{
    Head h;
    Event e = { .kind = EVENT_KEY };
    TRY(head_at(r, &h));
    if (h.major != CBOR_TEXT)
        return broken(r, "the key of a map is not a text");
    TRY(string_after(r, &h, &e.text));
    *ret = e;
    return OK;
}

// The next event outside of everything: the one value of the document, then its end.
static Err outside(struct event_reader *r, Event *ret)
{
    if (r->state == WANT_DOCUMENT) {
        r->state = WANT_NOTHING;
        return value_at(r, ret);
    }
    if (left(r) > 0)
        return broken(r, "something follows the document");
    r->ended = true;
    *ret = (Event){ .kind = EVENT_END };
    return OK;
}

static Err cbor_next(struct event_reader *r, Event *ret)
{
    if (r->ended)
        return fail(ERR_CLOSED, "the document has ended");
    if (r->depth == 0)
        return outside(r, ret);

    unsigned char *top = &r->stack[r->depth - 1];
    uint64_t *to_come = &r->left[r->depth - 1];
    bool map = (*top & IS_MAP) != 0;
    if ((*top & VALUE_DUE) != 0) {
        *top &= (unsigned char)~VALUE_DUE;
        return value_at(r, ret);
    }
    bool indefinite = (*top & IS_INDEFINITE) != 0;
    if (indefinite ? break_at(r) : *to_come == 0) {
        r->at += indefinite;
        r->depth--;
        *ret = (Event){ .kind = map ? EVENT_MAP_END : EVENT_LIST_END };
        return OK;
    }
    if (!indefinite)
        --*to_come;
    if (map)
        *top |= VALUE_DUE;
    return map ? key_at(r, ret) : value_at(r, ret);
}

void cbor_reader_init(struct event_reader *r, struct arena *a, Str input)
{
    *r = (struct event_reader){
        .next = cbor_next, .input = input, .arena = a, .state = WANT_DOCUMENT
    };
}

void cbor_reader_init_seconds(struct event_reader *r, struct arena *a, Str input)
{
    cbor_reader_init(r, a, input);
    r->seconds = true;
}
