// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/token.h"
#include "codec/base64.h"
#include "codec/hash.h"

#include <string.h>

enum { TOKEN_VERSION = 1, MAC_BYTES = 16 };

struct head {
    unsigned char version;
    unsigned char kind;
    unsigned char zero[6];
    int64_t issued_ms;
    unsigned char nonce[8];
};

static void mac_of(const struct sealer *s, struct arena *a, Str realm, Str body,
                   unsigned char ret_mac[MAC_BYTES])
{
    unsigned char full[SHA256_BYTES];
    hmac_sha256(str_from(s->secret, sizeof s->secret), str_cat3(a, realm, S("\n"), body), full);
    memcpy(ret_mac, full, MAC_BYTES);
}

Str token_seal(const struct sealer *s, struct arena *a, TokenKind kind, Str realm,
               int64_t issued_ms, Str payload)
{
    CHECK(payload.n <= TOKEN_PAYLOAD_BYTES_MAX);
    struct head head = { .version = TOKEN_VERSION,
                         .kind = (unsigned char)kind,
                         .issued_ms = issued_ms };
    s->io->random(s->io, head.nonce, sizeof head.nonce);
    Str body = str_cat(a, str_from(&head, sizeof head), payload);
    unsigned char mac[MAC_BYTES];
    mac_of(s, a, realm, body, mac);
    Str sealed = str_cat(a, body, str_from(mac, sizeof mac));
    char *text = arena_alloc(a, base64_encoded_bytes(sealed.n), 1);
    base64_encode(text, sealed.p, sealed.n);
    return str_from(text, base64_encoded_bytes(sealed.n));
}

Err token_open(const struct sealer *s, struct arena *a, TokenKind kind, Str realm, Str token,
               int64_t *ret_issued_ms, Str *ret_payload)
{
    char *bytes = arena_alloc(a, base64_decoded_max(token.n), 1);
    Base64Result decoded = base64_decode(bytes, token.p, token.n);
    struct head head;
    if (decoded.fault != BASE64_GOOD || decoded.n < sizeof head + MAC_BYTES)
        return fail(ERR_INVALID, "not a token");
    Str body = str_from(bytes, decoded.n - MAC_BYTES);
    unsigned char mac[MAC_BYTES];
    mac_of(s, a, realm, body, mac);
    if (!bytes_equal_in_constant_time(mac, body.p + body.n, MAC_BYTES))
        return fail(ERR_INVALID, "a token that was not made here");
    memcpy(&head, body.p, sizeof head);
    if (head.version != TOKEN_VERSION || head.kind != kind)
        return fail(ERR_INVALID, "a token of another kind");
    *ret_issued_ms = head.issued_ms;
    *ret_payload = str_skip(body, sizeof head);
    return OK;
}
