// SPDX-License-Identifier: Apache-2.0
#include "cli/stream_reader.h"
#include "base/time.h"
#include "cli/term.h"
#include "codec/base64.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_RECORDS = 1000, CURSOR_CHARS_MAX = 24 };

struct stream_reader {
    const struct invocation *in;
    struct client *client;
    Str stream;
    struct shard_readers *shards; // NULL: by the page
    char cursor[CURSOR_CHARS_MAX], until[CURSOR_CHARS_MAX];
};

// ---- The page

static void add_text(struct buf *b, const char *name, Str text)
{
    buf_addf(b, ",\"%s\":", name);
    add_json_text(b, text);
}

static void add_from(struct buf *b, const ReaderFrom *from)
{
    switch (from->start) {
    case READ_TRIM:
        add_text(b, "from", S("trim"));
        break;
    case READ_LATEST:
        add_text(b, "from", S("latest"));
        break;
    case READ_TIME:
        buf_addf(b, ",\"from_ms\":%lld", (long long)(from->ns / NS_PER_MS));
        break;
    case READ_SEQUENCE:
        add_text(b, "from_sequence", from->text);
        break;
    case READ_AFTER:
        add_text(b, "after_sequence", from->text);
        break;
    case READ_CURSOR:
        add_text(b, "cursor", from->text);
        break;
    }
}

static bool keep(char place[CURSOR_CHARS_MAX], Str cursor)
{
    if (cursor.n >= CURSOR_CHARS_MAX)
        return false;
    memset(place, 0, CURSOR_CHARS_MAX);
    memcpy(place, cursor.p, cursor.n);
    return true;
}

static ExitCode ask(struct stream_reader *r, struct arena *a, const ReaderFrom *from,
                    unsigned limit, ClientReply *ret)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"stream\":"));
    add_json_text(&b, r->stream);
    add_from(&b, from);
    if (r->until[0] != 0)
        add_text(&b, "until", str_of(r->until));
    buf_addf(&b, ",\"limit\":%u}", limit);
    Err e = client_ask(r->client, a, S("stream/read"), buf_str(&b), ret);
    return e.kind == ERR_NONE ? EXIT_GOOD : remote_unreachable(r->in, e);
}

static ExitCode take_cursor(struct stream_reader *r, struct arena *a, const ClientReply *reply,
                            const JsonValue **ret)
{
    JsonValue *v = NULL;
    if (json_parse(a, reply->body, &v).kind != ERR_NONE || json_text(v, S("cursor")).n == 0 ||
        !keep(r->cursor, json_text(v, S("cursor"))))
        return complain(EXIT_FAILED, "the server's page cannot be understood");
    *ret = v;
    return EXIT_GOOD;
}

static bool decode(struct arena *a, const JsonValue *v, ReaderRecord *ret)
{
    Str coded = json_text(v, S("data"));
    const JsonValue *arrival = json_find(v, S("arrival_ms"));
    char *bytes = arena_new(a, char, base64_decoded_max(coded.n));
    Base64Result decoded = base64_decode(bytes, coded.p, coded.n);
    *ret = (ReaderRecord){
        .shard = json_text(v, S("shard")),
        .sequence = json_text(v, S("sequence")),
        .key = json_text(v, S("key")),
        .hash_key = json_text(v, S("hash_key")),
        .data = str_from(bytes, decoded.n),
        .arrival_ns = arrival != NULL ? arrival->integer * NS_PER_MS : 0,
    };
    return decoded.fault == BASE64_GOOD;
}

static ExitCode next_of_page(struct stream_reader *r, struct arena *a, ReaderRecord **ret,
                             size_t *ret_n, bool *ret_at_end)
{
    ClientReply reply = { 0 };
    const JsonValue *v = NULL;
    const ReaderFrom from = { .start = READ_CURSOR, .text = str_of(r->cursor) };
    *ret_n = 0;
    ExitCode code = ask(r, a, &from, PAGE_RECORDS, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.status == 503) { // not now
        *ret_at_end = true;
        return EXIT_GOOD;
    }
    if (reply.status != 200)
        return remote_refused(&reply);
    code = take_cursor(r, a, &reply, &v);
    if (code != EXIT_GOOD)
        return code;
    const JsonValue *records = json_find(v, S("records")), *more = json_find(v, S("more"));
    size_t n = records != NULL ? records->n : 0;
    *ret = arena_new(a, ReaderRecord, n);
    for (size_t i = 0; i < n; i++)
        if (!decode(a, &records->items[i], &(*ret)[i]))
            return complain(EXIT_FAILED, "a record's data is not base64");
    *ret_n = n;
    *ret_at_end = more == NULL || more->integer == 0;
    return EXIT_GOOD;
}

// Whether it was our page that answered, with an error or without.
static bool is_page(const ClientReply *reply)
{
    static const Str kinds[] = { S_INIT("invalid"), S_INIT("not-found"), S_INIT("memory"),
                                 S_INIT("busy"),    S_INIT("io"),        S_INIT("corrupt") };
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(kinds[i], reply->error))
            return true;
    return reply->status == 200;
}

// ---- Both

ExitCode stream_reader_open(const struct invocation *in, struct client *c, Str stream,
                            ReaderFrom from, ReaderWay way, struct stream_reader **ret)
{
    struct stream_reader *r = arena_new(in->a, struct stream_reader, 1);
    ClientReply reply = { 0 };
    const JsonValue *v = NULL;
    *r = (struct stream_reader){ .in = in, .client = c, .stream = stream };
    ExitCode code = EXIT_GOOD;
    if (way != READER_CONSUMER)
        code = ask(r, in->a, &from, 0, &reply);
    if (code != EXIT_GOOD)
        return code;
    bool by_page = way != READER_CONSUMER && (way == READER_PAGE || is_page(&reply));
    if (!by_page)
        code = shard_readers_open(in, c, stream, from, &r->shards);
    else if (reply.status != 200)
        code = remote_refused(&reply);
    else
        code = take_cursor(r, in->a, &reply, &v);
    *ret = r;
    return code;
}

void stream_reader_close(struct stream_reader *r)
{
    if (r != NULL)
        shard_readers_close(r->shards);
}

bool stream_reader_is_consumer(const struct stream_reader *r)
{
    return r->shards != NULL;
}

Str stream_reader_cursor(const struct stream_reader *r)
{
    return str_dup(r->in->a, str_of(r->cursor));
}

void stream_reader_set_until(struct stream_reader *r, Str cursor)
{
    CHECK(keep(r->until, cursor)); // it came from a reader
}

ExitCode stream_reader_next(struct stream_reader *r, struct arena *a, ReaderRecord **ret,
                            size_t *ret_n, bool *ret_at_end)
{
    return r->shards != NULL ? shard_readers_next(r->shards, a, ret, ret_n, ret_at_end)
                             : next_of_page(r, a, ret, ret_n, ret_at_end);
}

static bool is_sequence(Str text)
{
    enum { SEQUENCE_CHARS_MIN = 50 };
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return text.n >= SEQUENCE_CHARS_MIN;
}

ExitCode stream_reader_parse_from(Str flag, Str text, ReaderFrom *ret)
{
    ReaderFrom from = { .start = READ_LATEST, .text = text };
    if (str_eq(text, S("trim")))
        from.start = READ_TRIM;
    else if (is_sequence(text))
        from.start = READ_SEQUENCE;
    else if (time_parse_iso(text, &from.ns).kind == ERR_NONE)
        from.start = READ_TIME;
    else if (!str_eq(text, S("latest")))
        return complain(EXIT_USAGE,
                        "--%.*s must be trim, latest, a sequence number or a time such as "
                        "2026-01-31T12:00:00Z",
                        FMT(flag));
    *ret = from;
    return EXIT_GOOD;
}
