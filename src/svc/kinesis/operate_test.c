// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/operate.h"
#include "base/test.h"
#include "base/time.h"
#include "codec/base64.h"
#include "svc/kinesis/test_world.h"

#define START_NS (INT64_C(1700000000) * NS_PER_S)

struct rig {
    struct test_world w;
    struct arena *a;
};

static void rig_open(struct rig *r, struct arena *a, int32_t shards)
{
    r->a = a;
    test_world_open_at(&r->w, START_NS);
    r->w.env.limits = 0;
    struct test_call *o = test_call_new(&r->w, a);
    struct kinesis_CreateStream_in in = { .stream_name = S("s"),
                                          .shard_count = shards,
                                          .has_shard_count = true };
    EXPECT_OK(test_finish(o, kinesis_CreateStream(&o->call, &in)));
}

static void advance(struct rig *r, int64_t ms)
{
    io_mem_advance(r->w.disk, ms * NS_PER_MS);
}

// Into a shard of n by the first of its hash keys; its sequence number.
static Str put(struct rig *r, Str data, unsigned shard, unsigned of)
{
    struct test_call *o = test_call_new(&r->w, r->a);
    struct kinesis_PutRecord_in in = {
        .stream_name = S("s"),
        .partition_key = S("k"),
        .data = blob_of(data),
        .explicit_hash_key = hash_key_str(r->a, HASH_KEY_MAX / of * shard + shard),
    };
    struct kinesis_PutRecord_out out = { 0 };
    EXPECT_OK(test_finish(o, kinesis_PutRecord(&o->call, &in, &out)));
    return out.sequence_number;
}

static Err ask(struct rig *r, const char *page, Str body, const JsonValue **ret, Str *ret_problem)
{
    JsonValue *asked = NULL, *answer = NULL;
    EXPECT_OK(json_parse(r->a, body, &asked));
    const struct operator_call c = { .arena = r->a,
                                     .account = S("000000000000"),
                                     .region = S("us-east-1"),
                                     .principal = S("arn:aws:iam::000000000000:root"),
                                     .access_key = S("AKIAROOT"),
                                     .now_ns = r->w.env.io->wall_ns(r->w.env.io),
                                     .body = asked };
    AUTO_BUF(b);
    size_t which = str_eq(str_of(page), S("stream/lag"));
    const struct operator_page *p = &kinesis_pages[which];
    EXPECT_STR(str_of(page), p->name);
    TRY(p->answer(r->w.kinesis, &c, &b, ret_problem));
    EXPECT_OK(json_parse(r->a, str_dup(r->a, buf_str(&b)), &answer));
    *ret = answer;
    return OK;
}

static const JsonValue *good(struct rig *r, const char *page, Str body)
{
    const JsonValue *answer = NULL;
    Str problem = { 0 };
    EXPECT_OK(ask(r, page, body, &answer, &problem));
    return answer;
}

// The data of the records, one after the other.
static Str data_of(struct rig *r, const JsonValue *answer)
{
    const JsonValue *records = json_find(answer, S("records"));
    AUTO_BUF(b);
    for (size_t i = 0; i < records->n; i++) {
        Str coded = json_text(&records->items[i], S("data"));
        char *out = arena_new(r->a, char, base64_decoded_max(coded.n));
        buf_add(&b, str_from(out, base64_decode(out, coded.p, coded.n).n));
    }
    return str_dup(r->a, buf_str(&b));
}

static Str read_data(struct rig *r, Str body)
{
    return data_of(r, good(r, "stream/read", body));
}

static bool more(const JsonValue *answer)
{
    return json_find(answer, S("more"))->integer != 0;
}

TEST(records_of_all_shards_come_in_the_order_of_their_arrival)
{
    struct rig r;
    rig_open(&r, a, 3);
    static const unsigned shards[] = { 2, 0, 1, 1, 2, 0, 2, 1 };
    for (size_t i = 0; i < COUNT_OF(shards); i++) {
        put(&r, str_fmt(a, "%zu", i), shards[i], 3);
        advance(&r, 1);
    }
    const JsonValue *all = good(&r, "stream/read", S("{\"stream\":\"s\",\"from\":\"trim\"}"));
    EXPECT_STR(S("01234567"), data_of(&r, all));
    EXPECT(!more(all));
    const JsonValue *first = &json_find(all, S("records"))->items[0];
    EXPECT_STR(S("shardId-000000000002"), json_text(first, S("shard")));
    EXPECT_STR(S("k"), json_text(first, S("key")));
    EXPECT_STR(hash_key_str(a, HASH_KEY_MAX / 3 * 2 + 2), json_text(first, S("hash_key")));
    EXPECT_INT(START_NS / NS_PER_MS, json_find(first, S("arrival_ms"))->integer);

    // Piece by piece it is the same, and a cursor stays good when more comes.
    AUTO_BUF(pieces);
    Str body = S("{\"stream\":\"s\",\"from\":\"trim\",\"limit\":3}");
    for (bool goes_on = true; goes_on;) {
        const JsonValue *piece = good(&r, "stream/read", body);
        buf_add(&pieces, data_of(&r, piece));
        buf_add_byte(&pieces, '|');
        goes_on = more(piece);
        body = str_fmt(a, "{\"stream\":\"s\",\"cursor\":\"%.*s\",\"limit\":3}",
                       FMT(json_text(piece, S("cursor"))));
    }
    EXPECT_STR(S("012|345|67|"), buf_str(&pieces));
    EXPECT_STR(S(""), read_data(&r, body));
    put(&r, S("new"), 1, 3);
    EXPECT_STR(S("new"), read_data(&r, body));
    test_world_close(&r.w);
}

TEST(reading_may_begin_and_end_anywhere)
{
    struct rig r;
    rig_open(&r, a, 2);
    Str numbers[4];
    for (unsigned i = 0; i < 4; i++) {
        numbers[i] = put(&r, str_fmt(a, "%u", i), i % 2, 2);
        advance(&r, 1000);
    }
    EXPECT_STR(S("123"), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"from_sequence\":\"%.*s\"}",
                                               FMT(numbers[1]))));
    EXPECT_STR(S("23"), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"after_sequence\":\"%.*s\"}",
                                              FMT(numbers[1]))));
    int64_t ms = START_NS / NS_PER_MS;
    EXPECT_STR(S("23"), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"from_ms\":%lld}",
                                              (long long)ms + 2000)));
    EXPECT_STR(S("3"), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"from_ms\":%lld}",
                                             (long long)ms + 2001)));
    EXPECT_STR(S(""), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"from_ms\":%lld}",
                                            (long long)ms + 99999)));
    EXPECT_STR(S(""), read_data(&r, S("{\"stream\":\"s\",\"from\":\"latest\"}")));

    const JsonValue *place = good(&r, "stream/read",
                                  str_fmt(a,
                                          "{\"stream\":\"s\",\"after_sequence\":\"%.*s\","
                                          "\"limit\":0}",
                                          FMT(numbers[2])));
    EXPECT(json_find(place, S("records"))->n == 0 && more(place));
    Str until = json_text(place, S("cursor"));
    const JsonValue *part =
        good(&r, "stream/read",
             str_fmt(a, "{\"stream\":\"s\",\"from\":\"trim\",\"until\":\"%.*s\"}", FMT(until)));
    EXPECT_STR(S("012"), data_of(&r, part));
    EXPECT(!more(part));
    test_world_close(&r.w);
}

TEST(a_time_behind_the_end_of_a_closed_shard_is_no_place_in_it)
{
    struct rig r;
    rig_open(&r, a, 1);
    put(&r, S("0"), 0, 1);
    advance(&r, 1000);
    struct test_call *o = test_call_new(&r.w, a);
    struct kinesis_SplitShard_in in = { .stream_name = S("s"),
                                        .shard_to_split = S("shardId-000000000000"),
                                        .new_starting_hash_key =
                                            hash_key_str(a, HASH_KEY_MAX / 2 + 1) };
    EXPECT_OK(test_finish(o, kinesis_SplitShard(&o->call, &in)));
    put(&r, S("1"), 1, 2);
    advance(&r, 1000);
    put(&r, S("2"), 0, 2);
    EXPECT_STR(S("2"), read_data(&r, str_fmt(a, "{\"stream\":\"s\",\"from_ms\":%lld}",
                                             (long long)(START_NS / NS_PER_MS) + 2000)));
    EXPECT_STR(S("012"), read_data(&r, S("{\"stream\":\"s\",\"from\":\"trim\"}")));
    test_world_close(&r.w);
}

TEST(much_data_of_many_shards_comes_in_pieces_and_in_order)
{
    enum { RECORDS = 60, BYTES = 300 << 10 };
    struct rig r;
    rig_open(&r, a, 4);
    char *bytes = arena_new(a, char, BYTES);
    for (unsigned i = 0; i < RECORDS; i++) {
        bytes[0] = (char)('!' + i);
        put(&r, str_from(bytes, BYTES), i * 7 % 4, 4);
    }
    Str body = S("{\"stream\":\"s\",\"from\":\"trim\"}");
    unsigned seen = 0, pieces = 0;
    for (bool goes_on = true; goes_on; pieces++) {
        const JsonValue *piece = good(&r, "stream/read", body);
        Str data = data_of(&r, piece);
        EXPECT(data.n > 0 && data.n % BYTES == 0 && data.n <= 4 << 20);
        for (size_t at = 0; at < data.n; at += BYTES)
            EXPECT_INT('!' + seen++, data.p[at]);
        goes_on = more(piece);
        body = str_fmt(a, "{\"stream\":\"s\",\"cursor\":\"%.*s\"}",
                       FMT(json_text(piece, S("cursor"))));
    }
    EXPECT(seen == RECORDS && pieces > 4);
    test_world_close(&r.w);
}

TEST(what_is_asked_wrongly_is_refused_with_a_sentence)
{
    static const struct {
        ErrKind kind;
        const char *page, *body, *part;
    } all[] = {
        { ERR_INVALID, "stream/read", "{}", "must name a stream" },
        { ERR_NOT_FOUND, "stream/read", "{\"stream\":\"x\",\"from\":\"trim\"}", "not found" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\"}", "where to read from" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"from\":\"here\"}",
          "where to read from" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"cursor\":\"-1\"}", "a cursor is" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"from\":\"trim\",\"until\":\"x\"}",
          "a cursor is" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"from\":\"trim\",\"limit\":10001}",
          "\"limit\" must be" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"from_ms\":\"x\"}", "\"from_ms\" must" },
        { ERR_INVALID, "stream/read", "{\"stream\":\"s\",\"from_sequence\":\"12\"}",
          "no sequence number" },
        { ERR_INVALID, "stream/lag", "{\"stream\":\"s\",\"places\":[{}]}", "a place is" },
        { ERR_INVALID, "stream/lag", "{\"stream\":\"s\",\"places\":7}", "a place is" },
        { ERR_INVALID, "stream/lag",
          "{\"stream\":\"s\",\"places\":[{\"shard\":\"shardId-000000000000\",\"sequence\":\"1\"}]}",
          "StartingSequenceNumber 1" },
        { ERR_NOT_FOUND, "stream/lag",
          "{\"stream\":\"s\",\"places\":[{\"shard\":\"shardId-000000000009\",\"sequence\":\"1\"}]}",
          "does not exist" },
        { ERR_INVALID, "stream/lag", "{\"stream\":\"s\",\"places\":[{\"iterator\":\"x\"}]}",
          "Invalid ShardIterator" },
    };
    struct rig r;
    rig_open(&r, a, 1);
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        const JsonValue *answer = NULL;
        Str problem = { 0 };
        EXPECT_ERR(all[i].kind, ask(&r, all[i].page, str_of(all[i].body), &answer, &problem));
        if (str_search(problem, str_of(all[i].part)) >= problem.n)
            test_fail(__FILE__, __LINE__, "%s: %.*s", all[i].body, FMT(problem));
    }
    test_world_close(&r.w);
}

// ---- How far readers are behind

static const JsonValue *reader(const JsonValue *answer, const char *kind, Str shard)
{
    const JsonValue *all = json_find(answer, S("readers"));
    for (size_t i = 0; i < all->n; i++)
        if (str_eq(json_text(&all->items[i], S("kind")), str_of(kind)) &&
            str_eq(json_text(&all->items[i], S("shard")), shard))
            return &all->items[i];
    return NULL;
}

static int64_t number(const JsonValue *v, Str name)
{
    const JsonValue *n = json_find(v, name);
    return n != NULL ? n->integer : -1;
}

static Str get(struct rig *r, Str iterator, int32_t limit)
{
    struct test_call *o = test_call_new(&r->w, r->a);
    struct kinesis_GetRecords_in in = { .shard_iterator = iterator, .limit = limit };
    struct kinesis_GetRecords_out out = { 0 };
    EXPECT_OK(test_finish(o, kinesis_GetRecords(&o->call, &in, &out)));
    return out.next_shard_iterator;
}

static Str iterator(struct rig *r, Str type)
{
    struct test_call *o = test_call_new(&r->w, r->a);
    struct kinesis_GetShardIterator_in in = { .stream_name = S("s"),
                                              .shard_id = S("shardId-000000000000"),
                                              .shard_iterator_type = type };
    struct kinesis_GetShardIterator_out out = { 0 };
    EXPECT_OK(test_finish(o, kinesis_GetShardIterator(&o->call, &in, &out)));
    return out.shard_iterator;
}

TEST(a_place_is_as_far_behind_as_its_oldest_unread_record_is_old)
{
    struct rig r;
    rig_open(&r, a, 2);
    Str shard = S("shardId-000000000000");
    Str first = put(&r, S("0"), 0, 2);
    advance(&r, 2000);
    Str second = put(&r, S("1"), 0, 2);
    put(&r, S("2"), 0, 2);
    advance(&r, 5000);
    const struct {
        Str place;
        int64_t behind_ms, records;
    } all[] = {
        { S("TRIM_HORIZON"), 7000, 3 }, { first, 5000, 2 },        { second, 5000, 1 },
        { S("LATEST"), 0, -1 },         { S("SHARD_END"), 0, -1 },
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        const JsonValue *answer =
            good(&r, "stream/lag",
                 str_fmt(a,
                         "{\"stream\":\"s\",\"count\":true,\"places\":[{\"shard\":\"%.*s\","
                         "\"sequence\":\"%.*s\"}]}",
                         FMT(shard), FMT(all[i].place)));
        const JsonValue *x = reader(answer, "place", shard);
        EXPECT(x != NULL);
        EXPECT_INT(all[i].behind_ms, number(x, S("behind_ms")));
        EXPECT_INT(all[i].records, number(x, S("records")));
        EXPECT(json_find(x, S("sequence")) != NULL || all[i].records < 0);
        EXPECT_INT(24 * 3600 * 1000, number(answer, S("retention_ms")));
    }
    const JsonValue *by_time =
        good(&r, "stream/lag",
             str_fmt(a, "{\"stream\":\"s\",\"places\":[{\"shard\":\"%.*s\",\"time_ms\":%lld}]}",
                     FMT(shard), (long long)(START_NS / NS_PER_MS) + 1));
    EXPECT_INT(5000, number(reader(by_time, "place", shard), S("behind_ms")));
    Str left = get(&r, iterator(&r, S("TRIM_HORIZON")), 1);
    const JsonValue *by_iterator =
        good(&r, "stream/lag",
             str_fmt(a, "{\"stream\":\"s\",\"places\":[{\"iterator\":\"%.*s\"}]}", FMT(left)));
    EXPECT_STR(second, json_text(reader(by_iterator, "place", shard), S("sequence")));
    test_world_close(&r.w);
}

TEST(reads_are_remembered_by_where_they_left_off_and_by_the_slowest)
{
    struct rig r;
    rig_open(&r, a, 1);
    Str shard = S("shardId-000000000000"), lag = S("{\"stream\":\"s\"}");
    put(&r, S("0"), 0, 1);
    advance(&r, 3000);
    put(&r, S("1"), 0, 1);
    EXPECT(reader(good(&r, "stream/lag", lag), "reads", shard) == NULL);
    get(&r, iterator(&r, S("TRIM_HORIZON")), 1); // a slow one, 3 s behind what it has read
    get(&r, iterator(&r, S("LATEST")), 1);       // and a quick one
    advance(&r, 1000);
    const JsonValue *x = reader(good(&r, "stream/lag", lag), "reads", shard);
    EXPECT_INT(0, number(x, S("behind_ms")));
    EXPECT_INT(3000, number(x, S("worst_ms")));
    EXPECT_INT(START_NS / NS_PER_MS + 3000, number(x, S("at_ms")));
    put(&r, S("2"), 0, 1);
    advance(&r, 200000); // nobody reads: it grows, and the slow one is forgotten
    x = reader(good(&r, "stream/lag", lag), "reads", shard);
    EXPECT_INT(200000, number(x, S("behind_ms")));
    EXPECT_INT(-1, number(x, S("worst_ms")));
    test_world_close(&r.w);
}

TEST(looking_on_takes_nothing_from_the_limits_and_is_not_remembered)
{
    struct rig r;
    rig_open(&r, a, 1);
    ((struct kinesis *)r.w.kinesis)->env.limits = 1;
    put(&r, S("0"), 0, 1);
    for (int i = 0; i < 50; i++)
        EXPECT_STR(S("0"), read_data(&r, S("{\"stream\":\"s\",\"from\":\"trim\"}")));
    EXPECT(reader(good(&r, "stream/lag", S("{\"stream\":\"s\"}")), "reads",
                  S("shardId-000000000000")) == NULL);
    Str left = iterator(&r, S("TRIM_HORIZON"));
    for (int i = 0; i < 5; i++)
        left = get(&r, left, 1);
    test_world_close(&r.w);
}
