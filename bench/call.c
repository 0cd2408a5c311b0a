// SPDX-License-Identifier: Apache-2.0
#include "call.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES_MAX = 2048 };
#define REGION "us-east-1"
#define SERVICE "kinesis"

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
    hmac(c->key, CALL_HASH_BYTES, SERVICE, c->key);
    hmac(c->key, CALL_HASH_BYTES, "aws4_request", c->key);
    snprintf(c->day, sizeof c->day, "%s", day);
}

void caller_open(struct caller *c, const char *port, size_t reply_bytes_max)
{
    *c = (struct caller){ .port = port, .fd = -1, .reply_bytes_max = reply_bytes_max };
    c->reply = must_alloc(reply_bytes_max);
}

void caller_disconnect(struct caller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void caller_close(struct caller *c)
{
    caller_disconnect(c);
    free(c->reply);
}

static int head_of(struct caller *c, const char *operation, const char *body_hash, size_t n,
                   char *head)
{
    char date[32], day[16], canonical[1024], hash[CALL_HEX_BYTES], text[512];
    char signature[CALL_HEX_BYTES];
    unsigned char mac[CALL_HASH_BYTES];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
    strftime(day, sizeof day, "%Y%m%d", &tm);
    if (strcmp(day, c->day) != 0)
        derive_key(c, day);
    snprintf(
        canonical, sizeof canonical,
        "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:127.0.0.1:%s\nx-amz-date:%s\n"
        "x-amz-target:Kinesis_20131202.%s\n\ncontent-type;host;x-amz-date;x-amz-target\n%s",
        c->port, date, operation, body_hash);
    call_hash(canonical, strlen(canonical), hash);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s/" REGION "/" SERVICE "/aws4_request\n%s",
             date, day, hash);
    hmac(c->key, CALL_HASH_BYTES, text, mac);
    hex_of(mac, signature);
    return snprintf(
        head, HEAD_BYTES_MAX,
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n"
        "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.%s\r\n"
        "X-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s/" REGION "/" SERVICE
        "/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target"
        ", Signature=%s\r\nContent-Length: %zu\r\n\r\n",
        c->port, operation, date, environment("HEADRACE_ACCESS_KEY_ID"), day, signature, n);
}

// The status, or 0 if the connection ended before the reply did.
static unsigned read_reply(struct caller *c, char **ret_reply, size_t *ret_n)
{
    size_t filled = 0;
    char *end = NULL;
    while (end == NULL) {
        if (!read_until(c->fd, c->reply, c->reply_bytes_max - 1, &filled, filled + 1))
            return 0;
        c->reply[filled] = 0;
        end = strstr(c->reply, "\r\n\r\n");
    }
    char *length = strcasestr(c->reply, "\r\ncontent-length:");
    if (length == NULL || length > end || strncmp(c->reply, "HTTP/1.1 ", 9) != 0)
        return 0;
    size_t head = (size_t)(end - c->reply) + 4, n = strtoul(length + 17, NULL, 10);
    if (!read_until(c->fd, c->reply, c->reply_bytes_max - 1, &filled, head + n))
        return 0;
    c->reply[head + n] = 0;
    *ret_reply = c->reply + head;
    *ret_n = n;
    return (unsigned)strtoul(c->reply + 9, NULL, 10);
}

unsigned call_send(struct caller *c, const char *operation, const char *body, size_t n,
                   const char *hash, char **ret_reply, size_t *ret_n)
{
    char head[HEAD_BYTES_MAX];
    int head_n = head_of(c, operation, hash, n, head);
    if (head_n <= 0 || head_n >= HEAD_BYTES_MAX || !write_all(c->fd, head, (size_t)head_n) ||
        !write_all(c->fd, body, n))
        return 0;
    return read_reply(c, ret_reply, ret_n);
}
