// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/stream_leases.h"
#include "cli/term.h"
#include "os/io.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHECKPOINTS_BYTES_MAX = 4 << 20 };

static const Flag flags[] = {
    { S_INIT("application"), 0, S_INIT("NAME"),
      S_INIT("Also the lag of an application of the Kinesis Client Library: its lease table") },
    { S_INIT("at"), 0, S_INIT("SEQUENCE|TIME|ITERATOR"),
      S_INIT("Also the lag of a reader that has done all up to there") },
    { S_INIT("checkpoints"), 0, S_INIT("FILE"),
      S_INIT("Of an application: on each line a shard and what it has noted for it; - is input") },
    { S_INIT("count"), 0, S_INIT(""), S_INIT("Count the records that are not read yet, too") },
    { S_INIT("leases"), 0, S_INIT("URL"),
      S_INIT("Where DynamoDB has that table; else AWS_ENDPOINT_URL_DYNAMODB") },
    { S_INIT("shards"), 0, S_INIT(""), S_INIT("A line for each shard, not only for each reader") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};

// ---- What is asked

static bool is_digits(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

// A sequence number names its shard itself, in the bits 4..35.
static Str shard_of_sequence(struct arena *a, Str sequence)
{
    unsigned char bits[24] = { 0 }; // little endian
    for (size_t i = 0; i < sequence.n; i++) {
        unsigned carry = (unsigned)(sequence.p[i] - '0');
        for (size_t k = 0; k < sizeof bits; k++) {
            carry += bits[k] * 10U;
            bits[k] = (unsigned char)carry;
            carry >>= 8;
        }
    }
    uint64_t low = 0;
    for (size_t k = 5; k-- > 0;)
        low = low << 8 | bits[k];
    return str_fmt(a, "shardId-%012llu", (unsigned long long)(low >> 4 & 0xffffffff));
}

static void begin_place(struct buf *b, bool *is_first)
{
    buf_add(b, *is_first ? S("{") : S(",{"));
    *is_first = false;
}

static void add_place(struct buf *b, bool *is_first, Str shard, Str sequence)
{
    begin_place(b, is_first);
    buf_add(b, S("\"shard\":"));
    add_json_text(b, shard);
    buf_add(b, S(",\"sequence\":"));
    add_json_text(b, sequence);
    buf_add(b, S("}"));
}

// A time is a place in every shard.
static ExitCode add_time(struct invocation *in, struct buf *b, bool *is_first, int64_t ns)
{
    const JsonValue *v = NULL;
    Str text;
    ExitCode code =
        remote_ask(in, S("stream/lag"), stream_page_body(in->a, in->args[0]), &v, &text);
    const JsonValue *shards = code == EXIT_GOOD ? json_find(v, S("shards")) : NULL;
    for (size_t i = 0; shards != NULL && i < shards->n; i++) {
        begin_place(b, is_first);
        buf_add(b, S("\"shard\":"));
        add_json_text(b, json_text(&shards->items[i], S("shard")));
        buf_addf(b, ",\"time_ms\":%lld}", (long long)(ns / NS_PER_MS));
    }
    return code;
}

static ExitCode add_at(struct invocation *in, struct buf *b, bool *is_first, Str at)
{
    int64_t ns;
    if (is_digits(at)) {
        add_place(b, is_first, shard_of_sequence(in->a, at), at);
    } else if (time_parse_iso(at, &ns).kind == ERR_NONE) {
        return add_time(in, b, is_first, ns);
    } else {
        begin_place(b, is_first);
        buf_add(b, S("\"iterator\":"));
        add_json_text(b, at);
        buf_add(b, S("}"));
    }
    return EXIT_GOOD;
}

static ExitCode add_checkpoints(struct invocation *in, struct buf *b, bool *is_first, Str file)
{
    Str text = S(""), line;
    Str path = str_eq(file, S("-")) ? S("/dev/stdin") : file;
    Err e = io_read_file(io_real(), in->a, path, CHECKPOINTS_BYTES_MAX, &text);
    if (e.kind != ERR_NONE)
        return complain_unread(file, e);
    for (unsigned number = 1; text.n > 0; number++) {
        (void)str_cut(text, '\n', &line, &text);
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        size_t blank = MIN(str_find(line, ' '), str_find(line, '\t'));
        Str sequence = str_trim(str_skip(line, blank));
        if (sequence.n == 0)
            return complain(EXIT_USAGE, "%.*s line %u: a shard and its checkpoint are expected",
                            FMT(file), number);
        add_place(b, is_first, str_head(line, blank), sequence);
    }
    return EXIT_GOOD;
}

struct places {
    struct buf *b;
    bool *is_first;
};

static void take_lease(void *self, Str shard, Str checkpoint)
{
    struct places *p = self;
    add_place(p->b, p->is_first, shard, checkpoint);
}

static ExitCode add_application(struct invocation *in, struct buf *b, bool *is_first, Str table)
{
    struct places p = { b, is_first };
    Str endpoint = flag_text(in, S("leases"));
    if (endpoint.n == 0)
        endpoint = environment_text(in, S("AWS_ENDPOINT_URL_DYNAMODB"));
    if (endpoint.n == 0)
        return complain(EXIT_USAGE, "--application needs --leases or AWS_ENDPOINT_URL_DYNAMODB: "
                                    "where DynamoDB has the lease table");
    return stream_leases(in, endpoint, table, in->args[0], take_lease, &p);
}

static ExitCode make_body(struct invocation *in, Str *ret)
{
    AUTO_BUF(b);
    bool is_first = true;
    ExitCode code = EXIT_GOOD;
    buf_add(&b, S("{\"stream\":"));
    add_json_text(&b, in->args[0]);
    buf_add(&b,
            flag_given(in, S("count")) ? S(",\"count\":true,\"places\":[") : S(",\"places\":["));
    for (size_t i = 0; i < in->flag_count && code == EXIT_GOOD; i++) {
        if (str_eq(in->flags[i].name, S("at")))
            code = add_at(in, &b, &is_first, in->flags[i].value);
        else if (str_eq(in->flags[i].name, S("checkpoints")))
            code = add_checkpoints(in, &b, &is_first, in->flags[i].value);
        else if (str_eq(in->flags[i].name, S("application")))
            code = add_application(in, &b, &is_first, in->flags[i].value);
    }
    buf_add(&b, S("]}"));
    *ret = str_dup(in->a, buf_str(&b));
    return code;
}

// ---- What is shown

static const Column columns[] = {
    { S_INIT("reader"), false },   { S_INIT("kind"), false },      { S_INIT("shard"), false },
    { S_INIT("behind_ms"), true }, { S_INIT("expires_ms"), true }, { S_INIT("records"), true },
    { S_INIT("newest_ms"), true }, { S_INIT("note"), false },
};
static const Column human_columns[] = {
    { S_INIT("reader"), false }, { S_INIT("kind"), false },   { S_INIT("shard"), false },
    { S_INIT("behind"), true },  { S_INIT("lost in"), true }, { S_INIT("records"), true },
    { S_INIT("newest"), true },  { S_INIT("note"), false },
};

// One line: a reader in one shard, or the furthest behind of all of its shards.
typedef struct Line {
    Str reader, kind, shard;
    int64_t behind_ms, newest_ms;
    bool has_unread;
    uint64_t records;
    bool more;
    size_t shards; // summed up
    Str note;
} Line;

static int64_t number_in(const JsonValue *v, Str name)
{
    const JsonValue *n = json_find(v, name);
    return n != NULL && n->kind == JSON_NUMBER ? n->integer : 0;
}

// "1.2 s", "5 min", "3.4 h", "2 d": as exact as it matters.
static Str duration(struct arena *a, int64_t ms)
{
    if (ms < 1000)
        return str_fmt(a, "%lld ms", (long long)ms);
    double s = (double)ms / 1000;
    if (s < 120)
        return str_fmt(a, "%.1f s", s);
    if (s < 7200)
        return str_fmt(a, "%.1f min", s / 60);
    return s < 172800 ? str_fmt(a, "%.1f h", s / 3600) : str_fmt(a, "%.1f d", s / 86400);
}

static Str absent_cell(TableStyle style)
{
    return style == TABLE_JSON ? S("null") : S("-");
}

static Str duration_cell(struct arena *a, TableStyle style, bool is_known, int64_t ms)
{
    if (!is_known)
        return absent_cell(style);
    return style == TABLE_HUMAN ? duration(a, ms) : str_fmt(a, "%lld", (long long)ms);
}

static Str note_of(struct arena *a, const JsonValue *r, int64_t now_ms)
{
    Str state = json_text(r, S("state"));
    int64_t at_ms = number_in(r, S("at_ms")), worst_ms = number_in(r, S("worst_ms"));
    if (state.n > 0)
        return state;
    if (at_ms == 0)
        return S("");
    Str ago = duration(a, MAX(now_ms - at_ms, INT64_C(0)));
    return worst_ms > number_in(r, S("behind_ms")) + 1000
               ? str_fmt(a, "read %.*s ago; another was %.*s behind", FMT(ago),
                         FMT(duration(a, worst_ms)))
               : str_fmt(a, "read %.*s ago", FMT(ago));
}

static int64_t newest_of(const JsonValue *answer, Str shard)
{
    const JsonValue *shards = json_find(answer, S("shards"));
    for (size_t i = 0; shards != NULL && i < shards->n; i++)
        if (str_eq(json_text(&shards->items[i], S("shard")), shard))
            return number_in(&shards->items[i], S("newest_ms"));
    return 0;
}

static Line line_of(struct arena *a, const JsonValue *answer, const JsonValue *r)
{
    const JsonValue *more = json_find(r, S("more"));
    return (Line){
        .reader = json_text(r, S("name")),
        .kind = json_text(r, S("kind")),
        .shard = json_text(r, S("shard")),
        .behind_ms = number_in(r, S("behind_ms")),
        .newest_ms = newest_of(answer, json_text(r, S("shard"))),
        .has_unread = json_find(r, S("sequence")) != NULL,
        .records = (uint64_t)number_in(r, S("records")),
        .more = more != NULL && more->integer != 0,
        .shards = 1,
        .note = note_of(a, r, number_in(answer, S("now_ms"))),
    };
}

// The line of a reader over its shards takes in one more of them.
static void merge_line(Line *all, const Line *one)
{
    if (one->behind_ms > all->behind_ms || (one->has_unread && !all->has_unread)) {
        all->shard = one->shard;
        all->note = one->note;
    }
    all->behind_ms = MAX(all->behind_ms, one->behind_ms);
    all->newest_ms = MAX(all->newest_ms, one->newest_ms);
    all->has_unread |= one->has_unread;
    all->records += one->records;
    all->more |= one->more;
    all->shards++;
}

static Line *lines_of(struct invocation *in, const JsonValue *answer, size_t *ret_n)
{
    const JsonValue *readers = json_find(answer, S("readers"));
    size_t max = readers != NULL ? readers->n : 0, n = 0;
    Line *lines = arena_new(in->a, Line, max);
    bool by_shard = flag_given(in, S("shards"));
    for (size_t i = 0; i < max; i++) {
        Line one = line_of(in->a, answer, &readers->items[i]);
        bool goes_on = n > 0 && !by_shard && str_eq(lines[n - 1].kind, one.kind) &&
                       str_eq(lines[n - 1].reader, one.reader);
        if (goes_on)
            merge_line(&lines[n - 1], &one);
        else
            lines[n++] = one;
    }
    *ret_n = n;
    return lines;
}

// In flight of a queue, besides what was not handed out.
static Str queue_note(struct arena *a, const JsonValue *answer, Str name)
{
    const JsonValue *queues = json_find(answer, S("queues"));
    for (size_t i = 0; queues != NULL && i < queues->n; i++)
        if (str_eq(json_text(&queues->items[i], S("name")), name))
            return str_fmt(a, "%lld in flight, %lld dead",
                           (long long)number_in(&queues->items[i], S("in_flight")),
                           (long long)number_in(&queues->items[i], S("dead")));
    return S("");
}

static void print_line(struct invocation *in, struct table *t, const JsonValue *answer,
                       const Line *l)
{
    struct arena *a = in->a;
    bool is_human = t->style == TABLE_HUMAN;
    int64_t now_ms = number_in(answer, S("now_ms"));
    int64_t left_ms = MAX(number_in(answer, S("retention_ms")) - l->behind_ms, INT64_C(0));
    Str shard =
        l->shards > 1 && is_human ? str_fmt(a, "%.*s of %zu", FMT(l->shard), l->shards) : l->shard;
    Str records = !flag_given(in, S("count")) ? absent_cell(t->style)
                  : is_human                  ? term_count(a, l->records)
                                              : str_fmt(a, "%llu", (unsigned long long)l->records);
    if (is_human && l->more)
        records = str_cat(a, records, S("+"));
    Str note = str_eq(l->kind, S("queue")) ? queue_note(a, answer, l->reader) : l->note;
    const Str cells[] = {
        l->reader,
        l->kind,
        shard,
        duration_cell(a, t->style, true, l->behind_ms),
        duration_cell(a, t->style, l->has_unread, left_ms),
        records,
        duration_cell(a, t->style, l->newest_ms != 0,
                      is_human ? now_ms - l->newest_ms : l->newest_ms),
        note,
    };
    table_row(t, cells);
}

static ExitCode run(struct invocation *in)
{
    const JsonValue *answer = NULL;
    Str body = S(""), text;
    size_t n = 0;
    ExitCode code = make_body(in, &body);
    if (code == EXIT_GOOD)
        code = remote_ask(in, S("stream/lag"), body, &answer, &text);
    if (code != EXIT_GOOD)
        return code;
    const Line *lines = lines_of(in, answer, &n);
    TableStyle style = table_style(flag_given(in, S("json")));
    if (n == 0 && style == TABLE_HUMAN) {
        fputs("nobody has read this stream since the server started; --at and --checkpoints say "
              "where a reader is\n",
              stderr);
        return EXIT_GOOD;
    }
    struct table t = table_begin(in->a, style, style == TABLE_HUMAN ? human_columns : columns,
                                 COUNT_OF(columns));
    for (size_t i = 0; i < n; i++)
        print_line(in, &t, answer, &lines[i]);
    table_end(&t);
    return EXIT_GOOD;
}

const struct command command_stream_lag = {
    .name = S_INIT("stream lag"),
    .summary = S_INIT("Show how far the readers of a stream are behind"),
    .usage =
        S_INIT("STREAM [--shards] [--count] [--at SEQUENCE|TIME|ITERATOR]... [--checkpoints FILE] "
               "[--application NAME [--leases URL]]"),
    .details = S_INIT(
        "Behind is the age of the oldest record that is not read; \"lost in\" is when "
        "retention takes it.\nThe server knows: consumers (where their subscriptions "
        "stand), queues (what was handed out), and\nreads: whoever calls GetRecords, where "
        "the newest call left off since the server started and how far\nbehind the slowest "
        "reader of the last two minutes was. Applications of the Kinesis Client Library note\n"
        "where they are in their lease table, which --application reads; or give its leaseKey and "
        "checkpoint\ncolumns to --checkpoints. Only the root key may ask."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream lag clicks --shards --count"),
                    S_INIT("every reader, shard by shard") },
                  { S_INIT("headrace stream lag clicks --checkpoints leases.txt"),
                    S_INIT("lines such as: shardId-000000000000 4966...") } },
    .see_also = S_INIT("stream consumers, stream tail, stream replay"),
    .run = run,
};
