// SPDX-License-Identifier: Apache-2.0
// PutRecord or PutRecords, signed as an SDK signs: the hash of each body is computed once, the
// signature for every request.
#include "load.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    HASH = SHA256_DIGEST_LENGTH,
    HEX = 2 * HASH,
    REPLY_BYTES_MAX = 1 << 20,
    HEAD_BYTES_MAX = 2048
};
#define REGION "us-east-1"
#define SERVICE "kinesis"

struct request {
    char *body;
    size_t body_bytes;
    char hash[HEX + 1];
};

struct kinesis {
    struct request batches[BATCHES];
    char day[16];
    unsigned char key[HASH]; // of that day
    char *reply;
};

static void hex_of(const unsigned char *p, char *ret)
{
    for (size_t i = 0; i < HASH; i++)
        snprintf(ret + 2 * i, 3, "%02x", p[i]);
}

static void sha256_hex(const void *p, size_t n, char *ret)
{
    unsigned char hash[HASH];
    SHA256(p, n, hash);
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

static void derive_key(struct kinesis *k, const char *day)
{
    char secret[256];
    snprintf(secret, sizeof secret, "AWS4%s", environment("HEADRACE_SECRET_ACCESS_KEY"));
    hmac(secret, strlen(secret), day, k->key);
    hmac(k->key, HASH, REGION, k->key);
    hmac(k->key, HASH, SERVICE, k->key);
    hmac(k->key, HASH, "aws4_request", k->key);
    snprintf(k->day, sizeof k->day, "%s", day);
}

// The body of one batch: a record alone is a PutRecord, several are a PutRecords.
static void build(const struct options *o, struct request *r, uint64_t *seed)
{
    size_t text_bytes = 4 * ((o->record_bytes + 2) / 3), used = 0;
    size_t capacity = o->records * (text_bytes + 128) + 256;
    char *data = must_alloc(o->record_bytes), *text = must_alloc(text_bytes + 1);
    r->body = must_alloc(capacity);
    used += (size_t)snprintf(r->body, capacity, "{\"StreamName\":\"%s\",%s", o->stream,
                             o->records > 1 ? "\"Records\":[" : "");
    for (unsigned i = 0; i < o->records; i++) {
        fill_text(data, o->record_bytes, seed);
        EVP_EncodeBlock((unsigned char *)text, (unsigned char *)data, (int)o->record_bytes);
        char key[17] = { 0 };
        fill_text(key, sizeof key - 1, seed);
        used += (size_t)snprintf(r->body + used, capacity - used,
                                 "%s%s\"Data\":\"%s\",\"PartitionKey\":\"%s\"%s", i > 0 ? "," : "",
                                 o->records > 1 ? "{" : "", text, key, o->records > 1 ? "}" : "");
    }
    used += (size_t)snprintf(r->body + used, capacity - used, "%s}", o->records > 1 ? "]" : "");
    r->body_bytes = used;
    sha256_hex(r->body, used, r->hash);
    free(data);
    free(text);
}

static bool open_client(struct client *c)
{
    struct kinesis *k = must_alloc(sizeof *k);
    uint64_t seed = 88172645463325252u + c->number;
    c->state = k;
    k->reply = must_alloc(REPLY_BYTES_MAX);
    for (unsigned i = 0; i < BATCHES; i++)
        build(c->options, &k->batches[i], &seed);
    c->fd = connect_to(c->options->port);
    return c->fd >= 0;
}

static int head_of(struct client *c, const struct request *r, char *head)
{
    struct kinesis *k = c->state;
    const char *operation = c->options->records > 1 ? "PutRecords" : "PutRecord";
    char date[32], day[16], canonical[1024], hash[HEX + 1], text[512], signature[HEX + 1];
    unsigned char mac[HASH];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
    strftime(day, sizeof day, "%Y%m%d", &tm);
    if (strcmp(day, k->day) != 0)
        derive_key(k, day);
    snprintf(
        canonical, sizeof canonical,
        "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:127.0.0.1:%s\nx-amz-date:%s\n"
        "x-amz-target:Kinesis_20131202.%s\n\ncontent-type;host;x-amz-date;x-amz-target\n%s",
        c->options->port, date, operation, r->hash);
    sha256_hex(canonical, strlen(canonical), hash);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s/" REGION "/" SERVICE "/aws4_request\n%s",
             date, day, hash);
    hmac(k->key, HASH, text, mac);
    hex_of(mac, signature);
    return snprintf(
        head, HEAD_BYTES_MAX,
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n"
        "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.%s\r\n"
        "X-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s/" REGION "/" SERVICE
        "/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target"
        ", Signature=%s\r\nContent-Length: %zu\r\n\r\n",
        c->options->port, operation, date, environment("HEADRACE_ACCESS_KEY_ID"), day, signature,
        r->body_bytes);
}

// Reads one reply. True: status 200, and no record failed.
static bool read_reply(struct client *c)
{
    struct kinesis *k = c->state;
    size_t filled = 0;
    char *end = NULL;
    while (end == NULL) {
        if (!read_until(c->fd, k->reply, REPLY_BYTES_MAX - 1, &filled, filled + 1))
            return false;
        k->reply[filled] = 0;
        end = strstr(k->reply, "\r\n\r\n");
    }
    char *length = strcasestr(k->reply, "\r\ncontent-length:");
    if (length == NULL || length > end)
        return false;
    size_t whole = (size_t)(end - k->reply) + 4 + strtoul(length + 17, NULL, 10);
    if (!read_until(c->fd, k->reply, REPLY_BYTES_MAX - 1, &filled, whole))
        return false;
    k->reply[filled] = 0;
    bool good = strncmp(k->reply, "HTTP/1.1 200", 12) == 0 && strstr(end, "ErrorCode") == NULL;
    if (!good)
        fprintf(stderr, "%.*s\n", 300, end + 4);
    return good;
}

static bool send_batch(struct client *c, unsigned batch)
{
    struct kinesis *k = c->state;
    const struct request *r = &k->batches[batch];
    char head[HEAD_BYTES_MAX];
    int n = head_of(c, r, head);
    return n > 0 && n < HEAD_BYTES_MAX && write_all(c->fd, head, (size_t)n) &&
           write_all(c->fd, r->body, r->body_bytes) && read_reply(c);
}

static void close_client(struct client *c)
{
    struct kinesis *k = c->state;
    for (unsigned i = 0; i < BATCHES; i++)
        free(k->batches[i].body);
    free(k->reply);
    free(k);
    close(c->fd);
}

const struct peer kinesis_peer = { "kinesis", open_client, send_batch, close_client };
