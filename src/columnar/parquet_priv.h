// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/buf.h"
#include "columnar/pack.h"
#include "columnar/parquet.h"
#include "columnar/range.h"

enum {
    PATH_MAX_PARTS = 2 * COLUMNAR_DEPTH_MAX + 2,
};

typedef enum ParquetType {
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_INT96,
    PARQUET_FLOAT,
    PARQUET_DOUBLE,
    PARQUET_BYTES,
    PARQUET_FIXED,
} ParquetType;

typedef enum ParquetEncoding {
    PARQUET_PLAIN = 0,
    PARQUET_PLAIN_DICTIONARY = 2,
    PARQUET_RLE = 3,
    PARQUET_RLE_DICTIONARY = 8,
} ParquetEncoding;

// Levels of definition and repetition, for each slot of a leaf: its values, the nulls, and what
// stands for empty and missing lists. parquet_levels.c
struct levels {
    uint8_t *def, *rep;
    size_t n, cap;
};

struct page { // encoded, with its header
    struct page *next;
    size_t n;
    char bytes[];
};

struct page_note {
    uint64_t offset; // in its chunk, behind the dictionary
    uint32_t bytes;
    uint64_t first_row; // in its row group
    uint64_t nulls;
    bool all_null;
    Str least, greatest; // absent: not known
};

// What the footer says of a column chunk.
struct chunk {
    const struct page_note *notes;
    size_t note_count;
    uint64_t at, dictionary_bytes; // in the file
    uint64_t values, nulls, raw_bytes, bytes;
    bool plain, dictionary; // encodings of its pages
    Str least, greatest;
    uint64_t index_at[2]; // column index, offset index
    uint32_t index_bytes[2];
};

struct leaf {
    const struct type *type;
    ParquetType physical;
    unsigned fixed_bytes;
    uint8_t def_max, rep_max;

    // The open page.
    struct buf values; // PLAIN; with a dictionary: u32 numbers
    unsigned bit;      // boolean: of the last byte
    struct leaf_levels {
        struct buf done, open; // encoded; a byte each
        bool any;              // else all of them are the greatest so far
    } def, rep;
    size_t slots, dense, rows;
    size_t plain_bytes; // what its values would be without the dictionary
    struct range range;

    struct dictionary *dictionary; // NULL: no longer, or never
    bool with_dictionary;          // of each row group: tried
    struct buf fixed;              // PLAIN values of a batch, on their way into the dictionary

    // The chunk.
    struct page *pages, **pages_end, *dictionary_page;
    size_t dictionary_raw_bytes;
    struct page_note *notes;
    size_t note_count, note_cap;
    struct chunk chunk;
    struct range chunk_range;
    uint64_t chunk_rows;
};

struct parquet {
    ColumnarParquet o;
    const struct columnar_schema *schema;
    struct out *out;
    struct pack *pack;
    struct leaf *leaves;
    size_t leaf_count;
    struct levels levels[COLUMNAR_DEPTH_MAX + 2]; // one for each depth
    struct buf raw, packed, head; // a page before compression, and behind it; its header

    uint64_t rows, group_rows;
    struct arena *notes; // what the footer says: row groups, chunks, pages
    struct group {
        struct group *next;
        struct chunk *chunks; // leaf_count
        uint64_t rows, at, raw_bytes, bytes;
    } * groups, **groups_end;
    size_t group_count;
};

// ---- parquet_levels.c

// Levels of everything below a top-level column, given to its leaves in their order from *leaf on.
Err levels_add(struct parquet *p, const struct column *c, struct leaf **leaf);

// Appends numbers in the hybrid of run lengths and packed bits: each has `width` bits, and is one
// byte or four in memory.
void hybrid_bytes(struct buf *out, const uint8_t *p, size_t n, unsigned width);
// The first of them, so that others can follow; says how many: a few less than n.
size_t hybrid_bytes_begin(struct buf *out, const uint8_t *p, size_t n, unsigned width);
void hybrid_words(struct buf *out, const uint32_t *p, size_t n, unsigned width);
void hybrid_run(struct buf *out, uint32_t value, size_t n, unsigned width);

// ---- parquet_leaf.c

void leaf_init(struct leaf *l, const struct parquet *p, const struct type *t, uint8_t def_max,
               uint8_t rep_max);
void leaf_done(struct leaf *l);
// Appends what a batch holds: the slots of its levels, and its values. `rep` is NULL without lists.
Err leaf_add(struct parquet *p, struct leaf *l, const struct column *c, const uint8_t *def,
             const uint8_t *rep, size_t slots, size_t rows);
Err leaf_close_page(struct parquet *p, struct leaf *l);
// Closes the chunk: its notes go to p->notes, its pages stay until they are written.
Err leaf_close_chunk(struct parquet *p, struct leaf *l);
Err leaf_write(struct parquet *p, struct leaf *l);
size_t leaf_held(const struct leaf *l); // bytes that the row group has of it, or will have

// ---- parquet_range.c

// In PLAIN form; absent if it is not known.
Str range_text(struct arena *a, const struct range *r, const struct leaf *l, bool greatest);

// ---- parquet_footer.c

Err parquet_footer(struct parquet *p);
