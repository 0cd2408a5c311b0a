// SPDX-License-Identifier: Apache-2.0
// Secrets of access keys: sealed where they are kept, also those of an older program.
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "svc/iam/iam_test_world.h"

extern const struct service iam_service;

#define OLD_SECRET "OldPlainSecretOfFortyCharacters+/4567890"
#define OLD_TOKEN "OldPlainTokenOfASession"

// Whether any file of the store holds it.
static bool files_hold(struct io *io, struct arena *a, Str text)
{
    static const Str files[] = { S_INIT("/kv"), S_INIT("/kv-wal") };
    bool found = false;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        Str content;
        if (io_read_file(io, a, files[i], 64 << 20, &content).kind == ERR_NONE)
            found |= str_search(content, text) < content.n;
    }
    return found;
}

// The row of a program that sealed nothing.
static Str old_row(struct arena *a, Str token)
{
    return str_fmt(a,
                   "{\"version\":1,\"secret\":\"" OLD_SECRET "\",\"token\":\"%.*s\","
                   "\"account\":\"000000000000\","
                   "\"principal\":\"arn:aws:iam::000000000000:user/bob\",\"kind\":\"user\","
                   "\"name\":\"bob\",\"entity_id\":\"AIDAX\",\"session_name\":\"\",\"active\":1,"
                   "\"created_ms\":5,\"expires_ms\":0,\"session\":[]}",
                   FMT(token));
}

static Err put_row(struct kv *kv, Str key, Str row)
{
    struct kv_table *t;
    TRY(kv_table_open(kv, S("iam.keys"), &t));
    AUTO(kv_txn) tx = kv_write(t);
    TRY(kv_put(tx, key, row));
    return kv_commit(tx);
}

static void expect_old_keys(struct iam_world *w, struct arena *a)
{
    Key key;
    EXPECT_OK(keyring_find(w->keys, a, S("HRUKOLD1"), &key));
    EXPECT_STR(S(OLD_SECRET), key.secret);
    EXPECT(key.session_token.p == NULL);
    EXPECT_OK(keyring_find(w->keys, a, S("HRUKOLD2"), &key));
    EXPECT_STR(S(OLD_SECRET), key.secret);
    EXPECT_STR(S(OLD_TOKEN), key.session_token);
}

TEST(a_secret_is_in_no_file_of_the_store)
{
    struct iam_world w;
    iam_world_open(&w);
    struct iam_CreateUser_in user = { .user_name = S("bob"), .path = S("/") };
    struct iam_CreateUser_out made = { 0 };
    struct iam_CreateAccessKey_in in = { .user_name = S("bob") };
    struct iam_CreateAccessKey_out out = { 0 };
    EXPECT_OK(iam_world_run(&w, a, "CreateUser", &user, &made, NULL));
    EXPECT_OK(iam_world_run(&w, a, "CreateAccessKey", &in, &out, NULL));
    HubSessionWant want = { .seconds = 900 };
    HubSession session;
    EXPECT_OK(w.hub.identities->session(w.hub.identities->self, iam_world_call(&w, a, "GetUser"),
                                        &want, &session));
    struct io *io = io_mem_io(w.disk);
    EXPECT(files_hold(io, a, out.access_key->access_key_id)); // it would be found
    EXPECT(!files_hold(io, a, out.access_key->secret_access_key));
    EXPECT(!files_hold(io, a, session.secret) && !files_hold(io, a, session.token));
    iam_world_reopen(&w);
    Key key;
    EXPECT_OK(keyring_find(w.keys, a, out.access_key->access_key_id, &key));
    EXPECT_STR(out.access_key->secret_access_key, key.secret);
    EXPECT_OK(keyring_find(w.keys, a, session.access_key, &key));
    EXPECT_STR(session.secret, key.secret);
    EXPECT_STR(session.token, key.session_token);
    iam_world_close(&w);
}

TEST(what_an_older_program_kept_in_plain_is_sealed_and_gone_from_the_files)
{
    struct iam_world w;
    iam_world_open(&w);
    EXPECT_OK(put_row(w.kv, S("HRUKOLD1"), old_row(a, S(""))));
    EXPECT_OK(put_row(w.kv, S("HRUKOLD2"), old_row(a, S(OLD_TOKEN))));
    EXPECT(files_hold(io_mem_io(w.disk), a, S(OLD_SECRET)));
    for (int round = 0; round < 2; round++) {
        iam_world_reopen(&w);
        expect_old_keys(&w, a);
        EXPECT(!files_hold(io_mem_io(w.disk), a, S(OLD_SECRET)));
        EXPECT(!files_hold(io_mem_io(w.disk), a, S(OLD_TOKEN)));
    }
    iam_world_close(&w);
}

// A start on the disk as it is; keys that could be read are in the ring.
static Err start_on(struct io *io, struct kv *kv, struct keyring *keys)
{
    struct hub hub = { 0 };
    struct service_env env = { .io = io, .kv = kv, .hub = &hub, .keys = keys };
    void *iam;
    TRY(iam_service.open(&env, &iam));
    iam_service.close(iam);
    return OK;
}

// Without sealing a start may fail; the next one that is let finishes it.
TEST(a_power_cut_while_secrets_are_sealed_loses_no_key)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        ArenaMark mark = arena_mark(a);
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        AUTO(kv) kv = NULL;
        AUTO(keyring) ring = NULL;
        keyring_open(false, &ring);
        EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &kv));
        EXPECT_OK(put_row(kv, S("HRUKOLD1"), old_row(a, S(""))));
        EXPECT_OK(put_row(kv, S("HRUKOLD2"), old_row(a, S(OLD_TOKEN))));
        io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE,
                                        .skip = n,
                                        .tear = IO_TEAR_SECTORS,
                                        .power_off = true });
        err_ignore(start_on(io_fault_io(faults), kv, ring));
        passed = io_fault_hits(faults) == 0;
        AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n * 17 });
        struct iam_world w = { .now_ns = 0 };
        AUTO(kv) again = NULL;
        AUTO(keyring) keys = NULL;
        keyring_open(false, &keys);
        EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &again));
        EXPECT_OK(start_on(io_mem_io(later), again, keys));
        w.keys = keys;
        expect_old_keys(&w, a);
        EXPECT(!files_hold(io_mem_io(later), a, S(OLD_SECRET)));
        arena_rewind(a, mark);
    }
    EXPECT(n > 10);
}

TEST(access_keys_without_their_master_key_stop_the_start)
{
    struct iam_world w;
    iam_world_open(&w);
    HubSessionWant want = { .seconds = 900 };
    HubSession session;
    AUTO(keyring) keys = NULL;
    EXPECT_OK(w.hub.identities->session(w.hub.identities->self, iam_world_call(&w, a, "GetUser"),
                                        &want, &session));
    struct io *io = io_mem_io(w.disk);
    EXPECT_OK(io->unlink(io, S("/master.key")));
    keyring_open(false, &keys);
    EXPECT_ERR(ERR_CORRUPT, start_on(io, w.kv, keys));
    EXPECT_OK(put_row(w.kv, S("HRUKNEWER"), S("{\"version\":3}")));
    EXPECT_ERR(ERR_CORRUPT, start_on(io, w.kv, keys)); // the first row that cannot be read
    iam_world_close(&w);
}

TEST(a_row_is_bound_to_its_access_key_and_a_newer_one_is_refused)
{
    const unsigned char master[GCM_KEY_BYTES] = { 7 }, other[GCM_KEY_BYTES] = { 8 };
    struct io_mem *disk = io_mem_open(1);
    AUTO(signer) k = signer_new();
    AUTO(signer) back = NULL;
    AUTO_BUF(row);
    bool plain = true;
    HubTag tags[] = { { S("team"), S("a"), true }, { S("cost"), S(""), false } };
    k->access_key = S("HRSKX");
    k->secret = str_dup(k->arena, S("s3cret"));
    k->account = S("000000000000");
    k->source_identity = S("alice");
    k->tags = tags;
    k->tag_count = COUNT_OF(tags);
    signer_row_write(io_mem_io(disk), master, a, &row, k);
    EXPECT_ERR(ERR_CORRUPT, signer_row_read(NULL, a, S("HRSKX"), buf_str(&row), &back, &plain));
    EXPECT_ERR(ERR_CORRUPT, signer_row_read(other, a, S("HRSKX"), buf_str(&row), &back, &plain));
    EXPECT_ERR(ERR_CORRUPT, signer_row_read(master, a, S("HRSKY"), buf_str(&row), &back, &plain));
    EXPECT_OK(signer_row_read(master, a, S("HRSKX"), buf_str(&row), &back, &plain));
    EXPECT(!plain && back->token.p == NULL);
    EXPECT_STR(S("s3cret"), back->secret);
    EXPECT_STR(S("alice"), back->source_identity);
    EXPECT_INT(2, back->tag_count);
    EXPECT(back->tags[0].transitive && !back->tags[1].transitive);
    EXPECT_STR(S("team"), back->tags[0].key);
    EXPECT_STR(S(""), back->tags[1].value);
    signer_unref(back);
    back = NULL;
    EXPECT_ERR(ERR_FORMAT,
               signer_row_read(master, a, S("HRSKX"), S("{\"version\":3}"), &back, &plain));
    EXPECT_ERR(ERR_CORRUPT, signer_row_read(master, a, S("HRSKX"), S("[]"), &back, &plain));
    io_mem_close(disk);
}
