// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/hose.h"
#include "base/test.h"
#include "os/io_mem.h"

#include <string.h>

static const unsigned char master[GCM_KEY_BYTES] = { 1, 2, 3 };

static HoseFields some_fields(void)
{
    static HoseTag tags[] = { { S_INIT("a"), S_INIT("1") }, { S_INIT("b"), { NULL, 0 } } };
    return (HoseFields){
        .created_ms = 1700000000000,
        .updated_ms = 1700000000500,
        .version = 7,
        .hint_mibps = 3,
        .destination = S("{\"SplunkDestinationDescription\":{\"HECEndpoint\":\"https://h:8088\"}}"),
        .secrets = S("{\"HECToken\":\"s3cret\"}"),
        .tags = tags,
        .tag_count = 2,
        .key_kind = HOSE_KEY_CUSTOMER,
        .key_arn = S("arn:aws:kms:us-east-1:000000000000:key/k"),
        .key_since_ms = 1700000000100,
        .turns_ms = { 1, 2 },
        .turn_count = 2,
    };
}

static Str row_of(struct io_mem *m, struct arena *a, const struct hose *h, const HoseFields *f)
{
    AUTO_BUF(row);
    hose_row_write(&row, io_mem_io(m), master, h, f);
    EXPECT_OK(buf_err(&row));
    return str_dup(a, buf_str(&row));
}

TEST(a_row_is_read_as_it_was_written)
{
    struct io_mem *m = io_mem_open(1);
    AUTO(hose) h = hose_new(S("000000000000"), S("us-east-1"), S("s"), UINT64_C(1) << 60);
    AUTO(hose) back = NULL;
    HoseFields f = some_fields();
    Str row = row_of(m, a, h, &f);
    EXPECT(hose_row_has_secrets(row));
    EXPECT_OK(hose_row_read(a, master, S("000000000000/us-east-1/s"), row, &back));
    const HoseFields *x = &back->state->f;
    EXPECT(back->id == UINT64_C(1) << 60);
    EXPECT_STR(S("arn:aws:firehose:us-east-1:000000000000:deliverystream/s"), back->arn);
    EXPECT_STR(f.destination, x->destination);
    EXPECT_STR(f.secrets, x->secrets);
    EXPECT_INT(7, x->version);
    EXPECT_INT(3, x->hint_mibps);
    EXPECT_INT(2, x->tag_count);
    EXPECT(hose_tag(x, S("b")) != NULL && hose_tag(x, S("b"))->value.p == NULL);
    EXPECT_STR(S("1"), hose_tag(x, S("a"))->value);
    EXPECT_INT(HOSE_KEY_CUSTOMER, x->key_kind);
    EXPECT_STR(f.key_arn, x->key_arn);
    EXPECT_INT(2, x->turn_count);
    EXPECT(x->source_arn.p == NULL && !x->deleting);
    io_mem_close(m);
}

TEST(a_secret_is_not_in_the_row)
{
    struct io_mem *m = io_mem_open(1);
    AUTO(hose) h = hose_new(S("000000000000"), S("us-east-1"), S("s"), 5);
    HoseFields f = some_fields();
    Str row = row_of(m, a, h, &f);
    EXPECT(str_search(row, S("s3cret")) == row.n);
    io_mem_close(m);
}

TEST(a_row_is_refused_without_its_master_key_and_under_another_id)
{
    struct io_mem *m = io_mem_open(1);
    AUTO(hose) h = hose_new(S("000000000000"), S("us-east-1"), S("s"), 5);
    AUTO(hose) back = NULL;
    HoseFields f = some_fields();
    Str row = row_of(m, a, h, &f), key = S("000000000000/us-east-1/s");
    EXPECT_ERR(ERR_CORRUPT, hose_row_read(a, NULL, key, row, &back));
    size_t at = str_search(row, S("\"id\":\"5\""));
    char *changed = str_c(a, row);
    changed[at + 6] = '6';
    EXPECT_ERR(ERR_CORRUPT, hose_row_read(a, master, key, str_of(changed), &back));
    EXPECT_ERR(ERR_CORRUPT, hose_row_read(a, master, S("x/y"), row, &back));
    EXPECT_ERR(ERR_FORMAT, hose_row_read(a, master, key, S("{\"version\":2}"), &back));
    io_mem_close(m);
}

TEST(encryption_is_started_and_stopped_25_times_a_day)
{
    HoseFields f = { 0 };
    for (int i = 0; i < HOSE_TURNS_MAX; i++)
        EXPECT(hose_take_turn(&f, 1000 + i));
    EXPECT(!hose_take_turn(&f, 5000));
    EXPECT(!hose_take_turn(&f, 999 + 86400000));
    EXPECT(hose_take_turn(&f, 1000 + 86400000));
    EXPECT(!hose_take_turn(&f, 1000 + 86400000));
}

TEST(a_status_is_told_by_the_clock)
{
    HoseFields f = { .active_ms = 100 };
    EXPECT_INT(HOSE_CREATING, hose_status(&f, 99));
    EXPECT_INT(HOSE_ACTIVE, hose_status(&f, 100));
    f.deleting = true;
    EXPECT_STR(S("DELETING"), hose_status_name(hose_status(&f, 99)));
}
