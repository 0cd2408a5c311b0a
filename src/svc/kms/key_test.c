// SPDX-License-Identifier: Apache-2.0
// Keys, their rows, what they encrypt, and the master key.
#include "base/test.h"
#include "os/io_mem.h"
#include "svc/kms/key.h"

#define DAY_MS (INT64_C(86400) * 1000)

static struct key *made(struct io *io)
{
    struct key *k = NULL;
    EXPECT_OK(key_new(io, S("000000000000"), S("us-east-1"), 1000, &k));
    return k;
}

TEST(a_key_is_the_same_after_it_was_written_and_read)
{
    struct io_mem *disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    unsigned char master[GCM_KEY_BYTES] = { 9 };
    AUTO(key) k = made(io);
    AUTO(key) back = NULL;
    AUTO_BUF(row);
    k->description = S("mine");
    k->rotation_days = 90;
    k->rotation_from_ms = 1000;
    key_set_tag(k, S("b"), S("2"));
    key_set_tag(k, S("a"), S("1"));
    key_set_tag(k, S("b"), S("3"));
    key_add_material(io, k, 2000, true);
    key_row_write(io, master, &row, k);
    EXPECT_OK(key_row_read(master, a, key_row_key(a, k), buf_str(&row), &back));
    EXPECT_STR(k->arn, back->arn);
    EXPECT_STR(S("mine"), back->description);
    EXPECT_STR(policy_document(k->policy), policy_document(back->policy));
    EXPECT_INT(2, back->tag_count);
    EXPECT_STR(S("a"), back->tags[0].key);
    EXPECT_STR(S("3"), back->tags[1].value);
    EXPECT_INT(2, back->material_count);
    EXPECT(back->materials[1].on_demand && !back->materials[0].on_demand);
    EXPECT(memcmp(back->materials[1].secret, k->materials[1].secret, GCM_KEY_BYTES) == 0);
    EXPECT(str_search(buf_str(&row), str_from(k->materials[0].secret, GCM_KEY_BYTES)) ==
           buf_str(&row).n); // no secret in plain
    io_mem_close(disk);
}

TEST(a_row_of_another_master_key_or_a_changed_one_is_refused)
{
    struct io_mem *disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    unsigned char master[GCM_KEY_BYTES] = { 9 }, other[GCM_KEY_BYTES] = { 8 };
    AUTO(key) k = made(io);
    AUTO(key) second = made(io);
    AUTO(key) back = NULL;
    AUTO_BUF(row);
    key_row_write(io, master, &row, k);
    Str name = key_row_key(a, k), text = buf_str(&row);
    EXPECT_ERR(ERR_CORRUPT, key_row_read(other, a, name, text, &back));
    EXPECT_ERR(ERR_CORRUPT, key_row_read(master, a, key_row_key(a, second), text, &back));
    EXPECT_ERR(ERR_CORRUPT, key_row_read(master, a, S("x/y"), text, &back));
    EXPECT_ERR(ERR_CORRUPT, key_row_read(master, a, name, str_head(text, text.n - 5), &back));
    EXPECT_ERR(ERR_CORRUPT, key_row_read(master, a, name, S("{}"), &back));
    EXPECT_ERR(ERR_FORMAT, key_row_read(master, a, name, S("{\"version\":2}"), &back));
    io_mem_close(disk);
}

TEST(what_a_key_encrypts_it_decrypts_with_the_same_context_also_after_rotation)
{
    struct io_mem *disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    AUTO(key) k = made(io);
    Str plain = S("hello"), back, material, id;
    Str blob = key_encrypt(io, k, a, S("context"), plain);
    Str again = key_encrypt(io, k, a, S("context"), plain);
    EXPECT(!str_eq(blob, again)); // no nonce twice
    EXPECT_INT(plain.n + KEY_BLOB_EXTRA_BYTES, blob.n);
    EXPECT_OK(key_of_blob(a, blob, &id));
    EXPECT_STR(k->id, id);
    key_add_material(io, k, 2000, false);
    Str later = key_encrypt(io, k, a, S("context"), plain);
    EXPECT_OK(key_decrypt(k, a, S("context"), blob, &back, &material));
    EXPECT_STR(plain, back);
    EXPECT_STR(k->materials[0].id, material);
    EXPECT_OK(key_decrypt(k, a, S("context"), later, &back, &material));
    EXPECT_STR(k->materials[1].id, material);
    EXPECT_ERR(ERR_CORRUPT, key_decrypt(k, a, S("other"), blob, &back, &material));
    for (size_t i = 0; i < blob.n; i++) {
        char *changed = str_c(a, blob);
        memcpy(changed, blob.p, blob.n);
        changed[i] ^= 1;
        Str bad = str_from(changed, blob.n);
        bool refused = key_of_blob(a, bad, &id).kind == ERR_INVALID ||
                       key_decrypt(k, a, S("context"), bad, &back, &material).kind == ERR_CORRUPT;
        EXPECT(refused);
    }
    EXPECT_ERR(ERR_INVALID, key_of_blob(a, S("HRK"), &id));
    io_mem_close(disk);
}

TEST(a_copy_shares_nothing_with_the_key_it_was_made_from)
{
    struct io_mem *disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    struct key *k = made(io);
    key_set_tag(k, S("a"), S("1"));
    AUTO(key) copy = key_copy(k);
    Str blob = key_encrypt(io, k, a, S(""), S("x")), back, material;
    key_set_tag(copy, S("a"), S("2"));
    key_add_material(io, copy, 5, false);
    EXPECT_INT(1, k->material_count);
    EXPECT_STR(S("1"), k->tags[0].value);
    key_unref(k); // its memory is gone
    EXPECT_OK(key_decrypt(copy, a, S(""), blob, &back, &material));
    EXPECT_STR(S("2"), copy->tags[0].value);
    io_mem_close(disk);
}

TEST(a_key_is_rotated_when_its_period_is_over)
{
    struct io_mem *disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    AUTO(key) k = made(io);
    EXPECT_INT(INT64_MAX, key_next_rotation_ms(k));
    k->rotation_days = 90;
    k->rotation_from_ms = 10 * DAY_MS;
    EXPECT_INT(100 * DAY_MS, key_next_rotation_ms(k));
    key_add_material(io, k, 50 * DAY_MS, true); // on demand: of no influence
    EXPECT_INT(100 * DAY_MS, key_next_rotation_ms(k));
    key_add_material(io, k, 100 * DAY_MS, false);
    EXPECT_INT(190 * DAY_MS, key_next_rotation_ms(k));
    io_mem_close(disk);
}
