// SPDX-License-Identifier: Apache-2.0
#include "columnar/orc_priv.h"

// A chunk's head: its length, and whether it stands as it was.
static void put_head(struct buf *out, size_t n, bool original)
{
    uint64_t head = (uint64_t)n << 1 | original;
    for (unsigned i = 0; i < ORC_CHUNK_HEAD_BYTES; i++, head >>= 8)
        buf_add_byte(out, (char)head);
}

void orc_stream_end(struct orc_stream *s)
{
    struct buf *out = &s->out;
    if (s->raw.n == 0)
        return;
    size_t start = out->n;
    if (buf_reserve(out, ORC_CHUNK_HEAD_BYTES + pack_room(s->pack, s->raw.n))) {
        put_head(out, 0, false);
        size_t n = pack_block(s->pack, buf_str(&s->raw), out->p + out->n);
        out->n = start;
        put_head(out, MIN(n, s->raw.n), n >= s->raw.n);
        if (n < s->raw.n)
            out->n += n;
        else
            buf_add(out, buf_str(&s->raw));
    }
    buf_clear(&s->raw);
}

void orc_stream_add(struct orc_stream *s, Str bytes)
{
    if (s->pack == NULL) {
        buf_add(&s->out, bytes);
        return;
    }
    while (bytes.n > 0) {
        size_t n = MIN(bytes.n, ORC_CHUNK_BYTES - s->raw.n);
        buf_add(&s->raw, str_head(bytes, n));
        if (s->raw.overflown)
            return;
        bytes = str_skip(bytes, n);
        if (s->raw.n == ORC_CHUNK_BYTES)
            orc_stream_end(s);
    }
}

void orc_stream_clear(struct orc_stream *s)
{
    buf_done(&s->out); // a stripe may have been large
    buf_clear(&s->raw);
}

void orc_stream_done(struct orc_stream *s)
{
    buf_done(&s->out);
    buf_done(&s->raw);
}

size_t orc_stream_held(const struct orc_stream *s)
{
    return s->out.n + s->raw.n;
}

Err orc_stream_err(const struct orc_stream *s)
{
    TRY(buf_err(&s->raw));
    return buf_err(&s->out);
}

void orc_stream_position(const struct orc_stream *s, struct orc_position *p)
{
    p->at[p->n++] = s->out.n;
    if (s->pack != NULL)
        p->at[p->n++] = s->raw.n;
}
