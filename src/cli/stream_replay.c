// SPDX-License-Identifier: Apache-2.0
// Puts a part of what one stream holds into another one, or into itself once more: all shards
// merged by arrival, with partition keys and explicit hash keys.
//
// With --state what was done is noted in a file after each batch that the server has stored:
//
//     {"version":1,"from":"clicks","to":"copy","where":"","until":"9712","cursor":"8000",
//      "after":"4966...","records":1200,"bytes":88012,"done":false}
//
// `cursor` is where it began, `after` the sequence number of the last record that is done. A replay
// that ends in between, however hard, goes on behind that record; only what was stored and not
// noted any more, one batch at most, is put a second time.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/put_batch.h"
#include "cli/stream_reader.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "os/io.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STATE_VERSION = 1, STATE_BYTES_MAX = 64 << 10, RATE_MAX = 1000000 };
#define GATHER_NS (50 * NS_PER_MS) // at a pace, records of this long go together
#define NAP_NS (200 * NS_PER_MS)   // between two looks for Ctrl-C

static const Flag flags[] = {
    { S_INIT("from"), 0, S_INIT("trim|TIME|SEQUENCE"),
      S_INIT("The first record, or when it arrived at the earliest") },
    { S_INIT("until"), 0, S_INIT("TIME|SEQUENCE"),
      S_INIT("The last record, or the time before which it arrived; what is there now") },
    { S_INIT("rate"), 0, S_INIT("COUNT"), S_INIT("At most so many records a second") },
    { S_INIT("pace"), 0, S_INIT("FACTOR"),
      S_INIT("In the rhythm of their arrival: 1 as it was, 10 ten times as fast") },
    { S_INIT("where"), 'w', S_INIT("CONDITION"),
      S_INIT("Only records that meet it (stream tail)") },
    { S_INIT("state"), 0, S_INIT("FILE"),
      S_INIT("Note there what is done, and go on from there when it exists") },
    { S_INIT("dry-run"), 0, S_INIT(""), S_INIT("Put nothing; only count") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print what was done as JSON") },
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

struct replay {
    const struct invocation *in;
    struct client *client;
    struct stream_reader *reader;
    struct put_batch *batch;
    const struct where *where;
    Str from, to, condition, state_file;
    Str cursor, until;          // of the reader
    Str after;                  // absent: nothing is done yet
    struct arena *page, *noted; // of what was read; of `after`
    uint64_t read, matched, before_records, before_bytes;
    bool dry_run, is_done;
    // When a record is due: by its number, or by its arrival.
    uint64_t rate;
    double pace;
    int64_t began_ns, first_arrival_ns;
    uint64_t first_number;
    int64_t first_ns, last_ns; // arrivals of what was replayed
};

static int64_t mono_ns(void)
{
    return io_real()->mono_ns(io_real());
}

// ---- What is noted

static void add_text(struct buf *b, const char *name, Str text)
{
    buf_addf(b, ",\"%s\":", name);
    add_json_text(b, text);
}

static ExitCode write_state(struct replay *r)
{
    AUTO_BUF(b);
    if (r->state_file.p == NULL || r->dry_run)
        return EXIT_GOOD;
    buf_addf(&b, "{\"version\":%d", STATE_VERSION);
    add_text(&b, "from", r->from);
    add_text(&b, "to", r->to);
    add_text(&b, "where", r->condition);
    add_text(&b, "until", r->until);
    add_text(&b, "cursor", r->cursor);
    if (r->after.p != NULL)
        add_text(&b, "after", r->after);
    buf_addf(&b, ",\"records\":%llu,\"bytes\":%llu,\"done\":%s}\n",
             (unsigned long long)(r->before_records + r->batch->stored),
             (unsigned long long)(r->before_bytes + r->batch->stored_bytes),
             r->is_done ? "true" : "false");
    AUTO(arena) tmp = arena_open();
    Err e = io_write_file(io_real(), tmp, r->state_file, buf_str(&b));
    return e.kind == ERR_NONE
               ? EXIT_GOOD
               : complain(EXIT_FAILED, "%.*s cannot be written: %s", FMT(r->state_file), e.text);
}

static uint64_t number_in(const JsonValue *v, Str name)
{
    const JsonValue *n = json_find(v, name);
    return n != NULL && n->kind == JSON_NUMBER && n->integer > 0 ? (uint64_t)n->integer : 0;
}

static ExitCode take_state(struct replay *r, const JsonValue *v)
{
    const JsonValue *done = json_find(v, S("done"));
    if (number_in(v, S("version")) != STATE_VERSION || json_text(v, S("until")).n == 0 ||
        json_text(v, S("cursor")).n == 0)
        return complain(EXIT_USAGE, "%.*s is not what a replay has noted", FMT(r->state_file));
    if (!str_eq(json_text(v, S("from")), r->from) || !str_eq(json_text(v, S("to")), r->to) ||
        !str_eq(json_text(v, S("where")), r->condition))
        return complain(
            EXIT_USAGE,
            "%.*s belongs to another replay: of %.*s into %.*s; remove it to begin anew",
            FMT(r->state_file), FMT(json_text(v, S("from"))), FMT(json_text(v, S("to"))));
    r->until = json_text(v, S("until"));
    r->cursor = json_text(v, S("cursor"));
    r->after = json_text(v, S("after"));
    r->before_records = number_in(v, S("records"));
    r->before_bytes = number_in(v, S("bytes"));
    r->is_done = done != NULL && done->integer != 0;
    return EXIT_GOOD;
}

// *ret_found: there is a state to go on from.
static ExitCode read_state(struct replay *r, bool *ret_found)
{
    Str text;
    JsonValue *v = NULL;
    *ret_found = false;
    if (r->state_file.p == NULL)
        return EXIT_GOOD;
    Err e = io_read_file(io_real(), r->in->a, r->state_file, STATE_BYTES_MAX, &text);
    if (e.kind == ERR_NOT_FOUND)
        return EXIT_GOOD;
    if (e.kind != ERR_NONE)
        return complain_unread(r->state_file, e);
    if (json_parse(r->in->a, text, &v).kind != ERR_NONE)
        return complain(EXIT_USAGE, "%.*s is not what a replay has noted", FMT(r->state_file));
    *ret_found = true;
    return take_state(r, v);
}

// ---- Where it begins and ends

// The end as a cursor: behind the record, or before what arrived at the time.
static ExitCode find_until(struct replay *r)
{
    ReaderFrom from = { .start = READ_LATEST };
    Str text = flag_text(r->in, S("until"));
    ExitCode code = text.p != NULL ? stream_reader_parse_from(S("until"), text, &from) : EXIT_GOOD;
    if (from.start == READ_SEQUENCE)
        from.start = READ_AFTER;
    struct stream_reader *end = NULL;
    if (code == EXIT_GOOD)
        code = stream_reader_open(r->in, r->client, r->from, from, READER_PAGE, &end);
    if (code == EXIT_GOOD)
        r->until = stream_reader_cursor(end);
    stream_reader_close(end);
    return code;
}

static ExitCode open_reader(struct replay *r)
{
    ReaderFrom from = { .start = READ_TRIM };
    bool resumes = false;
    ExitCode code = read_state(r, &resumes);
    if (code == EXIT_GOOD && resumes) {
        from = r->after.n > 0 ? (ReaderFrom){ .start = READ_AFTER, .text = r->after }
                              : (ReaderFrom){ .start = READ_CURSOR, .text = r->cursor };
    } else if (code == EXIT_GOOD) {
        code = find_until(r);
        if (code == EXIT_GOOD && flag_text(r->in, S("from")).p == NULL)
            code = complain(EXIT_USAGE, "--from says where to begin: trim, a time or a sequence "
                                        "number");
        if (code == EXIT_GOOD)
            code = stream_reader_parse_from(S("from"), flag_text(r->in, S("from")), &from);
    }
    if (code == EXIT_GOOD)
        code = stream_reader_open(r->in, r->client, r->from, from, READER_PAGE, &r->reader);
    if (code != EXIT_GOOD)
        return code;
    if (!resumes)
        r->cursor = stream_reader_cursor(r->reader);
    stream_reader_set_until(r->reader, r->until);
    if (resumes)
        fprintf(stderr, "headrace: goes on behind the %llu records that are done\n",
                (unsigned long long)r->before_records);
    return EXIT_GOOD;
}

// ---- Putting

static ExitCode flush(struct replay *r, Str last)
{
    ExitCode code = EXIT_GOOD;
    if (r->dry_run || last.n == 0)
        return EXIT_GOOD;
    if (r->batch->n > 0)
        code = put_batch_flush(r->batch);
    if (code != EXIT_GOOD)
        return code;
    arena_reset(r->noted);
    r->after = str_dup(r->noted, last);
    return write_state(r);
}

// When the record may be put; 0: at once.
static int64_t due_ns(struct replay *r, const ReaderRecord *x)
{
    if (r->began_ns == 0) {
        r->began_ns = mono_ns();
        r->first_arrival_ns = x->arrival_ns;
        r->first_number = r->matched;
    }
    if (r->rate > 0)
        return r->began_ns + (int64_t)((double)(r->matched - r->first_number) * (double)NS_PER_S /
                                       (double)r->rate);
    if (r->pace > 0)
        return r->began_ns + (int64_t)((double)(x->arrival_ns - r->first_arrival_ns) / r->pace);
    return 0;
}

static void sleep_until(int64_t ns)
{
    for (int64_t now = mono_ns(); now < ns && !interrupted; now = mono_ns())
        io_real()->sleep_ns(io_real(), MIN(ns - now, NAP_NS));
}

// *ret_taken: false if Ctrl-C came before it was due.
static ExitCode replay_record(struct replay *r, const ReaderRecord *x, Str before, bool *ret_taken)
{
    int64_t due = due_ns(r, x);
    bool waits = due > mono_ns();
    if (waits || !put_batch_has_room(r->batch, x->data.n)) {
        ExitCode code = flush(r, before);
        if (code != EXIT_GOOD)
            return code;
    }
    if (waits && !r->dry_run)
        sleep_until(due + GATHER_NS);
    *ret_taken = !interrupted;
    if (interrupted)
        return EXIT_GOOD;
    r->first_ns = r->matched == 0 ? x->arrival_ns : r->first_ns;
    r->last_ns = x->arrival_ns;
    r->matched++;
    if (!r->dry_run)
        put_batch_add(r->batch,
                      &(PutEntry){ .key = x->key, .data = x->data, .hash_key = x->hash_key });
    return EXIT_GOOD;
}

static bool is_wanted(struct replay *r, const ReaderRecord *x)
{
    const WhereRecord w = {
        .key = x->key, .data = x->data, .shard = where_shard(x->shard), .arrival_ns = x->arrival_ns
    };
    return r->where == NULL || where_matches(r->where, r->page, &w);
}

static ExitCode replay_page(struct replay *r, bool *ret_at_end)
{
    ReaderRecord *records = NULL;
    size_t n = 0;
    Str before = S("");
    arena_reset(r->page);
    ExitCode code = stream_reader_next(r->reader, r->page, &records, &n, ret_at_end);
    for (size_t i = 0; code == EXIT_GOOD && i < n && !interrupted; i++) {
        bool taken = true;
        if (is_wanted(r, &records[i]))
            code = replay_record(r, &records[i], before, &taken);
        if (!taken)
            break;
        before = records[i].sequence;
        r->read++;
    }
    // What of the page is done is noted also when none of it met the condition.
    return code == EXIT_GOOD ? flush(r, before) : code;
}

static ExitCode replay_all(struct replay *r)
{
    ExitCode code = write_state(r);
    for (bool at_end = r->is_done; code == EXIT_GOOD && !at_end && !interrupted;) {
        code = replay_page(r, &at_end);
        r->is_done = at_end && !interrupted;
    }
    return code == EXIT_GOOD ? write_state(r) : code;
}

// ---- What was done

static void report_json(struct replay *r, int64_t took_ns)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"from\":"));
    add_json_text(&b, r->from);
    add_text(&b, "to", r->to);
    buf_addf(&b,
             ",\"read\":%llu,\"stored\":%llu,\"bytes\":%llu,\"sent_again\":%llu,\"overtaken\":%llu,"
             "\"matched\":%llu,\"seconds\":%.3f,\"done\":%s",
             (unsigned long long)r->read, (unsigned long long)r->batch->stored,
             (unsigned long long)r->batch->stored_bytes, (unsigned long long)r->batch->again,
             (unsigned long long)r->batch->overtaken, (unsigned long long)r->matched,
             (double)took_ns / 1e9, r->is_done ? "true" : "false");
    if (r->matched > 0) {
        add_text(&b, "first_arrival", time_iso_ms(r->in->a, r->first_ns));
        add_text(&b, "last_arrival", time_iso_ms(r->in->a, r->last_ns));
    }
    buf_add(&b, S("}\n"));
    fwrite(b.p, 1, b.n, stdout);
}

static void report_text(struct replay *r, int64_t took_ns)
{
    struct arena *a = r->in->a;
    Str stored = term_count(a, r->dry_run ? r->matched : r->batch->stored);
    Str read = term_count(a, r->read), bytes = term_bytes(a, r->batch->stored_bytes);
    if (r->dry_run)
        printf("%.*s of %.*s records would go from %.*s to %.*s\n", FMT(stored), FMT(read),
               FMT(r->from), FMT(r->to));
    else
        printf("%.*s of %.*s records (%.*s) went from %.*s to %.*s in %.1f s\n", FMT(stored),
               FMT(read), FMT(bytes), FMT(r->from), FMT(r->to), (double)took_ns / 1e9);
    if (r->matched > 0) {
        Str first = time_iso_ms(a, r->first_ns), last = time_iso_ms(a, r->last_ns);
        printf("they arrived between %.*s and %.*s\n", FMT(first), FMT(last));
    }
    if (r->batch->again > 0)
        printf("%llu were sent again, because the stream refused them at first\n",
               (unsigned long long)r->batch->again);
    if (r->batch->overtaken > 0)
        printf("%llu of those came behind a younger one of their key; --rate avoids that\n",
               (unsigned long long)r->batch->overtaken);
    if (!r->is_done)
        printf("it is not complete%s\n",
               r->state_file.p != NULL ? "; the same command goes on" : "");
}

// ---- The command

static ExitCode parse_pace(struct replay *r)
{
    Str pace = flag_text(r->in, S("pace"));
    ExitCode code = flag_number(r->in, S("rate"), 1, RATE_MAX, 0, &r->rate);
    if (code != EXIT_GOOD || pace.p == NULL)
        return code;
    if (r->rate > 0)
        return complain(EXIT_USAGE, "give either --rate or --pace");
    if (str_double(pace, &r->pace).kind != ERR_NONE || !(r->pace > 0 && r->pace <= 1e6))
        return complain(EXIT_USAGE, "--pace must be a factor such as 1 or 0.5");
    return EXIT_GOOD;
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static ExitCode run_with(struct replay *r)
{
    ExitCode code = open_reader(r);
    if (code != EXIT_GOOD)
        return code;
    catch_signals();
    int64_t began = mono_ns();
    code = replay_all(r);
    if (flag_given(r->in, S("json")))
        report_json(r, mono_ns() - began);
    else
        report_text(r, mono_ns() - began);
    return code == EXIT_GOOD && !r->is_done ? EXIT_INTERRUPTED : code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    struct replay r = { .in = in, .from = in->args[0], .to = in->args[1] };
    r.dry_run = flag_given(in, S("dry-run"));
    r.condition = flag_text(in, S("where"));
    r.condition = r.condition.p != NULL ? r.condition : S("");
    r.state_file = flag_text(in, S("state"));
    ExitCode code = parse_pace(&r);
    if (code == EXIT_GOOD)
        code = where_of_flag(in, &r.where);
    if (code == EXIT_GOOD)
        code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(put_batch) batch = put_batch_open(in, c, r.to);
    AUTO(arena) page = arena_open();
    AUTO(arena) noted = arena_open();
    r.client = c;
    r.batch = batch;
    r.page = page;
    r.noted = noted;
    code = run_with(&r);
    stream_reader_close(r.reader);
    return code;
}

const struct command command_stream_replay = {
    .name = S_INIT("stream replay"),
    .summary = S_INIT("Put records of a stream again, into another one or the same"),
    .usage = S_INIT("STREAM TO --from trim|TIME|SEQUENCE [--until TIME|SEQUENCE] [--state FILE]"),
    .details = S_INIT(
        "All shards together, in the order of arrival, with their partition keys and explicit "
        "hash keys\n(those of encrypted records are not kept). It reads as stream tail does, "
        "without spending the\nshards' read limits, and ends at what was there when it "
        "began. Records that TO refuses for its\nlimits are sent again. With --state it may "
        "end at any time, also by a crash: the same command goes\non behind the last batch "
        "that was stored; one batch at most is then put twice."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 2,
    .args_max = 2,
    .examples = { { S_INIT("headrace stream replay clicks test --from 2026-01-31T12:00:00Z --until "
                           "2026-01-31T13:00:00Z --pace 10"),
                    S_INIT("an hour in six minutes") },
                  { S_INIT("headrace stream replay clicks copy --from trim --rate 2000 --state "
                           "copy.json"),
                    S_INIT("everything, to be gone on with if it breaks off") } },
    .see_also = S_INIT("stream tail, stream lag, stream put"),
    .run = run,
};
