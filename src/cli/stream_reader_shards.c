// SPDX-License-Identifier: Apache-2.0
// All shards of a stream, read by GetRecords and merged by arrival. Each shard is asked four times
// a second of the five that AWS allows all of its consumers.
//
// A record is given when every other shard has one that arrived later, or was found empty in a
// later round: then nothing older can come. So a record waits for one round more than it must.
#include "base/time.h"
#include "cli/stream_reader.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "os/io.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_NS (250 * NS_PER_MS)

struct shard_reader {
    Str id;
    char *iterator;      // owned; NULL when the shard is read to its end
    char *last_sequence; // owned; of the last record that was given, or NULL
    struct arena *a;     // of what follows
    ReaderRecord *records;
    size_t n, at;
    uint64_t round; // in which they came, or in which there was nothing
    bool caught_up;
};

struct shard_readers {
    const struct invocation *in;
    struct client *client;
    Str stream, first_type;
    double first_time;
    struct shard_reader *shards;
    size_t n;
    uint64_t round;
    int64_t round_ns; // when the next one may begin
};

static void replace(char **p, Str s)
{
    free(*p);
    *p = NULL;
    if (s.p == NULL)
        return;
    *p = xalloc(s.n + 1);
    memcpy(*p, s.p, s.n);
}

// Where a shard is read from: after its last record, or from where all begins.
static ExitCode get_iterator(struct shard_readers *r, struct shard_reader *s, Str type)
{
    AUTO_BUF(b);
    AUTO(arena) tmp = arena_open();
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, r->stream);
    buf_add(&b, S(",\"ShardId\":"));
    add_json_text(&b, s->id);
    if (s->last_sequence != NULL) {
        buf_add(&b, S(",\"ShardIteratorType\":\"AFTER_SEQUENCE_NUMBER\""
                      ",\"StartingSequenceNumber\":"));
        add_json_text(&b, str_of(s->last_sequence));
    } else {
        buf_addf(&b, ",\"ShardIteratorType\":\"%.*s\"", FMT(type));
        if (str_eq(type, S("AT_TIMESTAMP")))
            buf_addf(&b, ",\"Timestamp\":%.3f", r->first_time);
    }
    buf_add(&b, S("}"));
    ClientReply reply = { 0 };
    JsonValue *v = NULL;
    ExitCode code = remote_send(r->in, r->client, tmp, S("GetShardIterator"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && reply.error.p != NULL)
        code = remote_complain(&reply);
    if (code == EXIT_GOOD && json_parse(tmp, reply.body, &v).kind != ERR_NONE)
        code = complain(EXIT_FAILED, "the reply to GetShardIterator is not JSON");
    if (code == EXIT_GOOD)
        replace(&s->iterator, json_text(v, S("ShardIterator")));
    return code;
}

static bool known(const struct shard_readers *r, Str id)
{
    for (size_t i = 0; i < r->n; i++)
        if (str_eq(r->shards[i].id, id))
            return true;
    return false;
}

// Takes up the shards that are not known yet. At the start closed ones are skipped when only new
// records are wanted; later every new shard is a child and is read from its first record.
static ExitCode find_shards(struct shard_readers *r, bool at_start)
{
    ShardInfo *found = NULL;
    size_t n = 0;
    ExitCode code = stream_shards(r->in, r->client, r->stream, &found, &n);
    if (code != EXIT_GOOD)
        return code;
    r->shards = xrealloc(r->shards, mul_checked(r->n + n + 1, sizeof *r->shards));
    for (size_t i = 0; code == EXIT_GOOD && i < n; i++) {
        bool closed = found[i].last_sequence.n > 0;
        if (known(r, found[i].id))
            continue;
        struct shard_reader *s = &r->shards[r->n++];
        *s = (struct shard_reader){ .id = found[i].id, .a = arena_open() };
        if (!(at_start && closed && str_eq(r->first_type, S("LATEST"))))
            code = get_iterator(r, s, at_start ? r->first_type : S("TRIM_HORIZON"));
    }
    return code;
}

ExitCode shard_readers_open(const struct invocation *in, struct client *c, Str stream,
                            ReaderFrom from, struct shard_readers **ret)
{
    if (from.start > READ_TIME)
        return complain(EXIT_USAGE, "only the server's root key reads from a sequence number: it "
                                    "is a place in one shard");
    struct shard_readers *r = xalloc(sizeof *r);
    *r = (struct shard_readers){ .in = in, .client = c, .stream = stream };
    r->first_type = from.start == READ_TRIM   ? S("TRIM_HORIZON")
                    : from.start == READ_TIME ? S("AT_TIMESTAMP")
                                              : S("LATEST");
    r->first_time = (double)from.ns / 1e9;
    *ret = r;
    return find_shards(r, true);
}

void shard_readers_close(struct shard_readers *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->shards[i].iterator);
        free(r->shards[i].last_sequence);
        arena_close(r->shards[i].a);
    }
    free(r->shards);
    free(r);
}

// ---- Reading

static ExitCode decode(struct shard_reader *s, const JsonValue *v, ReaderRecord *ret)
{
    Str coded = json_text(v, S("Data"));
    const JsonValue *arrival = json_find(v, S("ApproximateArrivalTimestamp"));
    char *bytes = arena_new(s->a, char, base64_decoded_max(coded.n));
    Base64Result decoded = base64_decode(bytes, coded.p, coded.n);
    *ret = (ReaderRecord){
        .shard = s->id,
        .sequence = json_text(v, S("SequenceNumber")),
        .key = json_text(v, S("PartitionKey")),
        .data = str_from(bytes, decoded.n),
        .arrival_ns = arrival != NULL ? (int64_t)(arrival->real * 1e3 + 0.5) * NS_PER_MS : 0,
    };
    return decoded.fault == BASE64_GOOD ? EXIT_GOOD
                                        : complain(EXIT_FAILED, "a record's data is not base64");
}

static ExitCode take_reply(struct shard_reader *s, const JsonValue *reply)
{
    const JsonValue *records = json_find(reply, S("Records"));
    const JsonValue *behind = json_find(reply, S("MillisBehindLatest"));
    size_t n = records != NULL ? records->n : 0;
    s->records = arena_new(s->a, ReaderRecord, n);
    for (size_t i = 0; i < n; i++) {
        ExitCode code = decode(s, &records->items[i], &s->records[i]);
        if (code != EXIT_GOOD)
            return code;
    }
    s->n = n;
    s->at = 0;
    s->caught_up = n == 0 && (behind == NULL || behind->integer == 0);
    replace(&s->iterator, json_text(reply, S("NextShardIterator")));
    return EXIT_GOOD;
}

static ExitCode read_shard(struct shard_readers *r, struct shard_reader *s)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"ShardIterator\":"));
    add_json_text(&b, str_of(s->iterator));
    buf_add(&b, S("}"));
    ClientReply reply = { 0 };
    JsonValue *value = NULL;
    arena_reset(s->a);
    s->n = s->at = 0;
    ExitCode code = remote_send(r->in, r->client, s->a, S("GetRecords"), buf_str(&b), &reply);
    if (code != EXIT_GOOD)
        return code;
    if (client_is_throttle(reply.error)) {
        s->caught_up = false; // other consumers took the share; the next round asks again
        return EXIT_GOOD;
    }
    if (str_eq(reply.error, S("ExpiredIteratorException")))
        return get_iterator(r, s, r->first_type);
    if (reply.error.p != NULL)
        return remote_complain(&reply);
    if (json_parse(s->a, reply.body, &value).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to GetRecords is not JSON");
    s->round = r->round;
    return take_reply(s, value);
}

static ExitCode read_round(struct shard_readers *r)
{
    struct io *io = io_real();
    bool ended_one = false;
    int64_t wait = r->round_ns - io->mono_ns(io);
    if (r->round > 0 && wait > 0)
        io->sleep_ns(io, wait);
    r->round_ns = io->mono_ns(io) + ROUND_NS;
    r->round++;
    for (size_t i = 0; i < r->n; i++) {
        struct shard_reader *s = &r->shards[i];
        if (s->iterator == NULL || s->at < s->n)
            continue;
        ExitCode code = read_shard(r, s);
        if (code != EXIT_GOOD)
            return code;
        ended_one |= s->iterator == NULL;
    }
    return ended_one ? find_shards(r, false) : EXIT_GOOD;
}

// ---- Merging

static struct shard_reader *oldest(struct shard_readers *r)
{
    struct shard_reader *found = NULL;
    for (size_t i = 0; i < r->n; i++) {
        struct shard_reader *s = &r->shards[i];
        if (s->at < s->n &&
            (found == NULL || s->records[s->at].arrival_ns < found->records[found->at].arrival_ns))
            found = s;
    }
    return found;
}

// Whether no shard can still give something older than what came in that round.
static bool is_safe(const struct shard_readers *r, uint64_t round)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct shard_reader *s = &r->shards[i];
        bool is_over = s->iterator == NULL, has_more = s->at < s->n;
        if (!is_over && !has_more && !(s->caught_up && s->round > round))
            return false;
    }
    return true;
}

static ReaderRecord copied(struct arena *a, const ReaderRecord *x)
{
    return (ReaderRecord){ .shard = x->shard,
                           .sequence = str_dup(a, x->sequence),
                           .key = str_dup(a, x->key),
                           .data = str_dup(a, x->data),
                           .arrival_ns = x->arrival_ns };
}

ExitCode shard_readers_next(struct shard_readers *r, struct arena *a, ReaderRecord **ret,
                            size_t *ret_n, bool *ret_at_end)
{
    size_t room = 0, n = 0;
    ExitCode code = read_round(r);
    if (code != EXIT_GOOD)
        return code;
    for (size_t i = 0; i < r->n; i++)
        room += r->shards[i].n - r->shards[i].at;
    *ret = arena_new(a, ReaderRecord, room);
    for (struct shard_reader *s; (s = oldest(r)) != NULL && is_safe(r, s->round);) {
        (*ret)[n] = copied(a, &s->records[s->at++]);
        replace(&s->last_sequence, (*ret)[n].sequence);
        n++;
    }
    *ret_n = n;
    *ret_at_end = oldest(r) == NULL;
    for (size_t i = 0; i < r->n; i++)
        *ret_at_end &= r->shards[i].iterator == NULL || r->shards[i].caught_up;
    return EXIT_GOOD;
}
