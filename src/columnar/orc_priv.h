// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/buf.h"
#include "columnar/dictionary.h"
#include "columnar/orc.h"
#include "columnar/pack.h"
#include "columnar/range.h"

enum {
    ORC_CHUNK_BYTES = 256 << 10, // before compression
    ORC_CHUNK_HEAD_BYTES = 3,
    ORC_RUN_MAX = 512, // integers that are encoded together
    ORC_BYTES_MAX = 512,
    ORC_POSITIONS_MAX = 12, // of a column in the row index
};

typedef enum OrcStreamKind {
    ORC_PRESENT = 0,
    ORC_DATA = 1,
    ORC_LENGTH = 2,
    ORC_DICTIONARY_DATA = 3,
    ORC_SECONDARY = 5,
    ORC_ROW_INDEX = 6,
    ORC_BLOOM_FILTER_UTF8 = 8,
} OrcStreamKind;

typedef enum OrcEncoding {
    ORC_DIRECT = 0,
    ORC_DICTIONARY = 1,
    ORC_DIRECT_V2 = 2,
    ORC_DICTIONARY_V2 = 3,
} OrcEncoding;

// ---- orc_stream.c: bytes, in chunks that are compressed each for itself

struct orc_stream {
    struct pack *pack; // NULL: nothing is compressed, and there are no chunks
    struct buf out;    // chunks that are complete
    struct buf raw;    // the open one
};

void orc_stream_add(struct orc_stream *s, Str bytes);
void orc_stream_end(struct orc_stream *s); // closes the open chunk
void orc_stream_clear(struct orc_stream *s);
void orc_stream_done(struct orc_stream *s);
size_t orc_stream_held(const struct orc_stream *s);
Err orc_stream_err(const struct orc_stream *s);

// Where the next byte will be, for the row index: one number, or two with compression.
struct orc_position {
    uint64_t at[ORC_POSITIONS_MAX];
    unsigned n;
};
void orc_stream_position(const struct orc_stream *s, struct orc_position *p);

// ---- orc_rle.c: run lengths. What is pending goes out at a stride's end, so that positions of
// strides need not tell how much of a run was before them.

struct orc_ints {
    struct orc_stream *to;
    bool is_signed, v1; // version 1 of the encoding
    unsigned n;
    int64_t pending[ORC_RUN_MAX];
};
void orc_ints_flush(struct orc_ints *e);
static inline void orc_ints_add(struct orc_ints *e, int64_t value)
{
    e->pending[e->n++] = value;
    if (e->n == ORC_RUN_MAX)
        orc_ints_flush(e);
}

struct orc_bytes {
    struct orc_stream *to;
    unsigned n;
    uint8_t pending[ORC_BYTES_MAX];
};
void orc_bytes_flush(struct orc_bytes *e);
static inline void orc_bytes_add(struct orc_bytes *e, uint8_t value)
{
    e->pending[e->n++] = value;
    if (e->n == ORC_BYTES_MAX)
        orc_bytes_flush(e);
}

struct orc_bits { // the first in the highest bit
    struct orc_bytes bytes;
    unsigned used; // bits of `open`
    uint8_t open;
};
static inline void orc_bits_add(struct orc_bits *e, bool bit)
{
    e->open = (uint8_t)(e->open | bit << (7 - e->used));
    if (++e->used == 8) {
        orc_bytes_add(&e->bytes, e->open);
        e->used = 0;
        e->open = 0;
    }
}
void orc_bits_end(struct orc_bits *e); // fills the open byte with zeros
void orc_bits_position(struct orc_bits *e, struct orc_position *p); // flushes what is whole

// ---- orc_bloom.c

struct orc_bloom {
    unsigned hashes;
    size_t words;
    uint64_t *bits;
};
bool orc_bloom_takes(TypeKind k); // whether the hash of its values is known for sure
Err orc_bloom_open(uint64_t values, double fpp, struct orc_bloom **ret);
void orc_bloom_close(struct orc_bloom *f);
void orc_bloom_add(struct orc_bloom *f, const struct column *c);
// Appends it as an entry of the index, and empties it.
void orc_bloom_put(struct orc_bloom *f, struct buf *index);

// ---- orc_column.c

struct orc_stats {
    uint64_t count, trues;
    bool has_null, sum_is_off; // the sum does not fit
    int64_t sum;               // of whole numbers; of text the bytes
    double real_sum;
    struct range range;
};
void orc_stats_put(const struct orc_stats *s, const struct type *t, struct buf *b);

struct orc_column {
    const struct type *type;
    bool v1;
    struct orc_stream present, data, second; // second: lengths, nanoseconds, scales
    struct orc_bits present_bits, bits;
    struct orc_bytes bytes;
    struct orc_ints ints, second_ints;

    // A text with a dictionary: its numbers, until the stripe's end decides.
    double threshold; // 0: none
    bool collects;
    struct dictionary dictionary;
    struct buf numbers; // u32
    struct buf ends;    // size_t: of numbers, where each stride ended
    struct orc_stream dictionary_data;
    OrcEncoding encoding;

    // Of the stripe, for each stride: positions, statistics.
    struct buf positions, late_positions; // u64; late: of data that was collected
    struct buf stats_bytes, stats_ends;   // messages, size_t
    size_t stride_count;
    unsigned present_positions; // of the positions: dropped if nothing is null
    struct orc_bloom *bloom;
    struct buf bloom_index;
    struct orc_stats stride, stripe, file;

    // Of the batch, how far it is encoded.
    size_t entry, dense, text, element;
    struct orc_column *children;
};

Err orc_column_init(struct orc_column *c, const struct type *t, const ColumnarOrc *o,
                    struct pack *pack);
void orc_column_done(struct orc_column *c);
void orc_column_rewind(struct orc_column *c); // a new batch
void orc_column_begin_stride(struct orc_column *c);
// Encodes the next n entries of a batch.
Err orc_column_add(struct orc_column *c, const struct column *from, size_t n);
Err orc_column_end_stride(struct orc_column *c);
Err orc_column_end_stripe(struct orc_column *c); // afterwards streams are whole
void orc_column_clear(struct orc_column *c);     // a new stripe
void orc_column_index(const struct orc_column *c, struct buf *b);
size_t orc_column_held(const struct orc_column *c); // bytes that the stripe will have of it, about
size_t orc_column_bytes(const struct orc_column *c);
Err orc_column_err(const struct orc_column *c);

// ---- orc.c, orc_tail.c

struct orc_stripe {
    struct orc_stripe *next;
    uint64_t offset, index_bytes, data_bytes, footer_bytes, rows;
    Str stats; // a message
};

struct orc {
    ColumnarOrc o;
    const struct columnar_schema *schema;
    struct out *out;
    struct pack *pack;
    struct orc_column root;
    struct orc_column **all; // by number
    uint64_t rows, stripe_rows, stride_rows;
    struct orc_stripe *stripes, **stripes_end;
    size_t stripe_count;
    struct arena *notes; // stripes
};

Err orc_tail(struct orc *f);
void orc_stripe_stats(struct orc *f, struct buf *b); // of the stripe that ends, as a message
