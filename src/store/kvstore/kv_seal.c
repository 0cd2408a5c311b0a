// SPDX-License-Identifier: Apache-2.0
// What SQLite does not notice: a flipped bit inside a row. Behind every value stands a CRC32C of
// the number of its table, its key and its bytes, so that a row is told from its damage and from
// any other row. The names of tables and the last number given are sealed alike, in rows of table
// 0 and in a column of kv_state.
#include "store/kvstore/kv_priv.h"

#include "codec/crc.h"
#include "codec/little.h"
#include "store/kvstore/sqlite_vfs.h"

#include <string.h>

enum { KEY_OF_BYTES = 12 };

static uint32_t row_crc(int64_t table, Str key, Str value)
{
    uint8_t head[KEY_OF_BYTES];
    put64(head, (uint64_t)table);
    put32(head + 8, (uint32_t)key.n);
    return crc32c(crc32c(crc32c(0, head, sizeof head), key.p, key.n), value.p, value.n);
}

bool kv_unseal(int64_t table, Str key, Str sealed, Str *ret_value)
{
    if (sealed.n < KV_SEAL_BYTES)
        return false;
    Str value = str_head(sealed, sealed.n - KV_SEAL_BYTES);
    if (get32((const uint8_t *)sealed.p + value.n) != row_crc(table, key, value))
        return false;
    *ret_value = value;
    return true;
}

// ---- In SQL

static Str blob_of(sqlite3_value *v)
{
    const void *p = sqlite3_value_blob(v);
    size_t n = (size_t)sqlite3_value_bytes(v);
    return n > 0 ? str_from(p, n) : S("");
}

// kv_seal(table, key, value): the value as it is stored.
static void seal(sqlite3_context *c, int n, sqlite3_value **args)
{
    (void)n;
    int64_t table = sqlite3_value_int64(args[0]);
    Str key = blob_of(args[1]), value = blob_of(args[2]);
    char *sealed = sqlite3_malloc64(value.n + KV_SEAL_BYTES);
    if (sealed == NULL) {
        sqlite3_result_error_nomem(c);
        return;
    }
    memcpy(sealed, value.p, value.n);
    put32((uint8_t *)sealed + value.n, row_crc(table, key, value));
    sqlite3_result_blob64(c, sealed, value.n + KV_SEAL_BYTES, sqlite3_free);
}

// kv_sound(table, key, sealed value): whether it is what was sealed.
static void sound(sqlite3_context *c, int n, sqlite3_value **args)
{
    (void)n;
    Str value;
    sqlite3_result_int(
        c, kv_unseal(sqlite3_value_int64(args[0]), blob_of(args[1]), blob_of(args[2]), &value));
}

Err kv_seal_setup(sqlite3 *db)
{
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    TRY(sqlite_vfs_err(
        sqlite3_create_function_v2(db, "kv_seal", 3, flags, NULL, seal, NULL, NULL, NULL)));
    return sqlite_vfs_err(
        sqlite3_create_function_v2(db, "kv_sound", 3, flags, NULL, sound, NULL, NULL, NULL));
}

// ---- All of a store

// Rows that are not sound, tables that are not sealed as they are named, seals without a table, and
// the number that was given last.
const char kv_count_damaged[] =
    "SELECT (SELECT count(*) FROM kv_row WHERE NOT kv_sound(t, k, v))"
    " + (SELECT count(*) FROM kv_table WHERE NOT EXISTS (SELECT 1 FROM kv_row WHERE t = 0 AND"
    " k = name AND v = kv_seal(0, name, CAST(id AS BLOB))))"
    " + abs((SELECT count(*) FROM kv_row WHERE t = 0) - (SELECT count(*) FROM kv_table))"
    " + (SELECT count(*) FROM kv_state WHERE seal IS NOT kv_seal(0, '', CAST(next_id AS BLOB)))"
    " + abs((SELECT count(*) FROM kv_state) - 1)";

// Format 1 had no seals.
const char kv_seal_all[] = "UPDATE kv_row SET v = kv_seal(t, k, v);"
                           "INSERT INTO kv_row (t, k, v)"
                           " SELECT 0, name, kv_seal(0, name, CAST(id AS BLOB)) FROM kv_table;"
                           "ALTER TABLE kv_state ADD COLUMN seal BLOB;"
                           "UPDATE kv_state SET seal = kv_seal(0, '', CAST(next_id AS BLOB));";
