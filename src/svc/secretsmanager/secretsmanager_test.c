// SPDX-License-Identifier: Apache-2.0
// The service on a store in memory: what survives, what time brings, what other services get.
#include "base/test.h"
#include "codec/json.h"
#include "hub/invoke.h"
#include "base/time.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "svc/secretsmanager/secretsmanager.h"

#include <stdio.h>
#include <string.h>

extern const struct service secretsmanager_service;

#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define KEY_ARN S("arn:aws:kms:us-east-1:000000000000:key/k")
#define TOKEN_1 S("00000000-0000-4000-8000-000000000001")
#define TOKEN_2 S("00000000-0000-4000-8000-000000000002")
#define TOKEN_3 S("00000000-0000-4000-8000-000000000003")

struct world {
    struct io_mem *disk;
    struct io_fault *faults;
    struct kv *kv;
    struct hub hub;
    struct hub_keys keys;
    HubKeyFault key_fault;
    struct hub_invoke invoke;
    Str failing; // the step of a rotation at which its function fails; empty: at none
    char steps[256];
    char tried[32]; // the value of AWSPENDING at testSecret
    void *secrets;
    int64_t now_ns;
};

// ---- A key service that wraps by turning bits over, and can be told to refuse

static Err fake_find(void *self, struct call *c, Str name, Str *ret_arn, HubKeyAnswer *ret)
{
    const struct world *w = self;
    (void)c;
    (void)name;
    *ret_arn = KEY_ARN;
    *ret = (HubKeyAnswer){ .fault = w->key_fault, .text = S("the key") };
    return OK;
}

static void turn(unsigned char *to, const char *from)
{
    for (size_t i = 0; i < HUB_KEY_BYTES; i++)
        to[i] = (unsigned char)~from[i];
}

static void fake_make(void *self, struct call *c, Str arn, Str context,
                      unsigned char ret_plain[HUB_KEY_BYTES], Str *ret_wrapped, HubKeyAnswer *ret)
{
    struct world *w = self;
    struct io *io = io_mem_io(w->disk);
    unsigned char *wrapped = arena_alloc(c->arena, HUB_KEY_BYTES, 1);
    (void)arn;
    (void)context;
    io->random(io, ret_plain, HUB_KEY_BYTES);
    turn(wrapped, (const char *)ret_plain);
    *ret_wrapped = str_from(wrapped, HUB_KEY_BYTES);
    *ret = (HubKeyAnswer){ .fault = w->key_fault, .text = S("the key") };
}

static void fake_unwrap(void *self, struct call *c, Str arn, Str context, Str wrapped,
                        unsigned char ret_plain[HUB_KEY_BYTES], HubKeyAnswer *ret)
{
    const struct world *w = self;
    (void)c;
    (void)arn;
    (void)context;
    turn(ret_plain, wrapped.p);
    *ret = (HubKeyAnswer){ .fault = w->key_fault, .text = S("the key") };
}

// ---- The world

static Err try_open(struct world *w)
{
    struct service_env env = {
        .io = io_mem_io(w->disk), .kv = w->kv, .hub = &w->hub, .data_dir = S("")
    };
    return secretsmanager_service.open(&env, &w->secrets);
}

static void world_open(struct world *w)
{
    *w = (struct world){ .disk = io_mem_open(1), .now_ns = 1000 * DAY_NS };
    w->keys = (struct hub_keys){
        .self = w, .find = fake_find, .own = fake_find, .make = fake_make, .unwrap = fake_unwrap
    };
    w->hub.keys = &w->keys;
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    EXPECT_OK(kv_open(io_fault_io(w->faults), S("/kv"), &w->kv));
    EXPECT_OK(try_open(w));
}

static void reopen(struct world *w)
{
    secretsmanager_service.stop(w->secrets);
    secretsmanager_service.close(w->secrets);
    w->secrets = NULL;
    EXPECT_OK(try_open(w));
}

static void world_close(struct world *w)
{
    secretsmanager_service.stop(w->secrets);
    secretsmanager_service.close(w->secrets);
    kv_close(w->kv);
    io_fault_close(w->faults);
    io_mem_close(w->disk);
}

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < secretsmanager_api.op_count; i++)
        if (str_eq(secretsmanager_api.ops[i].name, str_of(name)))
            return &secretsmanager_api.ops[i];
    CHECK(false);
}

// What the operation was answered with: NULL when it succeeded.
static const struct api_error *run(struct world *w, struct arena *a, const char *op, const void *in,
                                   void *out)
{
    struct call *c = arena_new(a, struct call, 1);
    *c = (struct call){ .state = w->secrets,
                        .arena = a,
                        .op = op_of(op),
                        .account = S("000000000000"),
                        .caller = S("000000000000"),
                        .region = S("us-east-1"),
                        .principal = S("arn:aws:iam::000000000000:root"),
                        .request_id = S("id"),
                        .now_ns = w->now_ns };
    Err e = c->op->run(c, in, out);
    EXPECT(e.kind == ERR_NONE || e.kind == ERR_FAULT);
    return c->error;
}

static Str create(struct world *w, struct arena *a, Str name, Str token, Str value)
{
    struct secretsmanager_CreateSecret_in in = { .name = name,
                                                 .client_request_token = token,
                                                 .secret_string = value };
    struct secretsmanager_CreateSecret_out out = { 0 };
    EXPECT(run(w, a, "CreateSecret", &in, &out) == NULL);
    return out.arn;
}

static const struct api_error *put(struct world *w, struct arena *a, Str id, Str token, Str value)
{
    struct secretsmanager_PutSecretValue_in in = { .secret_id = id,
                                                   .client_request_token = token,
                                                   .secret_string = value };
    struct secretsmanager_PutSecretValue_out out = { 0 };
    return run(w, a, "PutSecretValue", &in, &out);
}

// The value of a stage, or the name of the error.
static Str get(struct world *w, struct arena *a, Str id, Str stage)
{
    struct secretsmanager_GetSecretValue_in in = { .secret_id = id, .version_stage = stage };
    struct secretsmanager_GetSecretValue_out out = { 0 };
    const struct api_error *error = run(w, a, "GetSecretValue", &in, &out);
    return error != NULL ? error->name : out.secret_string;
}

TEST(a_value_is_there_after_a_restart_by_name_and_by_whole_and_partial_arn)
{
    struct world w;
    world_open(&w);
    Str arn = create(&w, a, S("db/one"), TOKEN_1, S("hunter2"));
    reopen(&w);
    EXPECT_STR(S("hunter2"), get(&w, a, S("db/one"), STAGE_CURRENT));
    EXPECT_STR(S("hunter2"), get(&w, a, arn, STAGE_CURRENT));
    EXPECT_STR(S("hunter2"), get(&w, a, str_head(arn, arn.n - 7), STAGE_CURRENT));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, str_head(arn, arn.n - 1), STAGE_CURRENT));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, S("db/two"), STAGE_CURRENT));
    world_close(&w);
}

static bool holds(struct world *w, struct arena *a, const char *table, Str text)
{
    struct kv_table *t;
    bool found = false;
    EXPECT_OK(kv_table_open(w->kv, str_of(table), &t));
    AUTO(kv_txn) tx = kv_read(t);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan))
        found = found || str_search(str_dup(a, scan.value), text) < scan.value.n;
    return found;
}

TEST(nothing_of_a_value_stands_in_the_store_in_plain)
{
    struct world w;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("a value that is easily found"));
    EXPECT(!holds(&w, a, "secrets.secrets", S("easily")));
    EXPECT(!holds(&w, a, "secrets.versions", S("easily")));
    EXPECT(!holds(&w, a, "secrets.values", S("easily")));
    world_close(&w);
}

TEST(a_new_value_is_current_and_the_one_before_is_previous)
{
    struct world w;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("one"));
    EXPECT(put(&w, a, S("x"), TOKEN_2, S("two")) == NULL);
    EXPECT_STR(S("two"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT_STR(S("one"), get(&w, a, S("x"), STAGE_PREVIOUS));
    EXPECT(put(&w, a, S("x"), TOKEN_3, S("three")) == NULL);
    reopen(&w);
    EXPECT_STR(S("three"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT_STR(S("two"), get(&w, a, S("x"), STAGE_PREVIOUS));
    world_close(&w);
}

TEST(the_same_token_with_the_same_value_changes_nothing_and_with_another_is_refused)
{
    struct world w;
    world_open(&w);
    Str arn = create(&w, a, S("x"), TOKEN_1, S("one"));
    EXPECT_STR(arn, create(&w, a, S("x"), TOKEN_1, S("one"))); // the request again
    EXPECT(put(&w, a, S("x"), TOKEN_2, S("two")) == NULL);
    EXPECT(put(&w, a, S("x"), TOKEN_1, S("one")) == NULL);
    EXPECT_STR(S("two"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT(put(&w, a, S("x"), TOKEN_1, S("three")) == &secretsmanager_ResourceExistsException);
    world_close(&w);
}

static int64_t mark(struct world *w, struct arena *a, Str id, int64_t days)
{
    struct secretsmanager_DeleteSecret_in in = { .secret_id = id,
                                                 .recovery_window_in_days = days,
                                                 .has_recovery_window_in_days = true };
    struct secretsmanager_DeleteSecret_out out = { 0 };
    EXPECT(run(w, a, "DeleteSecret", &in, &out) == NULL);
    return out.deletion_date;
}

TEST(a_secret_that_is_marked_can_be_restored_until_its_time_is_over)
{
    struct world w;
    world_open(&w);
    struct secretsmanager_RestoreSecret_in in = { .secret_id = S("x") };
    struct secretsmanager_RestoreSecret_out out = { 0 };
    create(&w, a, S("x"), TOKEN_1, S("one"));
    EXPECT_INT(1007 * DAY_NS, mark(&w, a, S("x"), 7));
    EXPECT_STR(S("InvalidRequestException"), get(&w, a, S("x"), STAGE_CURRENT));
    reopen(&w);
    w.now_ns += 6 * DAY_NS;
    EXPECT(run(&w, a, "RestoreSecret", &in, &out) == NULL);
    EXPECT_STR(S("one"), get(&w, a, S("x"), STAGE_CURRENT));
    mark(&w, a, S("x"), 7);
    w.now_ns += 7 * DAY_NS;
    EXPECT(run(&w, a, "RestoreSecret", &in, &out) == &secretsmanager_ResourceNotFoundException);
    world_close(&w);
}

static size_t rows(struct world *w, const char *table)
{
    struct kv_table *t;
    size_t n;
    EXPECT_OK(kv_table_open(w->kv, str_of(table), &t));
    AUTO(kv_txn) tx = kv_read(t);
    EXPECT_OK(kv_count(tx, S(""), &n));
    return n;
}

TEST(one_made_again_has_nothing_of_the_one_that_went)
{
    struct world w;
    world_open(&w);
    Str arn = create(&w, a, S("x"), TOKEN_1, S("one"));
    mark(&w, a, S("x"), 7);
    w.now_ns += 7 * DAY_NS;
    Str again = create(&w, a, S("x"), TOKEN_2, S("two"));
    EXPECT(!str_eq(arn, again));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, S("x"), STAGE_PREVIOUS));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, arn, STAGE_CURRENT));
    EXPECT_INT(1, rows(&w, "secrets.values"));
    struct secretsmanager_DeleteSecret_in in = { .secret_id = S("x"),
                                                 .force_delete_without_recovery = true };
    struct secretsmanager_DeleteSecret_out out = { 0 };
    EXPECT(run(&w, a, "DeleteSecret", &in, &out) == NULL);
    EXPECT_INT(0, rows(&w, "secrets.values"));
    EXPECT_INT(0, rows(&w, "secrets.versions"));
    world_close(&w);
}

TEST(old_versions_without_stages_go_when_there_are_too_many)
{
    struct world w;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("0"));
    for (size_t i = 0; i < 150; i++) { // all of one day: they stay
        Str token = str_fmt(a, "10000000-0000-4000-8000-%012zu", i);
        EXPECT(put(&w, a, S("x"), token, str_fmt(a, "%zu", i)) == NULL);
    }
    EXPECT_INT(151, rows(&w, "secrets.values"));
    w.now_ns += 2 * DAY_NS;
    EXPECT(put(&w, a, S("x"), TOKEN_2, S("last")) == NULL);
    EXPECT_INT(VERSIONS_KEPT, rows(&w, "secrets.values"));
    EXPECT_INT(VERSIONS_KEPT, rows(&w, "secrets.versions"));
    EXPECT_STR(S("149"), get(&w, a, S("x"), STAGE_PREVIOUS));
    world_close(&w);
}

TEST(a_key_that_cannot_be_used_is_told_as_what_it_is)
{
    struct world w;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("one"));
    w.key_fault = HUB_KEY_DISABLED;
    EXPECT(put(&w, a, S("x"), TOKEN_2, S("two")) == &secretsmanager_EncryptionFailure);
    EXPECT_STR(S("DecryptionFailure"), get(&w, a, S("x"), STAGE_CURRENT));
    w.key_fault = HUB_KEY_DENIED;
    EXPECT_STR(S("AccessDeniedException"), get(&w, a, S("x"), STAGE_CURRENT));
    world_close(&w);
}

TEST(a_damaged_value_is_not_handed_out)
{
    struct world w;
    struct kv_table *t;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("one"));
    EXPECT_OK(kv_table_open(w.kv, S("secrets.values"), &t));
    {
        AUTO(kv_txn) tx = kv_write(t);
        struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
        EXPECT(kv_scan_next(&scan));
        Str key = str_dup(a, scan.rest), value = str_dup(a, scan.value);
        kv_scan_end(&scan);
        ((char *)(uintptr_t)value.p)[0] ^= 1;
        EXPECT_OK(kv_put(tx, key, value));
        EXPECT_OK(kv_commit(tx));
    }
    struct secretsmanager_GetSecretValue_in in = { .secret_id = S("x") };
    struct secretsmanager_GetSecretValue_out out = { 0 };
    struct call c = { .state = w.secrets,
                      .arena = a,
                      .op = op_of("GetSecretValue"),
                      .account = S("000000000000"),
                      .caller = S("000000000000"),
                      .region = S("us-east-1"),
                      .now_ns = w.now_ns };
    EXPECT_ERR(ERR_CORRUPT, secretsmanager_GetSecretValue(&c, &in, &out));
    world_close(&w);
}

TEST(other_services_get_the_current_value_or_why_not)
{
    struct world w;
    Str value;
    HubSecretAnswer answer;
    const HubActor as = { .account = S("000000000000"),
                          .region = S("us-east-1"),
                          .role_arn = S("arn:aws:iam::000000000000:role/r"),
                          .service = S("firehose.amazonaws.com") };
    world_open(&w);
    const struct hub_secrets *s = w.hub.secrets;
    Str arn = create(&w, a, S("x"), TOKEN_1, S("{\"api_key\":\"k\"}"));
    EXPECT_OK(s->get(s->self, a, &as, arn, &value, &answer));
    EXPECT_INT(HUB_SECRET_GOOD, answer.fault);
    EXPECT_STR(S("{\"api_key\":\"k\"}"), value);
    EXPECT(put(&w, a, S("x"), TOKEN_2, S("two")) == NULL);
    EXPECT_OK(s->get(s->self, a, &as, arn, &value, &answer));
    EXPECT_STR(S("two"), value);
    EXPECT_OK(s->get(s->self, a, &as, S("arn:aws:secretsmanager:us-east-1:000000000000:secret:y"),
                     &value, &answer));
    EXPECT_INT(HUB_SECRET_NOT_FOUND, answer.fault);
    EXPECT_OK(s->get(s->self, a, &as, S("nonsense"), &value, &answer));
    EXPECT_INT(HUB_SECRET_NOT_FOUND, answer.fault);
    w.key_fault = HUB_KEY_PENDING_DELETION;
    EXPECT_OK(s->get(s->self, a, &as, arn, &value, &answer));
    EXPECT_INT(HUB_SECRET_KEY, answer.fault);
    w.key_fault = HUB_KEY_GOOD;
    w.now_ns = io_mem_io(w.disk)->wall_ns(io_mem_io(w.disk));
    mark(&w, a, S("x"), 7);
    EXPECT_OK(s->get(s->self, a, &as, arn, &value, &answer));
    EXPECT_INT(HUB_SECRET_STATE, answer.fault);
    world_close(&w);
}

TEST(a_full_disk_keeps_nobody_from_reading)
{
    struct world w;
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("one"));
    io_fault_add(w.faults, (IoFault){ .ops = IO_OP_WRITE,
                                      .times = UINT64_MAX,
                                      .err = fail(ERR_FULL, "the disk is full") });
    EXPECT_STR(S("one"), get(&w, a, S("x"), STAGE_CURRENT));
    world_close(&w);
}

TEST(another_account_cannot_use_the_key_of_this_one)
{
    struct world w;
    world_open(&w);
    Str arn = create(&w, a, S("x"), TOKEN_1, S("one"));
    struct secretsmanager_GetSecretValue_in in = { .secret_id = arn };
    struct secretsmanager_GetSecretValue_out out = { 0 };
    struct call c = { .state = w.secrets,
                      .arena = a,
                      .op = op_of("GetSecretValue"),
                      .account = S("000000000000"),
                      .caller = S("111111111111"),
                      .region = S("us-east-1"),
                      .now_ns = w.now_ns };
    EXPECT_ERR(ERR_FAULT, secretsmanager_GetSecretValue(&c, &in, &out));
    EXPECT(c.error == &aws_AccessDeniedException);
    world_close(&w);
}

// ---- Threads

enum { WRITERS = 3, ROUNDS = 20 };

struct worker {
    struct world *w;
    size_t number;
    size_t failed;
};

static void *put_and_get(void *self)
{
    struct worker *k = self;
    for (size_t i = 0; i < ROUNDS; i++) {
        AUTO(arena) a = arena_open();
        Str token = str_fmt(a, "%08zu-0000-4000-8000-%012zu", k->number + 1, i);
        struct call c = { .state = k->w->secrets,
                          .arena = a,
                          .op = op_of("PutSecretValue"),
                          .account = S("000000000000"),
                          .caller = S("000000000000"),
                          .region = S("us-east-1"),
                          .now_ns = k->w->now_ns };
        struct secretsmanager_PutSecretValue_in put_in = { .secret_id = S("x"),
                                                           .client_request_token = token,
                                                           .secret_string = token };
        struct secretsmanager_PutSecretValue_out put_out = { 0 };
        struct secretsmanager_GetSecretValue_in get_in = { .secret_id = S("x") };
        struct secretsmanager_GetSecretValue_out get_out = { 0 };
        Err put_err = secretsmanager_PutSecretValue(&c, &put_in, &put_out);
        Err get_err = secretsmanager_GetSecretValue(&c, &get_in, &get_out);
        bool is_first = str_eq(get_out.version_id, TOKEN_1);
        if (put_err.kind != ERR_NONE || get_err.kind != ERR_NONE ||
            (!is_first && !str_eq(get_out.secret_string, get_out.version_id)))
            k->failed++;
    }
    return NULL;
}

TEST(several_who_put_and_get_at_once_see_whole_versions_and_one_is_current)
{
    struct world w;
    struct worker workers[WRITERS];
    pthread_t threads[WRITERS];
    world_open(&w);
    create(&w, a, S("x"), TOKEN_1, S("one"));
    for (size_t i = 0; i < WRITERS; i++) {
        workers[i] = (struct worker){ .w = &w, .number = i };
        CHECK(pthread_create(&threads[i], NULL, put_and_get, &workers[i]) == 0);
    }
    for (size_t i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (size_t i = 0; i < WRITERS; i++)
        EXPECT_INT(0, workers[i].failed);
    EXPECT_INT(1 + WRITERS * ROUNDS, rows(&w, "secrets.values"));
    struct secretsmanager_DescribeSecret_in in = { .secret_id = S("x") };
    struct secretsmanager_DescribeSecret_out out = { 0 };
    EXPECT(run(&w, a, "DescribeSecret", &in, &out) == NULL);
    EXPECT_INT(2, out.version_ids_to_stages.n);
    world_close(&w);
}

// ---- Filters and passwords

TEST(filters_are_beginnings_and_negations)
{
    AUTO(secret) x = secret_new(S("0"), S("r"), S("prod/Db"), S("abcdef"), 1);
    x->d.description = str_dup(x->arena, S("Main store"));
    secret_set_tag(x, S("team"), S("blue"));
    const struct {
        const char *key, *value;
        bool matches;
    } cases[] = { { "name", "prod/", true },       { "name", "Prod", false },
                  { "name", "!Prod", true },       { "name", "!prod", false },
                  { "description", "main", true }, { "description", "store", false },
                  { "tag-key", "te", true },       { "tag-key", "blue", false },
                  { "tag-value", "bl", true },     { "tag-value", "BL", false },
                  { "all", "db STORE", true },     { "all", "db nothing", false },
                  { "primary-region", "u", false } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str value = str_of(cases[i].value);
        secretsmanager_Filter f = { .key = str_of(cases[i].key),
                                    .values = { .at = &value, .n = 1, .set = true } };
        secretsmanager_FiltersListType all = { .at = &f, .n = 1, .set = true };
        EXPECT(secrets_match(a, x, all) == cases[i].matches);
    }
}

static bool has_one_of(Str text, Str letters)
{
    for (size_t i = 0; i < text.n; i++)
        if (str_find(letters, text.p[i]) < letters.n)
            return true;
    return false;
}

TEST(a_random_password_has_a_letter_of_every_kind_and_none_that_is_left_out)
{
    struct world w;
    world_open(&w);
    for (int64_t i = 0; i < 200; i++) {
        struct secretsmanager_GetRandomPassword_in in = { .password_length = 4 + i % 8,
                                                          .exclude_characters = S("aA0!") };
        struct secretsmanager_GetRandomPassword_out out = { 0 };
        EXPECT(run(&w, a, "GetRandomPassword", &in, &out) == NULL);
        EXPECT_INT(in.password_length, out.random_password.n);
        EXPECT(has_one_of(out.random_password, S("bcdefghijklmnopqrstuvwxyz")));
        EXPECT(has_one_of(out.random_password, S("BCDEFGHIJKLMNOPQRSTUVWXYZ")));
        EXPECT(has_one_of(out.random_password, S("123456789")));
        EXPECT(!has_one_of(out.random_password, S("aA0!")));
    }
    struct secretsmanager_GetRandomPassword_in in = { .password_length = 3 };
    struct secretsmanager_GetRandomPassword_out out = { 0 };
    EXPECT(run(&w, a, "GetRandomPassword", &in, &out) == &secretsmanager_InvalidParameterException);
    world_close(&w);
}

// ---- Rotation

#define FUNCTION S("arn:aws:lambda:us-east-1:000000000000:function:f")

static const struct api_error *move_current(struct world *w, struct arena *a, Str id, Str to)
{
    struct secretsmanager_DescribeSecret_in look = { .secret_id = id };
    struct secretsmanager_DescribeSecret_out d = { 0 };
    struct secretsmanager_UpdateSecretVersionStage_out out = { 0 };
    Str from = { 0 };
    EXPECT(run(w, a, "DescribeSecret", &look, &d) == NULL);
    for (size_t i = 0; i < d.version_ids_to_stages.n; i++)
        for (size_t k = 0; k < d.version_ids_to_stages.at[i].value.n; k++)
            if (str_eq(d.version_ids_to_stages.at[i].value.at[k], STAGE_CURRENT))
                from = d.version_ids_to_stages.at[i].key;
    struct secretsmanager_UpdateSecretVersionStage_in in = { .secret_id = id,
                                                             .version_stage = STAGE_CURRENT,
                                                             .remove_from_version_id = from,
                                                             .move_to_version_id = to };
    return run(w, a, "UpdateSecretVersionStage", &in, &out);
}

// As AWS's templates of rotation functions do: what is done already is not done again.
static Err function(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                    int64_t timeout_ns, HubInvokeAnswer *ret)
{
    struct world *w = self;
    JsonValue *v = NULL;
    (void)timeout_ns;
    EXPECT_OK(json_parse(a, payload, &v));
    Str step = json_text(v, S("Step")), id = json_text(v, S("SecretId")),
        token = json_text(v, S("ClientRequestToken"));
    EXPECT_STR(FUNCTION, arn);
    EXPECT_STR(S("secretsmanager.amazonaws.com"), as->service);
    strncat(w->steps, step.p, MIN(step.n, sizeof w->steps - strlen(w->steps) - 1));
    *ret = (HubInvokeAnswer){ .fault =
                                  str_eq(step, w->failing) ? HUB_INVOKE_FAILED : HUB_INVOKE_GOOD };
    if (ret->fault != HUB_INVOKE_GOOD)
        return OK;
    const Str pending[] = { STAGE_PENDING };
    struct secretsmanager_PutSecretValue_in in = {
        .secret_id = id,
        .client_request_token = token,
        .secret_string = S("rotated"),
        .version_stages = { .set = true, .at = (Str *)(uintptr_t)pending, .n = 1 }
    };
    struct secretsmanager_PutSecretValue_out out = { 0 };
    bool has = !str_eq(get(w, a, id, STAGE_PENDING), S("ResourceNotFoundException"));
    if (str_eq(step, S("createSecret")) && !has)
        EXPECT(run(w, a, "PutSecretValue", &in, &out) == NULL);
    if (str_eq(step, S("testSecret"))) {
        Str tried = get(w, a, id, STAGE_PENDING);
        EXPECT(snprintf(w->tried, sizeof w->tried, "%.*s", FMT(tried)) > 0);
    }
    if (str_eq(step, S("finishSecret")))
        EXPECT(move_current(w, a, id, token) == NULL);
    return OK;
}

static bool is_known(void *self, Str arn)
{
    (void)self;
    return str_eq(arn, FUNCTION);
}

static const struct secretsmanager_RotationRulesType daily = { .schedule_expression =
                                                                   S_INIT("rate(1 day)") };

static const struct api_error *rotate(struct world *w, struct arena *a, Str token,
                                      const struct secretsmanager_RotationRulesType *rules)
{
    struct secretsmanager_RotateSecret_in in = { .secret_id = S("x"),
                                                 .client_request_token = token,
                                                 .rotation_lambda_arn = FUNCTION,
                                                 .rotation_rules = rules };
    struct secretsmanager_RotateSecret_out out = { 0 };
    return run(w, a, "RotateSecret", &in, &out);
}

static struct secretsmanager_DescribeSecret_out described(struct world *w, struct arena *a)
{
    struct secretsmanager_DescribeSecret_in in = { .secret_id = S("x") };
    struct secretsmanager_DescribeSecret_out out = { 0 };
    EXPECT(run(w, a, "DescribeSecret", &in, &out) == NULL);
    return out;
}

static void world_with_function(struct world *w, struct arena *a)
{
    world_open(w);
    w->now_ns = 40000 * DAY_NS; // after the machine's own
    w->invoke = (struct hub_invoke){ .self = w, .call = function, .known = is_known };
    w->hub.invoke = &w->invoke;
    create(w, a, S("x"), TOKEN_1, S("first"));
}

TEST(a_function_rotates_a_secret_in_four_steps_and_again_when_its_time_has_come)
{
    struct world w;
    world_with_function(&w, a);
    int64_t now_ms = w.now_ns / NS_PER_MS;
    EXPECT(rotate(&w, a, TOKEN_2, &daily) == NULL);
    EXPECT_STR(S("first"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, S("x"), STAGE_PENDING));
    EXPECT_INT(now_ms + DAY_NS / NS_PER_MS, secrets_rotate_due(w.secrets, now_ms));
    EXPECT_STR(S("createSecretsetSecrettestSecretfinishSecret"), str_of(w.steps));
    EXPECT_STR(S("rotated"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT_STR(S("first"), get(&w, a, S("x"), STAGE_PREVIOUS));
    struct secretsmanager_DescribeSecret_out d = described(&w, a);
    EXPECT(d.rotation_enabled && d.has_last_rotated_date && d.has_next_rotation_date);
    EXPECT_STR(S("rate(1 day)"), d.rotation_rules->schedule_expression);
    w.steps[0] = 0;
    now_ms += DAY_NS / NS_PER_MS;
    EXPECT_INT(now_ms + DAY_NS / NS_PER_MS, secrets_rotate_due(w.secrets, now_ms));
    EXPECT_STR(S("createSecretsetSecrettestSecretfinishSecret"), str_of(w.steps));
    EXPECT_STR(S("rotated"), get(&w, a, S("x"), STAGE_PREVIOUS));
    world_close(&w);
}

TEST(a_rotation_that_fails_is_tried_again_also_after_a_restart)
{
    struct world w;
    world_with_function(&w, a);
    int64_t now_ms = w.now_ns / NS_PER_MS, next_ms;
    w.failing = S("setSecret");
    EXPECT(rotate(&w, a, TOKEN_2, NULL) == NULL);
    next_ms = secrets_rotate_due(w.secrets, now_ms);
    EXPECT(next_ms > now_ms && next_ms < now_ms + DAY_NS / NS_PER_MS);
    EXPECT_STR(S("first"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT(rotate(&w, a, TOKEN_3, NULL) == &secretsmanager_InvalidRequestException);
    EXPECT(rotate(&w, a, TOKEN_2, NULL) == NULL); // the same one
    w.failing = S("finishSecret");
    w.steps[0] = 0;
    secrets_rotate_due(w.secrets, next_ms - 1);
    EXPECT_STR(S(""), str_of(w.steps));
    reopen(&w); // what is under way stands in the secret
    w.failing = S("");
    secrets_rotate_due(w.secrets, next_ms - 1);
    EXPECT_STR(S("createSecretsetSecrettestSecretfinishSecret"), str_of(w.steps));
    EXPECT_STR(S("rotated"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT(!described(&w, a).has_next_rotation_date);
    world_close(&w);
}

static const struct api_error *rotate_later(struct world *w, struct arena *a,
                                            const struct secretsmanager_RotationRulesType *rules)
{
    struct secretsmanager_RotateSecret_in in = { .secret_id = S("x"),
                                                 .client_request_token = TOKEN_2,
                                                 .rotation_lambda_arn = FUNCTION,
                                                 .rotation_rules = rules,
                                                 .has_rotate_immediately = true };
    struct secretsmanager_RotateSecret_out out = { 0 };
    const struct api_error *e = run(w, a, "RotateSecret", &in, &out);
    EXPECT(out.version_id.p == NULL);
    return e;
}

static size_t versions_of(struct world *w, struct arena *a)
{
    struct secretsmanager_ListSecretVersionIds_in in = { .secret_id = S("x"),
                                                         .include_deprecated = true };
    struct secretsmanager_ListSecretVersionIds_out out = { 0 };
    EXPECT(run(w, a, "ListSecretVersionIds", &in, &out) == NULL);
    return out.versions.n;
}

TEST(a_rotation_that_is_not_to_begin_at_once_is_tried_out)
{
    struct world w;
    world_with_function(&w, a);
    int64_t now_ms = w.now_ns / NS_PER_MS;
    EXPECT(rotate_later(&w, a, &daily) == NULL);
    EXPECT_STR(S("first"), get(&w, a, S("x"), STAGE_PENDING));
    EXPECT(rotate_later(&w, a, &daily) == NULL); // instead of the other
    EXPECT_INT(2, versions_of(&w, a));
    reopen(&w);
    EXPECT_INT(now_ms + DAY_NS / NS_PER_MS, secrets_rotate_due(w.secrets, now_ms));
    EXPECT_STR(S("testSecret"), str_of(w.steps));
    EXPECT_STR(S("first"), str_of(w.tried));
    EXPECT_STR(S("ResourceNotFoundException"), get(&w, a, S("x"), STAGE_PENDING));
    EXPECT_STR(S("first"), get(&w, a, S("x"), STAGE_CURRENT));
    EXPECT_INT(1, versions_of(&w, a));
    w.failing = S("testSecret");  // is logged, and that is all
    w.key_fault = HUB_KEY_DENIED; // no value to be tried with
    EXPECT(rotate_later(&w, a, &daily) == NULL);
    w.key_fault = HUB_KEY_GOOD;
    EXPECT_INT(1, versions_of(&w, a));
    EXPECT(rotate(&w, a, TOKEN_2, NULL) == NULL); // what begins now takes its place
    w.failing = S("");
    w.steps[0] = 0;
    secrets_rotate_due(w.secrets, now_ms);
    EXPECT_STR(S("createSecretsetSecrettestSecretfinishSecret"), str_of(w.steps));
    EXPECT_STR(S("rotated"), get(&w, a, S("x"), STAGE_CURRENT));
    world_close(&w);
}

TEST(a_failed_trial_of_a_rotation_leaves_nothing)
{
    struct world w;
    world_with_function(&w, a);
    int64_t now_ms = w.now_ns / NS_PER_MS;
    w.failing = S("testSecret");
    EXPECT(rotate_later(&w, a, &daily) == NULL);
    EXPECT_INT(now_ms + DAY_NS / NS_PER_MS, secrets_rotate_due(w.secrets, now_ms));
    EXPECT_STR(S("testSecret"), str_of(w.steps));
    EXPECT_INT(1, versions_of(&w, a));
    EXPECT(rotate(&w, a, TOKEN_2, &daily) == NULL);
    EXPECT(rotate_later(&w, a, &daily) == &secretsmanager_InvalidRequestException);
    world_close(&w);
}

TEST(a_rotation_that_is_cancelled_calls_nobody)
{
    struct world w;
    world_with_function(&w, a);
    struct secretsmanager_CancelRotateSecret_in cancel = { .secret_id = S("x") };
    struct secretsmanager_CancelRotateSecret_out cancelled = { 0 };
    int64_t now_ms = w.now_ns / NS_PER_MS;
    EXPECT(rotate(&w, a, TOKEN_2, &daily) == NULL);
    EXPECT(run(&w, a, "CancelRotateSecret", &cancel, &cancelled) == NULL);
    EXPECT_STR(TOKEN_2, cancelled.version_id);
    EXPECT_INT(CHORES_NEVER, secrets_rotate_due(w.secrets, now_ms * 2));
    EXPECT_STR(S(""), str_of(w.steps));
    EXPECT(!described(&w, a).rotation_enabled);
    world_close(&w);
}

TEST(days_are_counted_from_the_last_value_and_cron_follows_the_calendar)
{
    struct world w;
    world_with_function(&w, a);
    int64_t begun_ns = w.now_ns;
    struct secretsmanager_RotationRulesType days = { .has_automatically_after_days = true,
                                                     .automatically_after_days = 3 };
    struct secretsmanager_RotationRulesType cron = { .schedule_expression =
                                                         S("cron(0 8 * * ? *)") };
    EXPECT(rotate_later(&w, a, &days) == NULL);
    EXPECT_INT(begun_ns + 3 * DAY_NS, described(&w, a).next_rotation_date);
    w.now_ns += DAY_NS;
    struct secretsmanager_PutSecretValue_in in = { .secret_id = S("x"),
                                                   .client_request_token = TOKEN_3,
                                                   .secret_string = S("mine") };
    struct secretsmanager_PutSecretValue_out out = { 0 };
    EXPECT(run(&w, a, "PutSecretValue", &in, &out) == NULL);
    EXPECT_INT(begun_ns + 4 * DAY_NS, described(&w, a).next_rotation_date);
    EXPECT(rotate_later(&w, a, &cron) == NULL);
    int64_t eight_ns = w.now_ns / DAY_NS * DAY_NS + DAY_NS / 3;
    EXPECT_INT(eight_ns, described(&w, a).next_rotation_date);
    w.steps[0] = 0;
    secrets_rotate_due(w.secrets, eight_ns / NS_PER_MS);
    EXPECT_STR(S("testSecretcreateSecretsetSecrettestSecretfinishSecret"), str_of(w.steps));
    EXPECT_INT(eight_ns + DAY_NS, described(&w, a).next_rotation_date);
    world_close(&w);
}

TEST(rules_of_rotation_are_days_or_a_rate)
{
    static const char *const bad[] = { "rate(0 days)", "rate(3 hours)", "cron(0 * * * ? *)" };
    struct world w;
    world_with_function(&w, a);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct secretsmanager_RotationRulesType r = { .schedule_expression = str_of(bad[i]) };
        EXPECT(rotate(&w, a, TOKEN_2, &r) == &secretsmanager_InvalidParameterException);
    }
    struct secretsmanager_RotationRulesType both = daily;
    both.has_automatically_after_days = true;
    both.automatically_after_days = 3;
    EXPECT(rotate(&w, a, TOKEN_2, &both) == &secretsmanager_InvalidParameterException);
    world_close(&w);
}
