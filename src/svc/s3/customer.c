// SPDX-License-Identifier: Apache-2.0
// Keys of customers (SSE-C; Amazon S3 User Guide, "Using server-side encryption with
// customer-provided keys"). The key comes with each request and is never kept, nor is its MD5. It
// wraps the object's own data key, so that it may be used for any number of objects and stores;
// that the wrapped key opens is how a right key is known. Such requests need TLS, as with AWS, but
// in the profile dev.
#include "codec/base64.h"
#include "codec/checksum.h"
#include "codec/gcm.h"
#include "codec/hash.h"
#include "os/io.h"
#include "svc/s3/s3.h"

enum { WRAPPED_BYTES = GCM_NONCE_BYTES + BLOB_SEAL_BYTES + GCM_TAG_BYTES };

#define WRAPPED S("s3-customer")
#define BOUND S("headrace s3 customer key")

static Str header(const struct call *c, bool of_source, const char *name)
{
    if (c->exchange == NULL)
        return (Str){ 0 };
    return http_header(c->exchange, str_fmt(c->arena, "x-amz-%sserver-side-encryption-customer-%s",
                                            of_source ? "copy-source-" : "", name));
}

static Err wrong(struct call *c, const char *name, Str value, const char *text)
{
    call_detail(c, S("ArgumentName"),
                str_fmt(c->arena, "x-amz-server-side-encryption-customer-%s", name));
    call_detail(c, S("ArgumentValue"), value.p != NULL ? value : S("null"));
    return call_fail(c, &s3_InvalidArgument, "%s", text);
}

static bool decode(Str text, unsigned char *out, size_t n)
{
    char bytes[128];
    if (text.n == 0 || base64_decoded_max(text.n) > sizeof bytes)
        return false;
    Base64Result r = base64_decode(bytes, text.p, text.n);
    bool good = r.fault == BASE64_GOOD && r.n == n;
    if (good)
        memcpy(out, bytes, n);
    explicit_bzero(bytes, sizeof bytes);
    return good;
}

static bool has_md5(const unsigned char key[GCM_KEY_BYTES], Str text)
{
    unsigned char said[MD5_BYTES], is[CHECKSUM_BYTES_MAX];
    AUTO(checksum) sum = NULL;
    checksum_open(CHECKSUM_MD5, &sum);
    checksum_add(sum, key, GCM_KEY_BYTES);
    checksum_end(sum, is);
    return decode(text, said, sizeof said) && memcmp(said, is, sizeof said) == 0;
}

Err s3_customer_key(struct call *c, bool of_source, unsigned char ret_key[GCM_KEY_BYTES],
                    bool *ret_given)
{
    Str algorithm = header(c, of_source, "algorithm"), key = header(c, of_source, "key"),
        md5 = header(c, of_source, "key-md5");
    *ret_given = algorithm.p != NULL || key.p != NULL || md5.p != NULL;
    if (!*ret_given)
        return OK;
    if (!c->exchange->tls && !s3_of(c)->env.dev)
        return call_fail(c, &s3_InvalidRequest,
                         "Requests specifying Server Side Encryption with Customer provided keys "
                         "must be made over a secure connection.");
    if (algorithm.p == NULL)
        return wrong(c, "algorithm", algorithm,
                     "Requests specifying Server Side Encryption with Customer provided keys must "
                     "provide a valid encryption algorithm.");
    if (!str_eq(algorithm, S("AES256"))) {
        call_detail(c, S("ArgumentName"), S("x-amz-server-side-encryption-customer-algorithm"));
        call_detail(c, S("ArgumentValue"), algorithm);
        return call_fail(c, &s3_InvalidEncryptionAlgorithmError,
                         "The Encryption request you specified is not valid. Supported value: "
                         "AES256.");
    }
    if (key.p == NULL)
        return wrong(c, "key", key,
                     "Requests specifying Server Side Encryption with Customer provided keys must "
                     "provide an appropriate secret key.");
    if (md5.p == NULL)
        return wrong(c, "key-MD5", md5,
                     "Requests specifying Server Side Encryption with Customer provided keys must "
                     "provide the client calculated MD5 of the secret key.");
    // What was sent as a key is not said again.
    if (!decode(key, ret_key, GCM_KEY_BYTES))
        return wrong(c, "key", (Str){ 0 },
                     "The secret key was invalid for the specified algorithm.");
    if (!has_md5(ret_key, md5))
        return wrong(c, "key-MD5", md5,
                     "The calculated MD5 hash of the key did not match the hash that was "
                     "provided.");
    return OK;
}

// Both replies to puts and to gets say which key it was.
static void tell(struct call *c)
{
    call_header(c, S("x-amz-server-side-encryption-customer-algorithm"), S("AES256"));
    call_header(c, S("x-amz-server-side-encryption-customer-key-MD5"), header(c, false, "key-md5"));
}

Err s3_customer_wrap(struct call *c, const unsigned char key[GCM_KEY_BYTES],
                     struct attributes *into, unsigned char ret_data_key[BLOB_SEAL_BYTES])
{
    unsigned char wrapped[WRAPPED_BYTES];
    struct io *io = s3_of(c)->env.io;
    AUTO(gcm) g = NULL;
    io->random(io, ret_data_key, BLOB_SEAL_BYTES);
    io->random(io, wrapped, GCM_NONCE_BYTES);
    gcm_open_seal(key, &g);
    gcm_seal(g, wrapped, BOUND, str_from(ret_data_key, BLOB_SEAL_BYTES), wrapped + GCM_NONCE_BYTES,
             wrapped + GCM_NONCE_BYTES + BLOB_SEAL_BYTES);
    attributes_add(into, WRAPPED, s3_checksum_text(c->arena, wrapped, sizeof wrapped));
    tell(c);
    return OK;
}

bool s3_is_customers(BlobPairs attributes)
{
    return blob_pair(attributes, WRAPPED).p != NULL;
}

static Err unwrap(struct call *c, const unsigned char key[GCM_KEY_BYTES], Str text, bool of_part,
                  unsigned char ret_data_key[BLOB_SEAL_BYTES])
{
    unsigned char wrapped[WRAPPED_BYTES];
    AUTO(gcm) g = NULL;
    if (!decode(text, wrapped, sizeof wrapped))
        return fail(ERR_CORRUPT, "the wrapped data key of an object is damaged");
    gcm_open_unseal(key, &g);
    Err e = gcm_unseal(g, wrapped, BOUND, str_from(wrapped + GCM_NONCE_BYTES, BLOB_SEAL_BYTES),
                       wrapped + GCM_NONCE_BYTES + BLOB_SEAL_BYTES, ret_data_key);
    if (e.kind != ERR_CORRUPT)
        return e;
    return of_part ? call_fail(c, &s3_InvalidRequest,
                               "The provided encryption parameters did not match the ones used "
                               "originally.")
                   : call_fail(c, &s3_AccessDenied, "Access Denied");
}

Err s3_customer_check(struct call *c, BlobPairs attributes, bool of_source,
                      unsigned char ret_data_key[BLOB_SEAL_BYTES])
{
    unsigned char key[GCM_KEY_BYTES];
    Str wrapped = blob_pair(attributes, WRAPPED);
    bool given;
    TRY(s3_customer_key(c, of_source, key, &given));
    if (!given && wrapped.p == NULL)
        return OK;
    if (wrapped.p == NULL) {
        explicit_bzero(key, sizeof key);
        return call_fail(c, &s3_InvalidRequest,
                         "The encryption parameters are not applicable to this object.");
    }
    if (!given)
        return call_fail(c, &s3_InvalidRequest,
                         "The object was stored using a form of Server Side Encryption. The "
                         "correct parameters must be provided to retrieve the object.");
    bool of_part = !of_source && str_starts(c->op->name, S("UploadPart"));
    Err e = unwrap(c, key, wrapped, of_part, ret_data_key);
    explicit_bzero(key, sizeof key);
    TRY(e);
    if (!of_source)
        tell(c);
    return OK;
}
