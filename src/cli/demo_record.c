// SPDX-License-Identifier: Apache-2.0
// What the demo's records look like, and which keys lead to which shard.
#include "base/buf.h"
#include "cli/demo_load.h"
#include "codec/hash.h"

enum { KEY_TRIES_MAX = 1 << 20, PAGES = 20 };

__extension__ typedef unsigned __int128 uint128;

static uint128 decimal(Str s)
{
    uint128 n = 0;
    for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        n = n * 10 + (unsigned)(s.p[i] - '0');
    return n;
}

static uint128 hash_of(Str key)
{
    unsigned char digest[MD5_BYTES];
    md5(key.p, key.n, digest);
    uint128 n = 0;
    for (size_t i = 0; i < MD5_BYTES; i++)
        n = n << 8 | digest[i];
    return n;
}

Str demo_key(struct arena *a, const ShardInfo *shard, uint64_t i)
{
    uint128 first = decimal(shard->first_hash), last = decimal(shard->last_hash);
    for (uint64_t t = 0; t < KEY_TRIES_MAX; t++) {
        ArenaMark mark = arena_mark(a);
        Str key = str_fmt(a, "user-%llu", (unsigned long long)(i * 1000 + t));
        uint128 hash = hash_of(key);
        if (hash >= first && hash <= last)
            return key;
        arena_rewind(a, mark);
    }
    return S("user"); // a shard narrower than a millionth: any key will do
}

void demo_record_write(struct buf *b, const DemoRecord *r, Str user, size_t bytes)
{
    size_t from = b->n;
    buf_addf(b, "{\"producer\":%u,\"number\":%llu,\"sent_ns\":%lld,\"user\":\"%.*s\",", r->producer,
             (unsigned long long)r->number, (long long)r->sent_ns, FMT(user));
    buf_addf(b, "\"page\":\"/product/%u\",\"pad\":\"", (unsigned)(r->number % PAGES));
    for (size_t n = b->n - from + 2; n < bytes; n++)
        buf_add_byte(b, '.');
    buf_add(b, S("\"}"));
}

// The digits after `name` at the beginning of *rest, up to the comma.
static bool take_number(Str *rest, Str name, Str *ret)
{
    if (!str_starts(*rest, name))
        return false;
    return str_cut(str_skip(*rest, name.n), ',', ret, rest);
}

Err demo_record_read(Str data, DemoRecord *ret)
{
    Str rest = data, producer, number, sent;
    if (!take_number(&rest, S("{\"producer\":"), &producer) ||
        !take_number(&rest, S("\"number\":"), &number) ||
        !take_number(&rest, S("\"sent_ns\":"), &sent))
        return fail(ERR_INVALID, "not a record of the demo");
    DemoRecord r = { 0 };
    uint64_t index;
    TRY(str_u64(producer, &index));
    TRY(str_u64(number, &r.number));
    TRY(str_i64(sent, &r.sent_ns));
    if (index >= DEMO_PRODUCERS_MAX)
        return fail(ERR_INVALID, "not a producer of the demo");
    r.producer = (unsigned)index;
    *ret = r;
    return OK;
}
