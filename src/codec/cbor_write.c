// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "codec/cbor_wire.h"

#include <string.h>

static void add_big_endian(struct buf *out, uint64_t value, size_t bytes)
{
    for (size_t shift = bytes * 8; shift > 0; shift -= 8)
        buf_add_byte(out, (char)(value >> (shift - 8)));
}

static void add_byte(struct event_writer *w, unsigned major, unsigned information)
{
    buf_add_byte(w->out, (char)CBOR_BYTE(major, information));
}

static void add_head(struct event_writer *w, unsigned major, uint64_t argument)
{
    if (argument < CBOR_IN_1_BYTE) {
        add_byte(w, major, (unsigned)argument);
    } else if (argument <= UINT8_MAX) {
        add_byte(w, major, CBOR_IN_1_BYTE);
        add_big_endian(w->out, argument, 1);
    } else if (argument <= UINT16_MAX) {
        add_byte(w, major, CBOR_IN_2_BYTES);
        add_big_endian(w->out, argument, 2);
    } else if (argument <= UINT32_MAX) {
        add_byte(w, major, CBOR_IN_4_BYTES);
        add_big_endian(w->out, argument, 4);
    } else {
        add_byte(w, major, CBOR_IN_8_BYTES);
        add_big_endian(w->out, argument, 8);
    }
}

static void open_item(struct event_writer *w, unsigned major)
{
    CHECK(w->depth < EVENT_WRITE_DEPTH_MAX);
    w->depth++;
    add_byte(w, major, CBOR_INDEFINITE);
}

static void write_end(struct event_writer *w)
{
    CHECK(w->depth > 0);
    w->depth--;
    buf_add_byte(w->out, (char)CBOR_BREAK);
}

static void write_map(struct event_writer *w)
{
    open_item(w, CBOR_MAP);
}

static void write_list(struct event_writer *w)
{
    open_item(w, CBOR_LIST);
}

static void write_text(struct event_writer *w, Str utf8)
{
    add_head(w, CBOR_TEXT, utf8.n);
    buf_add(w->out, utf8);
}

static void write_bytes(struct event_writer *w, Str bytes)
{
    add_head(w, CBOR_BYTES, bytes.n);
    buf_add(w->out, bytes);
}

static void write_null(struct event_writer *w)
{
    add_byte(w, CBOR_SIMPLE, CBOR_NULL);
}

static void write_boolean(struct event_writer *w, bool value)
{
    add_byte(w, CBOR_SIMPLE, value ? CBOR_TRUE : CBOR_FALSE);
}

static void write_integer(struct event_writer *w, int64_t value)
{
    if (value >= 0)
        add_head(w, CBOR_UNSIGNED, (uint64_t)value);
    else
        add_head(w, CBOR_NEGATIVE, ~(uint64_t)value); // -1 - value
}

static void write_real(struct event_writer *w, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_byte(w, CBOR_SIMPLE, CBOR_IN_8_BYTES);
    add_big_endian(w->out, bits, sizeof bits);
}

// Rounded down, also before 1970.
static int64_t whole_ms(int64_t ns)
{
    return ns / NS_PER_MS - (ns % NS_PER_MS < 0);
}

static void write_time(struct event_writer *w, int64_t ns)
{
    add_head(w, CBOR_TAG, CBOR_TAG_EPOCH);
    write_integer(w, whole_ms(ns));
}

static void write_time_seconds(struct event_writer *w, int64_t ns)
{
    int64_t ms = whole_ms(ns);
    add_head(w, CBOR_TAG, CBOR_TAG_EPOCH);
    if (ms % 1000 == 0)
        write_integer(w, ms / 1000);
    else
        write_real(w, (double)ms / 1000.0);
}

#define CBOR_OPS(write_the_time)                                                                   \
    {                                                                                              \
        .map = write_map, .map_end = write_end, .list = write_list, .list_end = write_end,         \
        .key = write_text, .null = write_null, .boolean = write_boolean, .integer = write_integer, \
        .real = write_real, .text = write_text, .bytes = write_bytes, .time = write_the_time,      \
    }
static const struct event_writer_ops cbor_ops = CBOR_OPS(write_time);
static const struct event_writer_ops cbor_ops_seconds = CBOR_OPS(write_time_seconds);

void cbor_writer_init(struct event_writer *w, struct buf *out)
{
    *w = (struct event_writer){ .ops = &cbor_ops, .out = out };
}

void cbor_writer_init_seconds(struct event_writer *w, struct buf *out)
{
    *w = (struct event_writer){ .ops = &cbor_ops_seconds, .out = out };
}
