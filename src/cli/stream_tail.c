// SPDX-License-Identifier: Apache-2.0
// Prints records of all shards as they come. Each shard is asked as often as AWS allows one
// consumer among others: four times a second of the five.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "os/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS (250 * NS_PER_MS)

static const Flag flags[] = {
    { S_INIT("count"), 'n', S_INIT("COUNT"), S_INIT("End after this many records") },
    { S_INIT("from"), 0, S_INIT("trim|latest|TIME"),
      S_INIT("Where to begin; TIME as 2026-01-31T12:00:00Z; latest") },
    { S_INIT("no-follow"), 0, S_INIT(""), S_INIT("End when everything stored so far is printed") },
    { S_INIT("data"), 0, S_INIT(""), S_INIT("Print only the data, as it is, and a line end") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};

typedef enum TailForm { TAIL_HUMAN, TAIL_TABS, TAIL_DATA, TAIL_JSON } TailForm;

struct tail_shard {
    Str id;
    char *iterator;      // owned; NULL when the shard is read to its end
    char *last_sequence; // owned; of the last record printed, or NULL
    bool caught_up;
};

struct tail {
    const struct invocation *in;
    struct client *client;
    struct arena *a; // of one round over the shards
    struct tail_shard *shards;
    size_t shard_count;
    TailForm form;
    bool colour;
    Str first_type; // of the iterators of the shards that are there at the start
    double first_time;
    uint64_t left; // records to print; UINT64_MAX: without end
};

static char *copied(Str s)
{
    char *p = xalloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p;
}

static void replace(char **p, Str s)
{
    free(*p);
    *p = s.p != NULL ? copied(s) : NULL;
}

// Where a shard is read from: after its last printed record, or from where the tail begins.
static ExitCode get_iterator(struct tail *t, struct tail_shard *s, Str type)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, t->in->args[0]);
    buf_add(&b, S(",\"ShardId\":"));
    add_json_text(&b, s->id);
    if (s->last_sequence != NULL) {
        buf_add(&b, S(",\"ShardIteratorType\":\"AFTER_SEQUENCE_NUMBER\""
                      ",\"StartingSequenceNumber\":"));
        add_json_text(&b, str_of(s->last_sequence));
    } else {
        buf_addf(&b, ",\"ShardIteratorType\":\"%.*s\"", FMT(type));
        if (str_eq(type, S("AT_TIMESTAMP")))
            buf_addf(&b, ",\"Timestamp\":%.3f", t->first_time);
    }
    buf_add(&b, S("}"));
    const JsonValue *reply = NULL;
    ExitCode code = remote_call(t->in, t->client, S("GetShardIterator"), buf_str(&b), &reply);
    if (code == EXIT_GOOD)
        replace(&s->iterator, json_text(reply, S("ShardIterator")));
    return code;
}

static bool known(const struct tail *t, Str id)
{
    for (size_t i = 0; i < t->shard_count; i++)
        if (str_eq(t->shards[i].id, id))
            return true;
    return false;
}

// Takes up the shards that are not known yet. At the start closed ones are skipped when only new
// records are wanted; later every new shard is a child and is read from its first record.
static ExitCode find_shards(struct tail *t, bool at_start)
{
    ShardInfo *found = NULL;
    size_t n = 0;
    ExitCode code = stream_shards(t->in, t->client, t->in->args[0], &found, &n);
    if (code != EXIT_GOOD)
        return code;
    struct tail_shard *all = arena_new(t->in->a, struct tail_shard, t->shard_count + n);
    if (t->shard_count > 0)
        memcpy(all, t->shards, t->shard_count * sizeof *all);
    t->shards = all;
    for (size_t i = 0; code == EXIT_GOOD && i < n; i++) {
        bool closed = found[i].last_sequence.n > 0;
        if (known(t, found[i].id))
            continue;
        struct tail_shard *s = &t->shards[t->shard_count++];
        *s = (struct tail_shard){ .id = found[i].id };
        if (!(at_start && closed && str_eq(t->first_type, S("LATEST"))))
            code = get_iterator(t, s, at_start ? t->first_type : S("TRIM_HORIZON"));
    }
    return code;
}

static bool is_text(Str s)
{
    if (str_utf8_count(s) == SIZE_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t' && s.p[i] != '\n') || s.p[i] == 0x7f)
            return false;
    return true;
}

// "shardId-000000000002" is shard 2 to people.
static Str short_id(Str id)
{
    Str digits = str_starts(id, S("shardId-")) ? str_skip(id, 8) : id;
    while (digits.n > 1 && digits.p[0] == '0')
        digits = str_skip(digits, 1);
    return digits;
}

static void print_human(struct tail *t, const struct tail_shard *s, int64_t ns, Str key, Str data)
{
    Civil c = time_civil(ns);
    Str shard = short_id(s->id);
    Str clock = str_fmt(t->a, "%02u:%02u:%02u.%03u", c.hour, c.minute, c.second, c.ms);
    Str head = term_paint(t->a, t->colour, "36", clock);
    AUTO_BUF(b);
    buf_addf(&b, "%.*s  shard %.*s  %.*s  ", FMT(head), FMT(shard), FMT(key));
    // Nothing that steers the terminal reaches it.
    for (size_t i = 0; i < data.n; i++)
        buf_add_byte(&b, (unsigned char)data.p[i] < 0x20 || data.p[i] == 0x7f ? ' ' : data.p[i]);
    buf_add_byte(&b, '\n');
    fwrite(b.p, 1, b.n, stdout);
}

static void print_json(const struct tail_shard *s, Str when, const JsonValue *r, Str data,
                       Str coded)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"shard\":"));
    add_json_text(&b, s->id);
    buf_add(&b, S(",\"sequence_number\":"));
    add_json_text(&b, json_text(r, S("SequenceNumber")));
    buf_add(&b, S(",\"arrival\":"));
    add_json_text(&b, when);
    buf_add(&b, S(",\"key\":"));
    add_json_text(&b, json_text(r, S("PartitionKey")));
    bool text = is_text(data);
    buf_add(&b, text ? S(",\"data\":") : S(",\"data_base64\":"));
    add_json_text(&b, text ? data : coded);
    buf_add(&b, S("}\n"));
    fwrite(b.p, 1, b.n, stdout);
}

static ExitCode print_record(struct tail *t, struct tail_shard *s, const JsonValue *r)
{
    static const Column columns[] = {
        { S_INIT("shard"), false }, { S_INIT("arrival"), false }, { S_INIT("sequence"), false },
        { S_INIT("key"), false },   { S_INIT("data"), false },
    };
    Str coded = json_text(r, S("Data")), key = json_text(r, S("PartitionKey"));
    char *bytes = arena_new(t->a, char, base64_decoded_max(coded.n));
    Base64Result decoded = base64_decode(bytes, coded.p, coded.n);
    if (decoded.fault != BASE64_GOOD)
        return complain(EXIT_FAILED, "a record's data is not base64");
    Str data = str_from(bytes, decoded.n);
    const JsonValue *arrival = json_find(r, S("ApproximateArrivalTimestamp"));
    int64_t ns = arrival != NULL ? (int64_t)(arrival->real * 1e3 + 0.5) * NS_PER_MS : 0;
    Str when = time_iso_ms(t->a, ns), sequence = json_text(r, S("SequenceNumber"));
    switch (t->form) {
    case TAIL_DATA:
        fwrite(data.p, 1, data.n, stdout);
        fputc('\n', stdout);
        break;
    case TAIL_JSON:
        print_json(s, when, r, data, coded);
        break;
    case TAIL_HUMAN:
        print_human(t, s, ns, key, is_text(data) ? data : coded);
        break;
    case TAIL_TABS: {
        struct table table = table_begin(t->a, TABLE_TABS, columns, COUNT_OF(columns));
        const Str cells[] = { s->id, when, sequence, key, is_text(data) ? data : coded };
        table_row(&table, cells);
        break;
    }
    }
    replace(&s->last_sequence, sequence);
    return EXIT_GOOD;
}

static ExitCode print_records(struct tail *t, struct tail_shard *s, const JsonValue *reply)
{
    const JsonValue *records = json_find(reply, S("Records"));
    for (size_t i = 0; records != NULL && i < records->n && t->left > 0; i++) {
        ExitCode code = print_record(t, s, &records->items[i]);
        if (code != EXIT_GOOD)
            return code;
        t->left -= t->left != UINT64_MAX;
    }
    const JsonValue *behind = json_find(reply, S("MillisBehindLatest"));
    s->caught_up = behind == NULL || behind->integer == 0;
    replace(&s->iterator, json_text(reply, S("NextShardIterator")));
    return fflush(stdout) == 0 ? EXIT_GOOD : EXIT_FAILED; // the reader of the pipe has gone
}

static ExitCode read_shard(struct tail *t, struct tail_shard *s)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"ShardIterator\":"));
    add_json_text(&b, str_of(s->iterator));
    buf_add(&b, S("}"));
    ClientReply reply = { 0 };
    ExitCode code = remote_send(t->in, t->client, t->a, S("GetRecords"), buf_str(&b), &reply);
    if (code != EXIT_GOOD)
        return code;
    if (client_is_throttle(reply.error))
        return EXIT_GOOD; // other consumers took the share; the next round asks again
    if (str_eq(reply.error, S("ExpiredIteratorException")))
        return get_iterator(t, s, t->first_type);
    if (reply.error.p != NULL)
        return remote_complain(&reply);
    JsonValue *value = NULL;
    if (json_parse(t->a, reply.body, &value).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to GetRecords is not JSON");
    return print_records(t, s, value);
}

static ExitCode read_round(struct tail *t, bool *ret_done)
{
    bool ended_one = false, all_caught_up = true;
    arena_reset(t->a);
    for (size_t i = 0; i < t->shard_count && t->left > 0; i++) {
        struct tail_shard *s = &t->shards[i];
        if (s->iterator == NULL)
            continue;
        ExitCode code = read_shard(t, s);
        if (code != EXIT_GOOD)
            return code;
        ended_one |= s->iterator == NULL;
        all_caught_up &= s->iterator == NULL || s->caught_up;
    }
    *ret_done = t->left == 0 || (all_caught_up && !ended_one && flag_given(t->in, S("no-follow")));
    return ended_one ? find_shards(t, false) : EXIT_GOOD;
}

static ExitCode parse_from(struct tail *t)
{
    Str from = flag_text(t->in, S("from"));
    int64_t ns;
    if (from.p == NULL || str_eq(from, S("latest"))) {
        t->first_type = S("LATEST");
    } else if (str_eq(from, S("trim"))) {
        t->first_type = S("TRIM_HORIZON");
    } else if (time_parse_iso(from, &ns).kind == ERR_NONE) {
        t->first_type = S("AT_TIMESTAMP");
        t->first_time = (double)ns / 1e9;
    } else {
        return complain(EXIT_USAGE, "--from must be trim, latest or a time such as "
                                    "2026-01-31T12:00:00Z");
    }
    return EXIT_GOOD;
}

static ExitCode tail_all(struct tail *t)
{
    struct io *io = io_real();
    ExitCode code = find_shards(t, true);
    for (bool done = false; code == EXIT_GOOD;) {
        int64_t next = io->mono_ns(io) + POLL_NS;
        code = read_round(t, &done);
        if (code != EXIT_GOOD || done)
            break;
        int64_t wait = next - io->mono_ns(io);
        if (wait > 0)
            io->sleep_ns(io, wait);
    }
    return code;
}

static ExitCode run(struct invocation *in)
{
    struct tail t = { .in = in };
    ExitCode code = flag_number(in, S("count"), 1, UINT64_MAX - 1, UINT64_MAX, &t.left);
    if (code == EXIT_GOOD)
        code = parse_from(&t);
    if (code != EXIT_GOOD)
        return code;
    AUTO(client) c = NULL;
    code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(arena) round = arena_open();
    t.client = c;
    t.a = round;
    t.colour = term_colour(STDOUT_FILENO);
    t.form = flag_given(in, S("data"))           ? TAIL_DATA
             : flag_given(in, S("json"))         ? TAIL_JSON
             : table_style(false) == TABLE_HUMAN ? TAIL_HUMAN
                                                 : TAIL_TABS;
    code = tail_all(&t);
    for (size_t i = 0; i < t.shard_count; i++) {
        free(t.shards[i].iterator);
        free(t.shards[i].last_sequence);
    }
    return code;
}

const struct command command_stream_tail = {
    .name = S_INIT("stream tail"),
    .summary = S_INIT("Print records as they come, of all shards"),
    .usage = S_INIT("STREAM [-n COUNT] [--from trim|latest|TIME]"),
    .details =
        S_INIT("On a pipe: shard, arrival, sequence number, key and data, separated by tabs; "
               "data that is\nnot text is printed in base64. Children of a split or merged "
               "shard are followed."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream tail clicks"), S_INIT("new records, until Ctrl-C") },
                  { S_INIT("headrace stream tail clicks --from trim -n 10"),
                    S_INIT("the ten oldest records") } },
    .see_also = S_INIT("stream put, stream show"),
    .run = run,
};
