// SPDX-License-Identifier: Apache-2.0
// Prints what lies in a store. Of a directory everything, also what no reader would be given any
// more; of a running server what its API gives.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/store_names.h"
#include "cli/store_side.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "store/inspect.h"
#include "svc/kinesis/sequence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const Flag flags[] = {
    { S_INIT("stream"), 0, S_INIT("NAME"), S_INIT("Only records of this stream") },
    { S_INIT("shard-id"), 0, S_INIT("ID"), S_INIT("Only this shard of the stream") },
    { S_INIT("shard"), 0, S_INIT("NUMBER"),
      S_INIT("Only this shard, by its number in the log (directories only)") },
    { S_INIT("from"), 0, S_INIT("SEQUENCE"),
      S_INIT("Begin at this sequence number, or position in the log") },
    { S_INIT("limit"), 'n', S_INIT("COUNT"), S_INIT("End after this many records") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
    { S_INIT("keys"), 0, S_INIT(""), S_INIT("Leave the data out") },
    { S_INIT("raw"), 0, S_INIT(""), S_INIT("Print only the data, as it is, and a line end") },
    { S_INIT("blocks"), 0, S_INIT(""), S_INIT("Print the blocks of the journal instead") },
    { S_INIT("containers"), 0, S_INIT(""), S_INIT("Print the containers instead") },
    { S_INIT("checkpoint"), 0, S_INIT(""), S_INIT("Print the checkpoint and its shards instead") },
    STORE_ZONES_FLAG,
};

// What is asked for, and how far it is.
struct dump {
    const struct invocation *in;
    struct arena *a; // of one record
    TableStyle style;
    bool keys, raw;
    uint64_t from, left;
    ShardNames names;
    uint64_t *shards; // that are wanted, ascending; NULL: all
    size_t shard_count;
    bool damaged;
};

static Str number_text(struct arena *a, uint64_t n)
{
    return str_fmt(a, "%llu", (unsigned long long)n);
}

static Str time_text(struct arena *a, int64_t ms)
{
    return ms > 0 ? time_iso_ms(a, ms * NS_PER_MS) : S("");
}

// ---- One record

struct printed {
    Str stream, shard, shard_id, position, sequence, arrival, key, hash_key, data;
};

static void print_record(struct dump *d, const struct printed *p)
{
    static const Column columns[] = {
        { S_INIT("shard"), true },
        { S_INIT("stream"), false },
        { S_INIT("shard_id"), false },
        { S_INIT("position"), true },
        { S_INIT("sequence_number"), false },
        { S_INIT("arrival"), false },
        { S_INIT("key"), false },
        { S_INIT("hash_key"), false },
        { S_INIT("data_base64"), false },
    };
    if (d->raw) {
        fwrite(p->data.p, 1, p->data.n, stdout);
        fputc('\n', stdout);
        return;
    }
    AUTO_BUF(coded);
    if (!d->keys)
        buf_add_base64(&coded, p->data);
    const Str cells[] = { p->shard,   p->stream, p->shard_id, p->position,    p->sequence,
                          p->arrival, p->key,    p->hash_key, buf_str(&coded) };
    struct table t = table_begin(d->a, d->style, columns, COUNT_OF(columns) - d->keys);
    table_row(&t, cells);
}

// ---- A directory

static void note_problem(void *self, Str file, uint64_t offset, Err e)
{
    struct dump *d = self;
    d->damaged = true;
    fprintf(stderr, "headrace: %.*s at %llu: %s\n", FMT(file), (unsigned long long)offset, e.text);
}

static int compare_numbers(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static bool is_wanted(const struct dump *d, uint64_t shard)
{
    return d->shards == NULL ||
           bsearch(&shard, d->shards, d->shard_count, sizeof shard, compare_numbers) != NULL;
}

static bool visit(void *self, const InspectRecord *r)
{
    struct dump *d = self;
    if (!is_wanted(d, r->shard))
        return true;
    if (d->left == 0)
        return false;
    d->left--;
    arena_reset(d->a);
    const ShardName *name = store_name_find(&d->names, r->shard);
    struct printed p = {
        .shard = number_text(d->a, r->shard),
        .position = number_text(d->a, r->position),
        .arrival = time_text(d->a, r->arrival_ms),
        .key = r->record.key,
        .hash_key = r->record.hash_key,
        .data = r->record.data,
    };
    if (name != NULL) {
        p.stream = name->stream;
        p.shard_id = str_fmt(d->a, "shardId-%012u", name->index);
        p.sequence = store_name_sequence(d->a, name, r->position, r->arrival_ms);
    }
    print_record(d, &p);
    return d->left > 0;
}

static ExitCode dump_records(struct dump *d, struct inspect *i)
{
    Err e = OK;
    // One shard comes in order; of several, a shard after the other.
    if (d->shards == NULL)
        e = inspect_records(i, 0, d->from, visit, d);
    for (size_t k = 0; k < d->shard_count && e.kind == ERR_NONE; k++)
        e = inspect_records(i, d->shards[k], d->from, visit, d);
    return e.kind == ERR_NONE ? EXIT_GOOD
                              : complain(exit_code_of(e), "records cannot be read: %s", e.text);
}

static void dump_blocks(struct dump *d, struct inspect *i)
{
    static const Column columns[] = {
        { S_INIT("file"), false },    { S_INIT("offset"), true },      { S_INIT("bytes"), true },
        { S_INIT("block"), true },    { S_INIT("predecessor"), true }, { S_INIT("epoch"), true },
        { S_INIT("durable"), true },  { S_INIT("arrival"), false },    { S_INIT("records"), true },
        { S_INIT("controls"), true }, { S_INIT("part"), false },       { S_INIT("state"), false },
    };
    static const Str states[] = { S_INIT("counts"), S_INIT("void"), S_INIT("incomplete"),
                                  S_INIT("behind damage"), S_INIT("sealed") };
    size_t n, files;
    const InspectBlock *blocks = inspect_blocks(i, &n);
    const InspectFile *all = inspect_files(i, &files);
    for (size_t k = 0; k < n && d->left > 0; k++, d->left--) {
        const InspectBlock *b = &blocks[k];
        arena_reset(d->a);
        struct table t = table_begin(d->a, d->style, columns, COUNT_OF(columns));
        const Str cells[] = {
            all[b->file].name,
            number_text(d->a, b->head.place),
            number_text(d->a, b->head.bytes),
            number_text(d->a, b->head.number),
            number_text(d->a, b->head.predecessor),
            number_text(d->a, b->head.epoch),
            number_text(d->a, b->head.durable),
            time_text(d->a, b->head.arrival_ms),
            number_text(d->a, b->records),
            number_text(d->a, b->controls),
            str_fmt(d->a, "%u of %u", b->head.part + 1u, b->head.parts),
            states[b->state],
        };
        table_row(&t, cells);
    }
}

static void dump_containers(struct dump *d, struct inspect *i)
{
    static const Column columns[] = {
        { S_INIT("file"), false },
        { S_INIT("class"), false },
        { S_INIT("bytes"), true },
        { S_INIT("raw_bytes"), true },
        { S_INIT("records"), true },
        { S_INIT("shards"), true },
        { S_INIT("first_position"), true },
        { S_INIT("last_position"), true },
        { S_INIT("first_arrival"), false },
        { S_INIT("last_arrival"), false },
        { S_INIT("id"), false },
        { S_INIT("state"), false },
    };
    static const Str classes[] = { S_INIT("day"), S_INIT("week"), S_INIT("year") };
    size_t n;
    const InspectContainer *all = inspect_containers(i, &n);
    for (size_t k = 0; k < n && d->left > 0; k++, d->left--) {
        const ContainerFacts *f = &all[k].facts;
        arena_reset(d->a);
        struct table t = table_begin(d->a, d->style, columns, COUNT_OF(columns));
        const Str cells[] = {
            all[k].name,
            f->class < RETENTION_CLASSES ? classes[f->class] : S(""),
            number_text(d->a, all[k].bytes),
            number_text(d->a, f->raw_bytes),
            number_text(d->a, f->records),
            number_text(d->a, f->shards),
            number_text(d->a, f->first_position),
            number_text(d->a, f->last_position),
            time_text(d->a, f->first_arrival_ms),
            time_text(d->a, f->last_arrival_ms),
            str_fmt(d->a, "%016llx", (unsigned long long)f->id),
            !all[k].is_listed   ? S("left over")
            : all[k].bytes == 0 ? S("missing")
                                : S("counts"),
        };
        table_row(&t, cells);
    }
}

static ExitCode dump_checkpoint(struct dump *d, struct inspect *i)
{
    static const Column columns[] = {
        { S_INIT("shard"), true },         { S_INIT("stream"), false },
        { S_INIT("shard_id"), false },     { S_INIT("first_position"), true },
        { S_INIT("last_position"), true }, { S_INIT("last_arrival"), false },
        { S_INIT("end_position"), true },  { S_INIT("end_arrival"), false },
    };
    const Checkpoint *c = inspect_checkpoint(i);
    if (c == NULL)
        return complain(EXIT_NOT_FOUND, "there is no checkpoint that can be read");
    fprintf(stderr,
            "generation %llu, sealed block %llu, journal file %llu, least number %llu, next "
            "container %llu, %zu shards, %zu containers%s\n",
            (unsigned long long)c->generation, (unsigned long long)c->sealed_block,
            (unsigned long long)c->journal_file, (unsigned long long)c->least_number,
            (unsigned long long)c->next_container, c->shard_count, c->container_count,
            c->is_restored ? ", restored" : "");
    for (size_t k = 0; k < c->shard_count && d->left > 0; k++, d->left--) {
        const CheckpointShard *s = &c->shards[k];
        const ShardName *name = store_name_find(&d->names, s->shard);
        arena_reset(d->a);
        struct table t = table_begin(d->a, d->style, columns, COUNT_OF(columns));
        const Str cells[] = {
            number_text(d->a, s->shard),
            name != NULL ? name->stream : S(""),
            name != NULL ? str_fmt(d->a, "shardId-%012u", name->index) : S(""),
            number_text(d->a, s->first_position),
            number_text(d->a, s->last_position),
            time_text(d->a, s->last_arrival_ms),
            number_text(d->a, s->end_position),
            time_text(d->a, s->end_arrival_ms),
        };
        table_row(&t, cells);
    }
    return EXIT_GOOD;
}

// The shards that --stream and --shard-id, or --shard, name.
static ExitCode choose_shards(struct dump *d)
{
    Str stream = flag_text(d->in, S("stream")), shard_id = flag_text(d->in, S("shard-id"));
    Str number = flag_text(d->in, S("shard")), region = flag_text(d->in, S("region"));
    if (stream.n == 0 && number.n == 0)
        return EXIT_GOOD;
    d->shards = arena_new(d->in->a, uint64_t, d->names.n + 1);
    if (number.n > 0) {
        d->shard_count = 1;
        return flag_number(d->in, S("shard"), 1, UINT64_MAX, 0, d->shards);
    }
    for (size_t i = 0; i < d->names.n; i++) {
        const ShardName *name = &d->names.at[i];
        Str id = str_fmt(d->in->a, "shardId-%012u", name->index);
        if (str_eq(name->stream, stream) && (region.n == 0 || str_eq(name->region, region)) &&
            (shard_id.n == 0 || str_eq(id, shard_id) ||
             str_eq(number_text(d->in->a, name->index), shard_id)))
            d->shards[d->shard_count++] = name->id;
    }
    return d->shard_count > 0
               ? EXIT_GOOD
               : complain(EXIT_NOT_FOUND, "there is no such shard of %.*s", FMT(stream));
}

static ExitCode dump_directory(struct dump *d, const StoreSide *side)
{
    AUTO(inspect) i = NULL;
    InspectConfig config = { .io = io_real(),
                             .dir = str_cat(d->in->a, side->content_dir, S("/journal")),
                             .problem = note_problem,
                             .self = d };
    Err e = store_names(d->in->a, side->content_dir, &d->names);
    if (e.kind != ERR_NONE) {
        d->damaged = true;
        complain(EXIT_CORRUPT, "%.*s/headrace.db cannot be read, so names are not known: %s",
                 FMT(side->content_dir), e.text);
    }
    ExitCode code = choose_shards(d);
    if (code != EXIT_GOOD)
        return code;
    e = inspect_open(&config, &i);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s: %s", FMT(config.dir), e.text);
    if (flag_given(d->in, S("blocks")))
        dump_blocks(d, i);
    else if (flag_given(d->in, S("containers")))
        dump_containers(d, i);
    else if (flag_given(d->in, S("checkpoint")))
        code = dump_checkpoint(d, i);
    else
        code = dump_records(d, i);
    return code == EXIT_GOOD && d->damaged ? EXIT_CORRUPT : code;
}

// ---- A server

static Str decoded(struct arena *a, Str coded)
{
    char *bytes = arena_new(a, char, base64_decoded_max(coded.n));
    Base64Result r = base64_decode(bytes, coded.p, coded.n);
    return str_from(bytes, r.fault == BASE64_GOOD ? r.n : 0);
}

static void print_reply(struct dump *d, Str shard_id, const JsonValue *r)
{
    const JsonValue *arrival = json_find(r, S("ApproximateArrivalTimestamp"));
    Sequence s = { 0 };
    Str sequence = json_text(r, S("SequenceNumber"));
    bool is_ours = sequence_parse(sequence, &s).kind == ERR_NONE;
    if (d->left == 0 || (is_ours && s.index < d->from))
        return;
    d->left--;
    struct printed p = {
        .stream = flag_text(d->in, S("stream")),
        .shard_id = shard_id,
        .position = is_ours ? number_text(d->a, s.index) : S(""),
        .sequence = sequence,
        .arrival = arrival != NULL ? time_text(d->a, (int64_t)(arrival->real * 1e3 + 0.5)) : S(""),
        .key = json_text(r, S("PartitionKey")),
        .data = decoded(d->a, json_text(r, S("Data"))),
    };
    print_record(d, &p);
}

static ExitCode first_iterator(struct dump *d, struct client *c, Str shard_id, Str *ret)
{
    AUTO_BUF(b);
    const JsonValue *reply = NULL;
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, flag_text(d->in, S("stream")));
    buf_add(&b, S(",\"ShardId\":"));
    add_json_text(&b, shard_id);
    buf_add(&b, S(",\"ShardIteratorType\":\"TRIM_HORIZON\"}"));
    ExitCode code = remote_call(d->in, c, S("GetShardIterator"), buf_str(&b), &reply);
    if (code == EXIT_GOOD)
        *ret = json_text(reply, S("ShardIterator"));
    return code;
}

// One page of records: *ret_iterator leads on, absent at the end of what is there.
static ExitCode next_page(struct dump *d, struct client *c, Str shard_id, struct buf *iterator,
                          bool *ret_more)
{
    AUTO_BUF(b);
    ClientReply reply = { 0 };
    JsonValue *page = NULL;
    arena_reset(d->a);
    buf_add(&b, S("{\"ShardIterator\":"));
    add_json_text(&b, buf_str(iterator));
    buf_add(&b, S("}"));
    ExitCode code = remote_send(d->in, c, d->a, S("GetRecords"), buf_str(&b), &reply);
    if (code != EXIT_GOOD)
        return code;
    if (client_is_throttle(reply.error)) { // five reads a second: the same again in a while
        io_real()->sleep_ns(io_real(), 250 * NS_PER_MS);
        return EXIT_GOOD;
    }
    if (reply.error.p != NULL)
        return remote_complain(&reply);
    if (json_parse(d->a, reply.body, &page).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to GetRecords is not JSON");
    const JsonValue *records = json_find(page, S("Records"));
    const JsonValue *behind = json_find(page, S("MillisBehindLatest"));
    for (size_t i = 0; records != NULL && i < records->n; i++)
        print_reply(d, shard_id, &records->items[i]);
    Str next = json_text(page, S("NextShardIterator"));
    bool is_at_tip = behind != NULL && behind->integer == 0 && (records == NULL || records->n == 0);
    buf_clear(iterator);
    buf_add(iterator, next);
    *ret_more = next.n > 0 && !is_at_tip && d->left > 0;
    return EXIT_GOOD;
}

static ExitCode dump_shard(struct dump *d, struct client *c, Str shard_id)
{
    AUTO_BUF(iterator);
    Str first = S("");
    ExitCode code = first_iterator(d, c, shard_id, &first);
    bool more = code == EXIT_GOOD;
    buf_add(&iterator, first);
    while (more && code == EXIT_GOOD)
        code = next_page(d, c, shard_id, &iterator, &more);
    return code;
}

static ExitCode dump_server(struct dump *d)
{
    Str stream = flag_text(d->in, S("stream")), wanted = flag_text(d->in, S("shard-id"));
    static const char *const offline[] = { "blocks", "containers", "checkpoint", "shard" };
    for (size_t i = 0; i < COUNT_OF(offline); i++)
        if (flag_text(d->in, str_of(offline[i])).p != NULL)
            return complain(EXIT_USAGE,
                            "a server is running: --%s needs a stopped one, or a copy of its "
                            "directory",
                            offline[i]);
    if (stream.n == 0)
        return complain(EXIT_USAGE, "a server is running: give --stream NAME");
    AUTO(client) c = NULL;
    ShardInfo *shards = NULL;
    size_t n = 0;
    ExitCode code = remote_open(d->in, &c);
    if (code == EXIT_GOOD)
        code = stream_shards(d->in, c, stream, &shards, &n);
    bool found = false;
    for (size_t i = 0; i < n && code == EXIT_GOOD && d->left > 0; i++) {
        Str number =
            str_fmt(d->in->a, "shardId-%012llu", strtoull(str_c(d->in->a, wanted), NULL, 10));
        if (wanted.n > 0 && !str_eq(shards[i].id, wanted) && !str_eq(shards[i].id, number))
            continue;
        found = true;
        code = dump_shard(d, c, shards[i].id);
    }
    if (code == EXIT_GOOD && !found)
        return complain(EXIT_NOT_FOUND, "there is no such shard of %.*s", FMT(stream));
    return code;
}

// ---- The command

static ExitCode read_from(const struct invocation *in, uint64_t *ret)
{
    Str text = flag_text(in, S("from"));
    Sequence s;
    *ret = 0;
    if (text.n == 0 || str_u64(text, ret).kind == ERR_NONE)
        return EXIT_GOOD;
    if (sequence_parse(text, &s).kind != ERR_NONE)
        return complain(EXIT_USAGE, "--from must be a sequence number, or a position in the log");
    *ret = s.index;
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    StoreSide side;
    AUTO(arena) a = arena_open();
    struct dump d = { .in = in,
                      .a = a,
                      .style = flag_given(in, S("json")) ? TABLE_JSON : TABLE_TABS,
                      .keys = flag_given(in, S("keys")),
                      .raw = flag_given(in, S("raw")) };
    ExitCode code = store_side(in, &side);
    if (code == EXIT_GOOD)
        code = flag_number(in, S("limit"), 1, UINT64_MAX, UINT64_MAX, &d.left);
    if (code == EXIT_GOOD)
        code = read_from(in, &d.from);
    if (code != EXIT_GOOD)
        return code;
    return side.is_online ? dump_server(&d) : dump_directory(&d, &side);
}

const struct command command_store_dump = {
    .name = S_INIT("store dump"),
    .summary = S_INIT("Print the records of a store, or its blocks and containers"),
    .usage =
        S_INIT("[--data-dir DIR] [--stream NAME [--shard-id ID]] [--from SEQUENCE] [-n COUNT]"),
    .details = S_INIT(
        "The directory of a stopped server, or a copy, is read as far as it can be, and nothing "
        "in\n"
        "it is changed; what is damaged is told, and the status is then 12. Records that are past\n"
        "their retention are printed as long as they lie there. A running server is asked through\n"
        "its API, for one stream.\n\n"
        "Fields: shard (its number in the log), stream, shard id, position, sequence number,\n"
        "arrival, partition key, explicit hash key, data in base64."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace store dump --data-dir ./data --stream clicks -n 10"),
                    S_INIT("the ten oldest records of a stream") },
                  { S_INIT("headrace store dump --data-dir ./copy --blocks"),
                    S_INIT("the journal, block by block") } },
    .see_also = S_INIT("store stat, store check, stream tail"),
    .run = run,
};
