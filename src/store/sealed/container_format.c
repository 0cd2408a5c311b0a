// SPDX-License-Identifier: Apache-2.0
// The parts of a container in bytes. Offsets within each:
//
//     head       0 magic  8 format  12 least reader  16 number  24 id  32 class  40 created
//                4092 checksum
//     tail       0 magic  8 format  12 least reader  16 footer's place  24 footer's bytes
//                32 shards  36 chunks  40 footer's checksum  60 checksum
//     chunk      0 magic  8 shard  16 first position  24 stored bytes  28 raw bytes  32 records
//                36 runs  40 packing  44 key version  60 checksum  64 stored bytes
//     run        0 position  8 arrival  16 count  20 bytes  32 records
//     shard row  0 shard  8 first, 16 last position  24 first, 32 last arrival  40 records
//                48 raw bytes  56 first chunk  60 chunks
//     chunk row  0 place  8 stored bytes  12 raw bytes  16 records  20 runs  24 first, 32 last
//                position  40 first, 48 last arrival
//
// What is not named is zero, for later. The key version is that of the key which encrypts the
// chunk; 0: plain.
#include "store/sealed/container_priv.h"

#include "codec/crc.h"
#include "codec/little.h"

#include <string.h>

static const char file_magic[8] = { 'H', 'R', 'C', 'O', 'N', 'T', 'N', '\n' };
static const char tail_magic[8] = { 'H', 'R', 'C', 'T', 'A', 'I', 'L', '\n' };
static const char chunk_magic[8] = { 'H', 'R', 'C', 'H', 'U', 'N', 'K', '\n' };

uint32_t container_crc(ContainerKey key, uint64_t place, const void *p, size_t n)
{
    uint8_t where[24];
    put64(where, key.id);
    put64(where + 8, key.number);
    put64(where + 16, place);
    return crc32c(crc32c(0, where, sizeof where), p, n);
}

// ---- Names

static const Str name_start = S_INIT("container-"), name_end = S_INIT(".hrc");

enum { NAME_DIGITS = 10 };

Str container_path(struct arena *a, Str dir, uint64_t number)
{
    return str_fmt(a, "%.*s/%.*s%0*llu%.*s", FMT(dir), FMT(name_start), NAME_DIGITS,
                   (unsigned long long)number, FMT(name_end));
}

bool container_name_number(Str name, uint64_t *ret)
{
    if (!str_starts(name, name_start) || !str_ends(name, name_end) ||
        name.n < name_start.n + NAME_DIGITS + name_end.n)
        return false;
    Str digits = str_skip(str_head(name, name.n - name_end.n), name_start.n);
    // One spelling for each number: longer than ten digits only if it must be.
    if (digits.n > NAME_DIGITS && digits.p[0] == '0')
        return false;
    uint64_t number = 0;
    Err e = str_u64(digits, &number);
    if (e.kind != ERR_NONE)
        return false;
    *ret = number;
    return true;
}

RetentionClass retention_class(int64_t retention_ns)
{
    const int64_t hour_ns = INT64_C(3600) * 1000 * 1000 * 1000;
    if (retention_ns <= 24 * hour_ns)
        return RETENTION_DAY;
    return retention_ns <= 168 * hour_ns ? RETENTION_WEEK : RETENTION_YEAR;
}

// ---- The head of a file

enum { HEAD_CRC_AT = CONTAINER_HEAD_BYTES - 4, TAIL_CRC_AT = CONTAINER_TAIL_BYTES - 4 };

void container_head_put(uint8_t *p, const ContainerHead *h)
{
    memset(p, 0, CONTAINER_HEAD_BYTES);
    memcpy(p, file_magic, sizeof file_magic);
    put32(p + 8, h->format);
    put32(p + 12, h->least_reader);
    put64(p + 16, h->key.number);
    put64(p + 24, h->key.id);
    put32(p + 32, h->class);
    put64(p + 40, (uint64_t)h->created_ns);
    put32(p + HEAD_CRC_AT, crc32c(0, p, HEAD_CRC_AT));
}

Err container_head_get(const uint8_t *p, ContainerHead *ret)
{
    if (memcmp(p, file_magic, sizeof file_magic) != 0)
        return fail(ERR_CORRUPT, "not the head of a container");
    if (crc32c(0, p, HEAD_CRC_AT) != get32(p + HEAD_CRC_AT))
        return fail(ERR_CORRUPT, "the head of a container is damaged");
    ContainerHead h = {
        .format = get32(p + 8),
        .least_reader = get32(p + 12),
        .key = { .number = get64(p + 16), .id = get64(p + 24) },
        .class = get32(p + 32),
        .created_ns = (int64_t)get64(p + 40),
    };
    if (h.least_reader > CONTAINER_FORMAT)
        return fail(ERR_FORMAT, "the container was written by a newer program");
    if (h.class >= RETENTION_CLASSES)
        return fail(ERR_CORRUPT, "a container of no retention class");
    *ret = h;
    return OK;
}

// ---- The tail of a file

uint64_t container_file_bytes(uint64_t footer_end)
{
    uint64_t end = footer_end + CONTAINER_TAIL_BYTES;
    return (end + CONTAINER_ALIGN_BYTES - 1) / CONTAINER_ALIGN_BYTES * CONTAINER_ALIGN_BYTES;
}

void container_tail_put(uint8_t *p, ContainerKey key, uint64_t file_bytes, const ContainerTail *t)
{
    memset(p, 0, CONTAINER_TAIL_BYTES);
    memcpy(p, tail_magic, sizeof tail_magic);
    put32(p + 8, CONTAINER_FORMAT);
    put32(p + 12, CONTAINER_LEAST_READER);
    put64(p + 16, t->footer_place);
    put64(p + 24, t->footer_bytes);
    put32(p + 32, t->shards);
    put32(p + 36, t->chunks);
    put32(p + 40, t->footer_crc);
    put32(p + TAIL_CRC_AT, container_crc(key, file_bytes - CONTAINER_TAIL_BYTES, p, TAIL_CRC_AT));
}

Err container_tail_get(const uint8_t *p, ContainerKey key, uint64_t file_bytes, ContainerTail *ret)
{
    if (memcmp(p, tail_magic, sizeof tail_magic) != 0)
        return fail(ERR_CORRUPT, "the container has no tail");
    if (container_crc(key, file_bytes - CONTAINER_TAIL_BYTES, p, TAIL_CRC_AT) !=
        get32(p + TAIL_CRC_AT))
        return fail(ERR_CORRUPT, "the tail of a container is damaged");
    if (get32(p + 12) > CONTAINER_FORMAT)
        return fail(ERR_FORMAT, "the container was written by a newer program");
    ContainerTail t = {
        .footer_place = get64(p + 16),
        .footer_bytes = get64(p + 24),
        .shards = get32(p + 32),
        .chunks = get32(p + 36),
        .footer_crc = get32(p + 40),
    };
    uint64_t rows = (uint64_t)t.shards * SHARD_ROW_BYTES + (uint64_t)t.chunks * CHUNK_ROW_BYTES;
    bool sane = t.shards > 0 && t.chunks >= t.shards && t.footer_bytes == rows &&
                t.footer_place > CONTAINER_HEAD_BYTES && t.footer_place < file_bytes &&
                rows < file_bytes - t.footer_place &&
                container_file_bytes(t.footer_place + rows) == file_bytes;
    if (!sane)
        return fail(ERR_CORRUPT, "the tail of a container belongs to another file");
    *ret = t;
    return OK;
}

// ---- Chunks

enum { CHUNK_CRC_AT = CHUNK_HEAD_BYTES - 4 };

void chunk_head_put(uint8_t *p, ContainerKey key, uint64_t place, const uint8_t *stored,
                    const ChunkHead *h)
{
    memset(p, 0, CHUNK_HEAD_BYTES);
    memcpy(p, chunk_magic, sizeof chunk_magic);
    put64(p + 8, h->shard);
    put64(p + 16, h->first_position);
    put32(p + 24, h->stored_bytes);
    put32(p + 28, h->raw_bytes);
    put32(p + 32, h->records);
    put32(p + 36, h->runs);
    put32(p + 40, h->packing);
    uint32_t crc = container_crc(key, place, p, CHUNK_CRC_AT);
    put32(p + CHUNK_CRC_AT, crc32c(crc, stored, h->stored_bytes));
}

Err chunk_get(const uint8_t *p, ContainerKey key, uint64_t shard, const ContainerChunk *row,
              ChunkHead *ret)
{
    if (memcmp(p, chunk_magic, sizeof chunk_magic) != 0)
        return fail(ERR_CORRUPT, "no chunk lies where the footer says");
    uint32_t crc = container_crc(key, row->place, p, CHUNK_CRC_AT);
    if (crc32c(crc, p + CHUNK_HEAD_BYTES, row->stored_bytes) != get32(p + CHUNK_CRC_AT))
        return fail(ERR_CORRUPT, "a chunk is damaged");
    if (get32(p + 40) > CHUNK_ZSTD)
        return fail(ERR_FORMAT, "a chunk is packed in a way that this program does not know");
    if (get32(p + 44) != 0)
        return fail(ERR_FORMAT, "a chunk is encrypted, which this program does not know");
    ChunkHead h = {
        .shard = get64(p + 8),
        .first_position = get64(p + 16),
        .stored_bytes = get32(p + 24),
        .raw_bytes = get32(p + 28),
        .records = get32(p + 32),
        .runs = get32(p + 36),
        .packing = (ChunkPacking)get32(p + 40),
    };
    bool same = h.shard == shard && h.first_position == row->first_position &&
                h.stored_bytes == row->stored_bytes && h.raw_bytes == row->raw_bytes &&
                h.records == row->records && h.runs == row->runs &&
                (h.packing != CHUNK_PLAIN || h.stored_bytes == h.raw_bytes);
    if (!same)
        return fail(ERR_CORRUPT, "a chunk is not the one that the footer describes");
    *ret = h;
    return OK;
}

// ---- Runs

void run_head_put(uint8_t *p, const ContainerRun *run)
{
    memset(p, 0, RUN_HEAD_BYTES);
    put64(p, run->position);
    put64(p + 8, (uint64_t)run->arrival_ms);
    put32(p + 16, run->count);
    put32(p + 20, run->bytes);
}

bool container_run_next(const uint8_t *p, size_t n, size_t *at, ContainerRun *ret, Err *ret_err)
{
    *ret_err = OK;
    if (*at >= n)
        return false;
    const uint8_t *head = p + *at;
    if (n - *at < RUN_HEAD_BYTES) {
        *ret_err = fail(ERR_CORRUPT, "a chunk ends inside the head of a run");
        return false;
    }
    ContainerRun run = {
        .position = get64(head),
        .arrival_ms = (int64_t)get64(head + 8),
        .count = get32(head + 16),
        .bytes = get32(head + 20),
        .records = head + RUN_HEAD_BYTES,
    };
    bool sane =
        run.count > 0 && run.bytes <= RUN_BYTES_LARGEST && run.bytes <= n - *at - RUN_HEAD_BYTES &&
        run.count <= run.bytes / RECORD_HEAD_BYTES && run.position <= UINT64_MAX - run.count;
    if (!sane) {
        *ret_err = fail(ERR_CORRUPT, "a run is larger than its chunk");
        return false;
    }
    *at += RUN_HEAD_BYTES + run.bytes;
    *ret = run;
    return true;
}

bool run_is_whole(const ContainerRun *run)
{
    size_t at = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        Record record;
        if (!record_next(run->records, run->bytes, &at, &record))
            return false;
    }
    return at == run->bytes;
}

bool run_is_lost(const ContainerRun *run)
{
    static const uint8_t none[RECORD_HEAD_BYTES] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
    };
    if (run->bytes / RECORD_HEAD_BYTES != run->count || run->bytes % RECORD_HEAD_BYTES != 0)
        return false;
    for (uint32_t i = 0; i < run->count; i++)
        if (memcmp(run->records + (size_t)i * RECORD_HEAD_BYTES, none, sizeof none) != 0)
            return false;
    return true;
}

static bool chunks_equal(const ContainerChunk *x, const ContainerChunk *y)
{
    return x->place == y->place && x->stored_bytes == y->stored_bytes &&
           x->raw_bytes == y->raw_bytes && x->records == y->records && x->runs == y->runs &&
           x->first_position == y->first_position && x->last_position == y->last_position &&
           x->first_arrival_ms == y->first_arrival_ms && x->last_arrival_ms == y->last_arrival_ms;
}

Err chunk_check_runs(const uint8_t *runs, const ContainerChunk *row)
{
    ContainerChunk sum = { .place = row->place, .stored_bytes = row->stored_bytes };
    size_t at = 0;
    ContainerRun run;
    Err e = OK;
    while (container_run_next(runs, row->raw_bytes, &at, &run, &e)) {
        if (sum.runs > 0 && run.position <= sum.last_position)
            return fail(ERR_CORRUPT, "the runs of a chunk are not in order");
        chunk_add_run(&sum, &run);
    }
    TRY(e);
    return chunks_equal(&sum, row) ? OK : fail(ERR_CORRUPT, "a chunk holds other runs");
}

// ---- Rows

void chunk_add_run(ContainerChunk *c, const ContainerRun *run)
{
    bool first = c->runs == 0;
    c->first_position = first ? run->position : c->first_position;
    c->last_position = run->position + run->count - 1;
    c->first_arrival_ms = first ? run->arrival_ms : MIN(c->first_arrival_ms, run->arrival_ms);
    c->last_arrival_ms = first ? run->arrival_ms : MAX(c->last_arrival_ms, run->arrival_ms);
    c->raw_bytes += RUN_HEAD_BYTES + run->bytes;
    c->records += run->count;
    c->runs++;
}

void shard_add_chunk(ContainerShard *s, const ContainerChunk *c)
{
    bool first = s->chunks == 0;
    s->first_position = first ? c->first_position : s->first_position;
    s->last_position = c->last_position;
    s->first_arrival_ms =
        first ? c->first_arrival_ms : MIN(s->first_arrival_ms, c->first_arrival_ms);
    s->last_arrival_ms = first ? c->last_arrival_ms : MAX(s->last_arrival_ms, c->last_arrival_ms);
    s->records += c->records;
    s->raw_bytes += c->raw_bytes;
    s->chunks++;
}

void container_facts_of(const ContainerHead *h, const ContainerShard *shards, size_t n,
                        uint64_t file_bytes, ContainerFacts *ret)
{
    ContainerFacts f = {
        .number = h->key.number,
        .id = h->key.id,
        .bytes = file_bytes,
        .first_position = UINT64_MAX,
        .first_arrival_ms = INT64_MAX,
        .last_arrival_ms = INT64_MIN,
        .first_shard = shards[0].shard,
        .last_shard = shards[n - 1].shard,
        .shards = (uint32_t)n,
        .class = h->class,
    };
    for (size_t i = 0; i < n; i++) {
        const ContainerShard *s = &shards[i];
        f.raw_bytes += s->raw_bytes;
        f.records += s->records;
        f.first_position = MIN(f.first_position, s->first_position);
        f.last_position = MAX(f.last_position, s->last_position);
        f.first_arrival_ms = MIN(f.first_arrival_ms, s->first_arrival_ms);
        f.last_arrival_ms = MAX(f.last_arrival_ms, s->last_arrival_ms);
    }
    *ret = f;
}

void shard_row_put(uint8_t *p, const ContainerShard *s)
{
    put64(p, s->shard);
    put64(p + 8, s->first_position);
    put64(p + 16, s->last_position);
    put64(p + 24, (uint64_t)s->first_arrival_ms);
    put64(p + 32, (uint64_t)s->last_arrival_ms);
    put64(p + 40, s->records);
    put64(p + 48, s->raw_bytes);
    put32(p + 56, s->first_chunk);
    put32(p + 60, s->chunks);
}

static ContainerShard shard_row_get(const uint8_t *p)
{
    return (ContainerShard){
        .shard = get64(p),
        .first_position = get64(p + 8),
        .last_position = get64(p + 16),
        .first_arrival_ms = (int64_t)get64(p + 24),
        .last_arrival_ms = (int64_t)get64(p + 32),
        .records = get64(p + 40),
        .raw_bytes = get64(p + 48),
        .first_chunk = get32(p + 56),
        .chunks = get32(p + 60),
    };
}

void chunk_row_put(uint8_t *p, const ContainerChunk *c)
{
    put64(p, c->place);
    put32(p + 8, c->stored_bytes);
    put32(p + 12, c->raw_bytes);
    put32(p + 16, c->records);
    put32(p + 20, c->runs);
    put64(p + 24, c->first_position);
    put64(p + 32, c->last_position);
    put64(p + 40, (uint64_t)c->first_arrival_ms);
    put64(p + 48, (uint64_t)c->last_arrival_ms);
}

static ContainerChunk chunk_row_get(const uint8_t *p)
{
    return (ContainerChunk){
        .place = get64(p),
        .stored_bytes = get32(p + 8),
        .raw_bytes = get32(p + 12),
        .records = get32(p + 16),
        .runs = get32(p + 20),
        .first_position = get64(p + 24),
        .last_position = get64(p + 32),
        .first_arrival_ms = (int64_t)get64(p + 40),
        .last_arrival_ms = (int64_t)get64(p + 48),
    };
}

// ---- The footer

static bool chunk_is_sane(const ContainerChunk *c)
{
    // 64 bits, so that nothing wraps: neither number is greater than 32 bits hold.
    uint64_t least = (uint64_t)c->runs * RUN_HEAD_BYTES + (uint64_t)c->records * RECORD_HEAD_BYTES;
    return c->runs > 0 && c->records >= c->runs && c->raw_bytes >= least &&
           c->raw_bytes <= CHUNK_BYTES_LARGEST && c->stored_bytes > 0 &&
           c->stored_bytes <= c->raw_bytes && c->first_position <= c->last_position &&
           c->last_position - c->first_position >= c->records - 1 &&
           c->last_position < UINT64_MAX && c->first_arrival_ms <= c->last_arrival_ms;
}

static bool shards_equal(const ContainerShard *x, const ContainerShard *y)
{
    return x->shard == y->shard && x->first_position == y->first_position &&
           x->last_position == y->last_position && x->first_arrival_ms == y->first_arrival_ms &&
           x->last_arrival_ms == y->last_arrival_ms && x->records == y->records &&
           x->raw_bytes == y->raw_bytes && x->first_chunk == y->first_chunk &&
           x->chunks == y->chunks;
}

// The chunks follow each other from the head of the file to the footer.
static Err chunk_rows_get(const uint8_t *p, const ContainerTail *t, ContainerChunk *chunks)
{
    uint64_t place = CONTAINER_HEAD_BYTES;
    for (uint32_t i = 0; i < t->chunks; i++) {
        ContainerChunk c = chunk_row_get(p + (size_t)i * CHUNK_ROW_BYTES);
        if (c.place != place || !chunk_is_sane(&c) ||
            t->footer_place - place < CHUNK_HEAD_BYTES + (uint64_t)c.stored_bytes)
            return fail(ERR_CORRUPT, "the footer of a container has a bad row of a chunk");
        place += CHUNK_HEAD_BYTES + (uint64_t)c.stored_bytes;
        chunks[i] = c;
    }
    return place == t->footer_place ? OK : fail(ERR_CORRUPT, "a container has a gap");
}

// The shards are in order, share the chunks among them, and say what their chunks say.
static Err shard_rows_get(const uint8_t *p, const ContainerTail *t, const ContainerChunk *chunks,
                          ContainerShard *shards)
{
    const Err bad = fail(ERR_CORRUPT, "the footer of a container has a bad row of a shard");
    uint32_t next = 0;
    for (uint32_t i = 0; i < t->shards; i++) {
        ContainerShard s = shard_row_get(p + (size_t)i * SHARD_ROW_BYTES);
        if (s.first_chunk != next || s.chunks == 0 || s.chunks > t->chunks - next ||
            (i > 0 && s.shard <= shards[i - 1].shard))
            return bad;
        ContainerShard sum = { .shard = s.shard, .first_chunk = next };
        for (uint32_t k = next; k < next + s.chunks; k++) {
            if (k > next && chunks[k].first_position <= chunks[k - 1].last_position)
                return bad;
            shard_add_chunk(&sum, &chunks[k]);
        }
        if (!shards_equal(&s, &sum))
            return bad;
        next += s.chunks;
        shards[i] = s;
    }
    return next == t->chunks ? OK : bad;
}

Err footer_get(const uint8_t *p, const ContainerTail *t, ContainerShard *shards,
               ContainerChunk *chunks)
{
    TRY(chunk_rows_get(p + (size_t)t->shards * SHARD_ROW_BYTES, t, chunks));
    return shard_rows_get(p, t, chunks, shards);
}
