// SPDX-License-Identifier: Apache-2.0
// Any bytes as an aggregate of the Kinesis Producer Library: as they are, and with the magic and
// the digest that let the fields be read. What is read lies within them.
#include "codec/hash.h"
#include "delivery/process_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_it(Str bytes)
{
    AUTO(arena) a = arena_open();
    KplRecord *records = NULL;
    size_t n = 0;
    if (!kpl_parse(a, bytes, &records, &n))
        return;
    CHECK(n > 0);
    for (size_t i = 0; i < n; i++) {
        const Str parts[] = { records[i].key, records[i].data };
        for (size_t k = 0; k < COUNT_OF(parts); k++)
            CHECK(parts[k].n == 0 ||
                  (parts[k].p >= bytes.p && parts[k].p + parts[k].n <= bytes.p + bytes.n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF(b);
    unsigned char digest[MD5_BYTES];
    try_it(str_from(data, size));
    md5(data, size, digest);
    buf_add(&b, S("\xf3\x89\x9a\xc2"));
    buf_add(&b, str_from(data, size));
    buf_add(&b, str_from(digest, sizeof digest));
    try_it(buf_str(&b));
    return 0;
}
