// SPDX-License-Identifier: Apache-2.0
// Aggregates of the Kinesis Producer Library (aggregation-format.md of amazon-kinesis-producer):
//
//     F3 89 9A C2   protobuf AggregatedRecord   MD5 of the protobuf
//
//     AggregatedRecord  1 partition_key_table, repeated string
//                       2 explicit_hash_key_table, repeated string
//                       3 records, repeated Record
//     Record            1 partition_key_index  2 explicit_hash_key_index  3 data  4 tags
//
// What is not whole is a record like any other, as the Kinesis Client Library has it.
#include "codec/hash.h"
#include "delivery/process_priv.h"

enum { MAGIC_BYTES = 4, WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static const unsigned char magic[MAGIC_BYTES] = { 0xf3, 0x89, 0x9a, 0xc2 };

typedef struct Field {
    uint64_t number;
    unsigned wire;
    uint64_t value; // WIRE_VARINT
    Str bytes;      // WIRE_BYTES
} Field;

static bool take_varint(Str *s, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && s->n > 0; shift += 7) {
        unsigned char c = (unsigned char)s->p[0];
        *s = str_skip(*s, 1);
        value |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static bool take_field(Str *s, Field *ret)
{
    uint64_t tag, n = 0;
    if (!take_varint(s, &tag))
        return false;
    *ret = (Field){ .number = tag >> 3, .wire = (unsigned)(tag & 7) };
    switch (ret->wire) {
    case WIRE_VARINT:
        return take_varint(s, &ret->value);
    case WIRE_64:
        n = 8;
        break;
    case WIRE_32:
        n = 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(s, &n))
            return false;
        break;
    default:
        return false;
    }
    if (n > s->n)
        return false;
    ret->bytes = str_head(*s, n);
    *s = str_skip(*s, n);
    return true;
}

// How many keys and records there are; false: it is no such message.
static bool count(Str s, size_t *ret_keys, size_t *ret_records)
{
    *ret_keys = *ret_records = 0;
    while (s.n > 0) {
        Field f;
        if (!take_field(&s, &f))
            return false;
        if (f.number >= 1 && f.number <= 3 && f.wire != WIRE_BYTES)
            return false;
        *ret_keys += f.number == 1 ? 1 : 0;
        *ret_records += f.number == 3 ? 1 : 0;
    }
    return *ret_records > 0;
}

static bool read_record(Str s, const Str *keys, size_t key_count, KplRecord *ret)
{
    bool has_key = false, has_data = false;
    while (s.n > 0) {
        Field f;
        if (!take_field(&s, &f))
            return false;
        if (f.number == 1) {
            if (f.wire != WIRE_VARINT || f.value >= key_count)
                return false;
            ret->key = keys[f.value];
            has_key = true;
        } else if (f.number == 3) {
            if (f.wire != WIRE_BYTES)
                return false;
            ret->data = f.bytes;
            has_data = true;
        }
    }
    return has_key && has_data;
}

static bool read_all(struct arena *a, Str body, KplRecord **ret, size_t *ret_n)
{
    size_t key_count, record_count, keys_n = 0, n = 0;
    if (!count(body, &key_count, &record_count))
        return false;
    Str *keys = arena_try_new(a, Str, key_count + 1);
    KplRecord *records = arena_try_new(a, KplRecord, record_count);
    if (keys == NULL || records == NULL)
        return false;
    for (Str s = body; s.n > 0;) { // the table may stand behind the records
        Field f;
        CHECK(take_field(&s, &f));
        if (f.number == 1)
            keys[keys_n++] = f.bytes;
    }
    for (Str s = body; s.n > 0;) {
        Field f;
        CHECK(take_field(&s, &f));
        if (f.number == 3 && !read_record(f.bytes, keys, key_count, &records[n++]))
            return false;
    }
    *ret = records;
    *ret_n = n;
    return true;
}

bool kpl_parse(struct arena *a, Str bytes, KplRecord **ret, size_t *ret_n)
{
    unsigned char digest[MD5_BYTES];
    if (bytes.n < MAGIC_BYTES + MD5_BYTES || memcmp(bytes.p, magic, MAGIC_BYTES) != 0)
        return false;
    Str body = str_skip(str_head(bytes, bytes.n - MD5_BYTES), MAGIC_BYTES);
    md5(body.p, body.n, digest);
    return memcmp(digest, body.p + body.n, MD5_BYTES) == 0 && read_all(a, body, ret, ret_n);
}

// What backups and error records show is the inner record, not its transport.
Err process_kpl(struct processing *p, DeliveryBatch *b)
{
    (void)p;
    Before before = process_begin(b);
    for (size_t i = 0; i < before.n; i++) {
        DeliveryRecord r = before.at[i];
        KplRecord *inner = NULL;
        size_t n = 0;
        if (!kpl_parse(b->arena, r.data, &inner, &n)) {
            batch_add(b, &r);
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            r.data = r.raw = inner[k].data;
            r.key = inner[k].key;
            batch_add(b, &r);
        }
    }
    return OK;
}
