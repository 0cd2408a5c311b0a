// SPDX-License-Identifier: Apache-2.0
// The list of files that are gone: a small file of its own, replaced as a whole, so that recovery
// knows it before it reads the first block.
//
//     magic (8 bytes), format, least reader format (4 each), oldest, before_oldest, count (8 each),
//     then number, before, last (8 each) of each file from between others, checksum (4)
#include "store/log/journal_priv.h"

#include "codec/crc.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { GONE_HEAD_BYTES = 40, GONE_ENTRY_BYTES = 24, GONE_BYTES_MAX = 16 << 20 };

static const char gone_magic[8] = { 'H', 'R', 'G', 'O', 'N', 'E', '\n', 0 };

static Str gone_path(const struct journal_files *fs, struct arena *a)
{
    return str_fmt(a, "%.*s/journal-gone.hrg", FMT(fs->dir));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

Err gone_write(const struct journal_files *fs, struct arena *tmp, const struct gone *g)
{
    size_t n = GONE_HEAD_BYTES + g->n * GONE_ENTRY_BYTES;
    uint8_t *p = arena_new(tmp, uint8_t, n + 4);
    uint32_t versions[2] = { htole32(JOURNAL_FORMAT), htole32(JOURNAL_LEAST_READER) };
    memcpy(p, gone_magic, sizeof gone_magic);
    memcpy(p + 8, versions, sizeof versions);
    put64(p + 16, g->oldest);
    put64(p + 24, g->before_oldest);
    put64(p + 32, g->n);
    for (size_t i = 0; i < g->n; i++) {
        uint8_t *entry = p + GONE_HEAD_BYTES + i * GONE_ENTRY_BYTES;
        put64(entry, g->at[i].number);
        put64(entry + 8, g->at[i].before);
        put64(entry + 16, g->at[i].last);
    }
    uint32_t crc = htole32(crc32c(0, p, n));
    memcpy(p + n, &crc, sizeof crc);
    return io_write_file(fs->io, tmp, gone_path(fs, tmp), str_from(p, n + 4));
}

static Err parse(Str content, struct gone *g)
{
    const uint8_t *p = (const uint8_t *)content.p;
    if (content.n < GONE_HEAD_BYTES + 4 || memcmp(p, gone_magic, sizeof gone_magic) != 0 ||
        crc32c(0, p, content.n - 4) != get32(p + content.n - 4))
        return fail(ERR_CORRUPT, "the list of retired journal files is damaged");
    if (get32(p + 12) > JOURNAL_FORMAT)
        return fail(ERR_FORMAT, "the journal was written by a newer program");
    size_t n = (content.n - 4 - GONE_HEAD_BYTES) / GONE_ENTRY_BYTES;
    if (get64(p + 32) != n || content.n != GONE_HEAD_BYTES + n * GONE_ENTRY_BYTES + 4)
        return fail(ERR_CORRUPT, "the list of retired journal files has a wrong length");
    g->oldest = get64(p + 16);
    g->before_oldest = get64(p + 24);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *entry = p + GONE_HEAD_BYTES + i * GONE_ENTRY_BYTES;
        gone_add(g, (GoneFile){ get64(entry), get64(entry + 8), get64(entry + 16) });
    }
    return OK;
}

Err gone_read(const struct journal_files *fs, struct arena *tmp, struct gone *g)
{
    Str content;
    Err e = io_read_file(fs->io, tmp, gone_path(fs, tmp), GONE_BYTES_MAX, &content);
    if (e.kind == ERR_NOT_FOUND)
        return OK; // nothing was ever retired
    TRY(e);
    return parse(content, g);
}

void gone_add(struct gone *g, GoneFile f)
{
    if (g->n == g->room) {
        g->room = MAX(g->room * 2, (size_t)16);
        g->at = xrealloc(g->at, mul_checked(g->room, sizeof *g->at));
    }
    size_t i = g->n++;
    for (; i > 0 && g->at[i - 1].number > f.number; i--)
        g->at[i] = g->at[i - 1];
    g->at[i] = f;
}

void gone_advance(struct gone *g, uint64_t oldest)
{
    size_t n = 0;
    for (; n < g->n && g->at[n].number < oldest; n++)
        if (g->at[n].last != 0)
            g->before_oldest = g->at[n].last;
    if (n > 0)
        memmove(g->at, g->at + n, (g->n - n) * sizeof *g->at);
    g->n -= n;
    g->oldest = MAX(g->oldest, oldest);
}

const GoneFile *gone_find(const struct gone *g, uint64_t number)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->at[i].number == number)
            return &g->at[i];
    return NULL;
}

bool gone_has(const struct gone *g, uint64_t number)
{
    return number < g->oldest || gone_find(g, number) != NULL;
}

void gone_copy(struct gone *to, const struct gone *from)
{
    *to = (struct gone){ .oldest = from->oldest, .before_oldest = from->before_oldest };
    for (size_t i = 0; i < from->n; i++)
        gone_add(to, from->at[i]);
}

void gone_done(struct gone *g)
{
    free(g->at);
    *g = (struct gone){ 0 };
}
