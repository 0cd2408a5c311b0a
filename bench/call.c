// SPDX-License-Identifier: Apache-2.0
#include "call.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REGION "us-east-1"

static void hex_of(const unsigned char *p, char *ret)
{
    for (size_t i = 0; i < CALL_HASH_BYTES; i++)
        snprintf(ret + 2 * i, 3, "%02x", p[i]);
}

void call_hash(const void *body, size_t n, char ret[CALL_HEX_BYTES])
{
    unsigned char hash[CALL_HASH_BYTES];
    SHA256(body, n, hash);
    hex_of(hash, ret);
}

static void hmac(const void *key, size_t key_bytes, const char *text, unsigned char *ret)
{
    HMAC(EVP_sha256(), key, (int)key_bytes, (const unsigned char *)text, strlen(text), ret, NULL);
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

static void derive_key(struct caller *c, const char *day)
{
    char secret[256];
    snprintf(secret, sizeof secret, "AWS4%s", environment("HEADRACE_SECRET_ACCESS_KEY"));
    hmac(secret, strlen(secret), day, c->key);
    hmac(c->key, CALL_HASH_BYTES, REGION, c->key);
    hmac(c->key, CALL_HASH_BYTES, c->service, c->key);
    hmac(c->key, CALL_HASH_BYTES, "aws4_request", c->key);
    snprintf(c->day, sizeof c->day, "%s", day);
}

void caller_open(struct caller *c, const char *port, size_t reply_bytes_max)
{
    *c = (struct caller){
        .port = port, .fd = -1, .reply_bytes_max = reply_bytes_max, .service = "kinesis"
    };
    c->reply = must_alloc(reply_bytes_max);
    snprintf(c->key_id, sizeof c->key_id, "%s", environment("HEADRACE_ACCESS_KEY_ID"));
}

void caller_set_account(struct caller *c, unsigned accounts, unsigned client)
{
    if (accounts > 0)
        snprintf(c->key_id, sizeof c->key_id, "%012u", client % accounts + 1);
}

// ---- The connection

static SSL_CTX *context;

static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
}

static SSL *start_tls(int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_context);
    SSL *tls = context != NULL ? SSL_new(context) : NULL;
    if (tls != NULL && SSL_set_fd(tls, fd) == 1 && SSL_connect(tls) == 1)
        return tls;
    SSL_free(tls);
    return NULL;
}

bool caller_connect(struct caller *c, bool tls)
{
    c->fd = connect_to(c->port);
    if (c->fd < 0 || !tls)
        return c->fd >= 0;
    c->tls = start_tls(c->fd);
    if (c->tls == NULL)
        fprintf(stderr, "port %s: no TLS\n", c->port);
    return c->tls != NULL;
}

static bool send_both(struct caller *c, const char *head, size_t head_n, const char *body, size_t n)
{
    if (c->tls == NULL)
        return write_both(c->fd, head, head_n, body, n);
    return SSL_write(c->tls, head, (int)head_n) > 0 &&
           (n == 0 || SSL_write(c->tls, body, (int)n) > 0);
}

static bool receive_until(struct caller *c, size_t *filled, size_t want)
{
    size_t capacity = c->reply_bytes_max - 1;
    if (c->tls == NULL)
        return read_until(c->fd, c->reply, capacity, filled, want);
    while (*filled < want) {
        size_t room = capacity - *filled;
        int got = room > 0 ? SSL_read(c->tls, c->reply + *filled, (int)room) : 0;
        if (got <= 0)
            return false;
        *filled += (size_t)got;
    }
    return true;
}

void caller_disconnect(struct caller *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void caller_close(struct caller *c)
{
    caller_disconnect(c);
    free(c->reply);
}

// When a request is made, and its signature.
struct signing {
    char date[32], day[16], signature[CALL_HEX_BYTES];
};

static void begin_signing(struct caller *c, struct signing *s)
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(s->date, sizeof s->date, "%Y%m%dT%H%M%SZ", &tm);
    strftime(s->day, sizeof s->day, "%Y%m%d", &tm);
    if (strcmp(s->day, c->day) != 0)
        derive_key(c, s->day);
}

static void sign(const struct caller *c, const char *canonical, struct signing *s)
{
    char hash[CALL_HEX_BYTES], text[512];
    unsigned char mac[CALL_HASH_BYTES];
    call_hash(canonical, strlen(canonical), hash);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s/" REGION "/%s/aws4_request\n%s", s->date,
             s->day, c->service, hash);
    hmac(c->key, CALL_HASH_BYTES, text, mac);
    hex_of(mac, s->signature);
}

size_t call_head(struct caller *c, const char *operation, const char *body_hash, size_t n,
                 char head[CALL_HEAD_BYTES_MAX])
{
    char canonical[1024];
    struct signing s;
    begin_signing(c, &s);
    snprintf(
        canonical, sizeof canonical,
        "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:127.0.0.1:%s\nx-amz-date:%s\n"
        "x-amz-target:Kinesis_20131202.%s\n\ncontent-type;host;x-amz-date;x-amz-target\n%s",
        c->port, s.date, operation, body_hash);
    sign(c, canonical, &s);
    int used =
        snprintf(head, CALL_HEAD_BYTES_MAX,
                 "POST / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n"
                 "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.%s\r\n"
                 "X-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s/" REGION "/%s"
                 "/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target"
                 ", Signature=%s\r\nContent-Length: %zu\r\n\r\n",
                 c->port, operation, s.date, c->key_id, s.day, c->service, s.signature, n);
    return used > 0 && used < CALL_HEAD_BYTES_MAX ? (size_t)used : 0;
}

size_t call_object_head(struct caller *c, const char *method, const char *path, size_t n,
                        char head[CALL_HEAD_BYTES_MAX])
{
    char canonical[1024];
    struct signing s;
    begin_signing(c, &s);
    snprintf(canonical, sizeof canonical,
             "%s\n%s\n\nhost:127.0.0.1:%s\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n"
             "x-amz-date:%s\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
             method, path, c->port, s.date);
    sign(c, canonical, &s);
    int used = snprintf(
        head, CALL_HEAD_BYTES_MAX,
        "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n"
        "X-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s/" REGION "/%s"
        "/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date"
        ", Signature=%s\r\nContent-Length: %zu\r\n\r\n",
        method, path, c->port, s.date, c->key_id, s.day, c->service, s.signature, n);
    return used > 0 && used < CALL_HEAD_BYTES_MAX ? (size_t)used : 0;
}

// The status, or 0 if the connection ended before the reply did.
static unsigned read_reply(struct caller *c, char **ret_reply, size_t *ret_n)
{
    size_t filled = 0;
    char *end = NULL;
    while (end == NULL) {
        if (!receive_until(c, &filled, filled + 1))
            return 0;
        c->reply[filled] = 0;
        end = strstr(c->reply, "\r\n\r\n");
    }
    char *length = strcasestr(c->reply, "\r\ncontent-length:");
    if (length == NULL || length > end || strncmp(c->reply, "HTTP/1.1 ", 9) != 0)
        return 0;
    size_t head = (size_t)(end - c->reply) + 4, n = strtoul(length + 17, NULL, 10);
    if (!receive_until(c, &filled, head + n))
        return 0;
    c->reply[head + n] = 0;
    *ret_reply = c->reply + head;
    *ret_n = n;
    return (unsigned)strtoul(c->reply + 9, NULL, 10);
}

unsigned call_send(struct caller *c, const char *operation, const char *body, size_t n,
                   const char *hash, char **ret_reply, size_t *ret_n)
{
    char head[CALL_HEAD_BYTES_MAX];
    size_t head_n = call_head(c, operation, hash, n, head);
    if (head_n == 0 || !send_both(c, head, head_n, body, n))
        return 0;
    return read_reply(c, ret_reply, ret_n);
}
