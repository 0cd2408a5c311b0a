// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "store/master.h"

TEST(the_master_key_is_made_once_and_a_damaged_file_is_refused)
{
    Str dir = test_dir(a), path = str_cat(a, dir, S("/master.key")), content;
    struct io *io = io_real();
    unsigned char one[GCM_KEY_BYTES], two[GCM_KEY_BYTES];
    EXPECT_ERR(ERR_NOT_FOUND, master_read(io, dir, one));
    EXPECT_OK(master_read_or_make(io, dir, one));
    EXPECT_OK(master_read(io, dir, two));
    EXPECT(memcmp(one, two, sizeof one) == 0);
    EXPECT_OK(master_read_or_make(io, dir, two));
    EXPECT(memcmp(one, two, sizeof one) == 0);
    EXPECT_OK(io_read_file(io, a, path, 4096, &content));
    char *changed = str_c(a, content);
    changed[content.n / 2] ^= 1;
    EXPECT_OK(io_write_file(io, a, path, str_from(changed, content.n)));
    EXPECT_ERR(ERR_CORRUPT, master_read_or_make(io, dir, two)); // and is not replaced
    EXPECT_OK(io_write_file(io, a, path, str_head(content, content.n / 2)));
    EXPECT_ERR(ERR_CORRUPT, master_read(io, dir, two));
}

TEST(a_sealed_secret_opens_under_its_name_and_key_alone)
{
    const unsigned char one[GCM_KEY_BYTES] = { 1 }, two[GCM_KEY_BYTES] = { 2 };
    struct io *io = io_real();
    const Str secrets[] = { S_INIT(""), S_INIT("x"),
                            S_INIT("forty characters of a secret access key.") };
    for (size_t i = 0; i < COUNT_OF(secrets); i++) {
        Str sealed = master_seal(io, one, a, S("row"), secrets[i]), back = { 0 };
        EXPECT_OK(master_unseal(one, a, S("row"), sealed, &back));
        EXPECT_STR(secrets[i], back);
        EXPECT(!str_eq(sealed, master_seal(io, one, a, S("row"), secrets[i]))); // another nonce
        EXPECT_ERR(ERR_CORRUPT, master_unseal(one, a, S("other"), sealed, &back));
        EXPECT_ERR(ERR_CORRUPT, master_unseal(two, a, S("row"), sealed, &back));
        EXPECT_ERR(ERR_CORRUPT,
                   master_unseal(one, a, S("row"), str_head(sealed, sealed.n - 4), &back));
    }
    EXPECT_ERR(ERR_CORRUPT, master_unseal(one, a, S("row"), S(""), &(Str){ 0 }));
    EXPECT_ERR(ERR_CORRUPT, master_unseal(one, a, S("row"), S("no base64!"), &(Str){ 0 }));
}
