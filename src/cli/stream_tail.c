// SPDX-License-Identifier: Apache-2.0
// Prints records of all shards as they come, merged by arrival, those that meet a condition.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/stream_reader.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "os/io.h"

#include <stdio.h>
#include <unistd.h>

#define POLL_NS (250 * NS_PER_MS)

static const Flag flags[] = {
    { S_INIT("count"), 'n', S_INIT("COUNT"), S_INIT("End after this many records") },
    { S_INIT("from"), 0, S_INIT("trim|latest|TIME|SEQUENCE"),
      S_INIT("Where to begin; TIME as 2026-01-31T12:00:00Z; latest") },
    { S_INIT("where"), 'w', S_INIT("CONDITION"),
      S_INIT("Only records that meet it: page = '/hello' and @size < 100") },
    { S_INIT("no-follow"), 0, S_INIT(""), S_INIT("End when everything stored so far is printed") },
    { S_INIT("data"), 0, S_INIT(""), S_INIT("Print only the data, as it is, and a line end") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
    { S_INIT("as-consumer"), 0, S_INIT(""),
      S_INIT("Read by GetRecords, which spends the shards' read limits") },
};

typedef enum TailForm { TAIL_HUMAN, TAIL_TABS, TAIL_DATA, TAIL_JSON } TailForm;

struct tail {
    const struct invocation *in;
    struct arena *a; // of one reading
    struct stream_reader *reader;
    const struct where *where; // NULL: everything
    TailForm form;
    bool colour;
    uint64_t left; // records to print; UINT64_MAX: without end
    uint64_t seen, printed;
};

static bool is_text(Str s)
{
    if (str_utf8_count(s) == SIZE_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t' && s.p[i] != '\n') || s.p[i] == 0x7f)
            return false;
    return true;
}

static Str coded(struct arena *a, Str data)
{
    AUTO_BUF(b);
    buf_add_base64(&b, data);
    return str_dup(a, buf_str(&b));
}

static void print_human(struct tail *t, const ReaderRecord *r)
{
    Civil c = time_civil(r->arrival_ns);
    Str clock = str_fmt(t->a, "%02u:%02u:%02u.%03u", c.hour, c.minute, c.second, c.ms);
    Str head = term_paint(t->a, t->colour, "36", clock);
    Str data = is_text(r->data) ? r->data : coded(t->a, r->data);
    AUTO_BUF(b);
    buf_addf(&b, "%.*s  shard %u  %.*s  ", FMT(head), where_shard(r->shard), FMT(r->key));
    // Nothing that steers the terminal reaches it.
    for (size_t i = 0; i < data.n; i++)
        buf_add_byte(&b, (unsigned char)data.p[i] < 0x20 || data.p[i] == 0x7f ? ' ' : data.p[i]);
    buf_add_byte(&b, '\n');
    fwrite(b.p, 1, b.n, stdout);
}

static void print_json(struct tail *t, const ReaderRecord *r)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"shard\":"));
    add_json_text(&b, r->shard);
    buf_add(&b, S(",\"sequence_number\":"));
    add_json_text(&b, r->sequence);
    buf_add(&b, S(",\"arrival\":"));
    add_json_text(&b, time_iso_ms(t->a, r->arrival_ns));
    buf_add(&b, S(",\"key\":"));
    add_json_text(&b, r->key);
    if (r->hash_key.n > 0) {
        buf_add(&b, S(",\"hash_key\":"));
        add_json_text(&b, r->hash_key);
    }
    bool text = is_text(r->data);
    buf_add(&b, text ? S(",\"data\":") : S(",\"data_base64\":"));
    add_json_text(&b, text ? r->data : coded(t->a, r->data));
    buf_add(&b, S("}\n"));
    fwrite(b.p, 1, b.n, stdout);
}

static void print_record(struct tail *t, const ReaderRecord *r)
{
    static const Column columns[] = {
        { S_INIT("shard"), false }, { S_INIT("arrival"), false }, { S_INIT("sequence"), false },
        { S_INIT("key"), false },   { S_INIT("data"), false },
    };
    switch (t->form) {
    case TAIL_DATA:
        fwrite(r->data.p, 1, r->data.n, stdout);
        fputc('\n', stdout);
        break;
    case TAIL_JSON:
        print_json(t, r);
        break;
    case TAIL_HUMAN:
        print_human(t, r);
        break;
    case TAIL_TABS: {
        struct table table = table_begin(t->a, TABLE_TABS, columns, COUNT_OF(columns));
        const Str cells[] = { r->shard, time_iso_ms(t->a, r->arrival_ns), r->sequence, r->key,
                              is_text(r->data) ? r->data : coded(t->a, r->data) };
        table_row(&table, cells);
        break;
    }
    }
}

static bool is_wanted(struct tail *t, const ReaderRecord *r)
{
    if (t->where == NULL)
        return true;
    const WhereRecord w = {
        .key = r->key, .data = r->data, .shard = where_shard(r->shard), .arrival_ns = r->arrival_ns
    };
    ArenaMark mark = arena_mark(t->a);
    bool wanted = where_matches(t->where, t->a, &w);
    arena_rewind(t->a, mark);
    return wanted;
}

static ExitCode print_next(struct tail *t, bool *ret_at_end)
{
    ReaderRecord *records = NULL;
    size_t n = 0;
    arena_reset(t->a);
    ExitCode code = stream_reader_next(t->reader, t->a, &records, &n, ret_at_end);
    for (size_t i = 0; code == EXIT_GOOD && i < n && t->left > 0; i++) {
        t->seen++;
        if (!is_wanted(t, &records[i]))
            continue;
        print_record(t, &records[i]);
        t->printed++;
        t->left -= t->left != UINT64_MAX;
    }
    if (code == EXIT_GOOD && fflush(stdout) != 0)
        code = EXIT_FAILED; // the reader of the pipe has gone
    return code;
}

static ExitCode tail_all(struct tail *t)
{
    struct io *io = io_real();
    bool ends = flag_given(t->in, S("no-follow"));
    for (;;) {
        bool at_end = false;
        ExitCode code = print_next(t, &at_end);
        if (code != EXIT_GOOD || t->left == 0 || (ends && at_end))
            return code;
        if (at_end &&
            !stream_reader_is_consumer(t->reader)) // a consumer's reader keeps its own pace
            io->sleep_ns(io, POLL_NS);
    }
}

static ExitCode open_reader(struct tail *t, struct client *c)
{
    ReaderFrom from = { .start = READ_LATEST };
    Str text = flag_text(t->in, S("from"));
    ExitCode code = text.p != NULL ? stream_reader_parse_from(S("from"), text, &from) : EXIT_GOOD;
    ReaderWay way = flag_given(t->in, S("as-consumer")) ? READER_CONSUMER : READER_ANY;
    if (code == EXIT_GOOD)
        code = stream_reader_open(t->in, c, t->in->args[0], from, way, &t->reader);
    if (code == EXIT_GOOD && way == READER_ANY && stream_reader_is_consumer(t->reader) &&
        term_is_terminal(STDERR_FILENO))
        fprintf(stderr, "headrace: reading as a consumer, which spends the shards' read limits: "
                        "the server's own pages are for its root key\n");
    return code;
}

static ExitCode run(struct invocation *in)
{
    struct tail t = { .in = in };
    AUTO(client) c = NULL;
    ExitCode code = flag_number(in, S("count"), 1, UINT64_MAX - 1, UINT64_MAX, &t.left);
    if (code == EXIT_GOOD)
        code = where_of_flag(in, &t.where);
    if (code == EXIT_GOOD)
        code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(arena) round = arena_open();
    t.a = round;
    t.colour = term_colour(STDOUT_FILENO);
    t.form = flag_given(in, S("data"))           ? TAIL_DATA
             : flag_given(in, S("json"))         ? TAIL_JSON
             : table_style(false) == TABLE_HUMAN ? TAIL_HUMAN
                                                 : TAIL_TABS;
    code = open_reader(&t, c);
    if (code == EXIT_GOOD)
        code = tail_all(&t);
    stream_reader_close(t.reader);
    if (t.where != NULL && code == EXIT_GOOD && term_is_terminal(STDERR_FILENO))
        fprintf(stderr, "%llu of %llu records\n", (unsigned long long)t.printed,
                (unsigned long long)t.seen);
    return code;
}

const struct command command_stream_tail = {
    .name = S_INIT("stream tail"),
    .summary = S_INIT("Print records as they come, of all shards, in the order of their arrival"),
    .usage = S_INIT("STREAM [-n COUNT] [--from trim|latest|TIME] [--where CONDITION]"),
    .details = S_INIT(
        "With the server's root key nothing is taken from the shards' read limits. Other "
        "keys and other\nservers are read as a consumer. On a pipe: shard, arrival, sequence "
        "number, key and data, separated by\ntabs; data that is not text is printed in "
        "base64.\n\n" WHERE_HELP),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream tail clicks --where 'page = \"/hello\"' -n 1"),
                    S_INIT("waits for one such record") },
                  { S_INIT("headrace stream tail clicks --from trim -n 10"),
                    S_INIT("the ten oldest records") } },
    .see_also = S_INIT("stream put, stream lag, stream replay"),
    .run = run,
};
