// SPDX-License-Identifier: Apache-2.0
// The places at other endpoints: their connections, keys and requests, and what their errors mean.
#include "aws/sigv4.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/hash.h"
#include "codec/xml.h"
#include "os/io.h"
#include "os/loop.h"
#include "svc/s3/remote.h"

#include <stdlib.h>

enum { KEYS_BYTES_MAX = 64 << 10, REMOTE_HEADERS_MORE = 8 };
#define TOLD_NS (10 * NS_PER_S) // how often the log hears of the same place

Str s3_remote_header(const HttpReply *reply, Str name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (str_eq(reply->headers[i].name, name))
            return reply->headers[i].value;
    return (Str){ 0 };
}

// ---- Keys

// With the lock held.
static Err read_keys(struct remote *r)
{
    AUTO(arena) tmp = arena_open();
    Str content = S(""), access, secret, token;
    TRY(io_read_file(r->io, tmp, r->is.credentials_file, KEYS_BYTES_MAX, &content));
    TRY(s3_remote_keys_read(content, r->is.section, &access, &secret, &token));
    arena_reset(r->keys);
    r->access_key = str_dup(r->keys, access);
    r->secret_key = str_dup(r->keys, secret);
    r->session_token = token.p != NULL ? str_dup(r->keys, token) : token;
    r->keys_read_ns = r->io->mono_ns(r->io);
    return OK;
}

static Err give_keys(struct remote *r, struct arena *a, Sigv4Sign *sign)
{
    Err e = OK;
    pthread_mutex_lock(&r->lock);
    bool old = r->keys_read_ns == 0 || r->io->mono_ns(r->io) - r->keys_read_ns > REMOTE_KEYS_NS;
    if (r->is.credentials_file.n > 0 && old)
        e = read_keys(r);
    if (e.kind != ERR_NONE && r->access_key.n > 0)
        e = OK; // the file is being written: those that were good a minute ago are tried
    sign->access_key = str_dup(a, r->access_key);
    sign->secret = str_dup(a, r->secret_key);
    if (r->session_token.p != NULL)
        sign->session_token = str_dup(a, r->session_token);
    pthread_mutex_unlock(&r->lock);
    return e;
}

static void forget_keys(struct remote *r)
{
    pthread_mutex_lock(&r->lock);
    r->keys_read_ns = 0;
    pthread_mutex_unlock(&r->lock);
}

// ---- Connections

static bool is_over(void *of)
{
    struct remote *r = of;
    return atomic_load(&r->over);
}

static Err connect_new(struct remote *r, struct http_client **ret)
{
    HttpClientConfig config = { .url = r->url,
                                .verify = r->is.verify,
                                .ca_file = r->is.ca_file,
                                .timeout_ns = r->is.timeout_ns,
                                .connect_ns = MIN(r->is.timeout_ns, REMOTE_CONNECT_NS),
                                .reply_max = REMOTE_REPLY_BYTES_MAX,
                                .public_only = r->is.public_only,
                                .is_over = is_over,
                                .of = r,
                                .io = r->io };
    return http_client_open(&config, ret);
}

static Err take(struct remote *r, struct http_client **ret)
{
    Err e = OK;
    *ret = NULL;
    pthread_mutex_lock(&r->lock);
    if (r->io->mono_ns(r->io) < r->down_until_ns)
        e = fail(ERR_NOT_FOUND, "the remote endpoint was not reached a moment ago");
    else if (r->idle_count > 0)
        *ret = r->idle[--r->idle_count];
    else if (r->open < r->is.connections)
        r->open++;
    else
        e = fail(ERR_BUSY, "all connections to the remote endpoint are in use");
    pthread_mutex_unlock(&r->lock);
    if (e.kind != ERR_NONE || *ret != NULL)
        return e;
    e = connect_new(r, ret);
    if (e.kind != ERR_NONE) {
        pthread_mutex_lock(&r->lock);
        r->open--;
        pthread_mutex_unlock(&r->lock);
    }
    return e;
}

void s3_remote_give(struct remote *r, struct http_client *client)
{
    if (client == NULL)
        return;
    bool keep = http_client_kept(client);
    pthread_mutex_lock(&r->lock);
    if (keep)
        r->idle[r->idle_count++] = client;
    else
        r->open--;
    pthread_mutex_unlock(&r->lock);
    if (!keep)
        http_client_close(client);
}

// A call for which nobody was found: others need not look for the moment.
static void note_down(struct remote *r, const struct http_client *client, Err e)
{
    if (http_client_reached(client) || e.kind == ERR_CLOSED)
        return;
    pthread_mutex_lock(&r->lock);
    r->down_until_ns = r->io->mono_ns(r->io) + REMOTE_DOWN_NS;
    pthread_mutex_unlock(&r->lock);
}

static void tell_log(struct remote *r, const char *what, Str code, Str text)
{
    pthread_mutex_lock(&r->lock);
    int64_t now = r->io->mono_ns(r->io);
    bool quiet = r->told == what && now - r->told_ns < TOLD_NS;
    if (!quiet) {
        r->told = what;
        r->told_ns = now;
    }
    pthread_mutex_unlock(&r->lock);
    if (!quiet)
        LOG(LOG_WARN, what, F_STR("bucket", r->is.name), F_STR("endpoint", r->url),
            F_STR("code", code), F_STR("text", text));
}

// ---- One request

static Err sign_request(struct remote *r, struct arena *a, const RestOut *q, Str body, Str payload,
                        HttpHeader **ret, size_t *ret_n, Str *ret_target, Sigv4Payload *ret_payload)
{
    unsigned char hash[SHA256_BYTES];
    HttpHeader *h = arena_new(a, HttpHeader, q->header_count + REMOTE_HEADERS_MORE);
    Sigv4Headers made = { 0 };
    size_t n;
    if (payload.p == NULL)
        sha256(body.p, body.n, hash);
    h[0] = (HttpHeader){ S("host"), r->authority };
    h[1] = (HttpHeader){ S("x-amz-content-sha256"),
                         payload.p != NULL ? payload : hex_str(a, hash, sizeof hash) };
    n = 2;
    for (size_t i = 0; i < q->header_count; i++)
        h[n++] = q->headers[i];
    Sigv4Sign sign = { .region = r->is.region,
                       .service = S("s3"),
                       .method = q->method,
                       .path = q->path,
                       .query = q->query,
                       .headers = h,
                       .header_count = n,
                       .body = body,
                       .payload = payload,
                       // The other side's clock has not been moved.
                       .now_ns = io_real()->wall_ns(io_real()) };
    TRY(give_keys(r, a, &sign));
    Err e = sigv4_sign(&sign, a, &made);
    explicit_bzero((char *)(uintptr_t)sign.secret.p, sign.secret.n);
    TRY(e);
    for (size_t i = 0; i < made.n; i++)
        h[n++] = made.at[i];
    *ret = h;
    *ret_n = n;
    *ret_target = q->query.n > 0 ? str_cat3(a, q->path, S("?"), q->query) : q->path;
    *ret_payload = made.payload;
    return OK;
}

Err s3_remote_begin(struct remote *r, struct arena *a, const RestOut *request, Str payload,
                    uint64_t body_bytes, struct http_client **ret, Sigv4Payload *ret_payload)
{
    HttpHeader *headers;
    size_t n;
    Str target;
    struct http_client *client;
    TRY(sign_request(r, a, request, S(""), payload, &headers, &n, &target, ret_payload));
    TRY(take(r, &client));
    Err e = http_client_begin(client, request->method, target, headers, n, body_bytes);
    if (e.kind == ERR_NONE) {
        *ret = client;
        return OK;
    }
    note_down(r, client, e);
    http_client_drop(client);
    s3_remote_give(r, client);
    return e;
}

// The body of an error, or of any reply that is to be whole.
static Err take_rest(struct remote *r, struct arena *a, RemoteReply *reply)
{
    Err e = http_client_rest(reply->client, a, &reply->head.body);
    if (e.kind != ERR_NONE)
        http_client_drop(reply->client);
    s3_remote_give(r, reply->client);
    reply->client = NULL;
    return e;
}

static bool is_good(unsigned status)
{
    return status >= 200 && status <= 299;
}

static Err read_answer(struct remote *r, struct arena *a, struct http_client *client, bool stream,
                       RemoteReply *ret)
{
    *ret = (RemoteReply){ .client = client };
    Err e = http_client_head(client, a, &ret->head, &ret->bytes);
    if (e.kind != ERR_NONE) {
        http_client_drop(client);
        s3_remote_give(r, client);
        ret->client = NULL;
        return e;
    }
    if (stream && is_good(ret->head.status))
        return OK;
    TRY(take_rest(r, a, ret));
    // The end of an upload, a copy and a removal of many may say 200 and be an error all the same.
    bool said = rest_out_error(ret->head.body, a, &ret->error);
    ret->failed = said || !is_good(ret->head.status);
    return OK;
}

Err s3_remote_end(struct remote *r, struct arena *a, struct http_client *client, RemoteReply *ret)
{
    return read_answer(r, a, client, false, ret);
}

void s3_remote_done(struct remote *r, RemoteReply *reply)
{
    if (reply->client == NULL)
        return;
    if (!http_client_kept(reply->client))
        http_client_drop(reply->client);
    s3_remote_give(r, reply->client);
    reply->client = NULL;
}

static Err ask_once(struct remote *r, struct arena *a, const RemoteAsk *ask, RemoteReply *ret,
                    bool *ret_sent)
{
    const RestOut *q = ask->request;
    HttpHeader *headers;
    size_t n;
    Str target;
    Sigv4Payload unused;
    struct http_client *client;
    *ret_sent = false;
    TRY(sign_request(r, a, q, ask->body, (Str){ 0 }, &headers, &n, &target, &unused));
    TRY(take(r, &client));
    Err e = http_client_begin(client, q->method, target, headers, n, ask->body.n);
    *ret_sent = http_client_reached(client);
    if (e.kind == ERR_NONE)
        e = http_client_send(client, ask->body);
    if (e.kind == ERR_NONE || (e.kind == ERR_CLOSED && *ret_sent)) {
        Err read = read_answer(r, a, client, ask->stream, ret); // it may have said why
        return e.kind == ERR_NONE || read.kind == ERR_NONE ? read : e;
    }
    note_down(r, client, e);
    http_client_drop(client);
    s3_remote_give(r, client);
    return e;
}

static bool is_about_keys(Str code)
{
    static const Str codes[] = { S_INIT("InvalidAccessKeyId"),
                                 S_INIT("SignatureDoesNotMatch"),
                                 S_INIT("ExpiredToken"),
                                 S_INIT("InvalidToken"),
                                 S_INIT("TokenRefreshRequired"),
                                 S_INIT("RequestTimeTooSkewed"),
                                 S_INIT("AuthorizationHeaderMalformed"),
                                 S_INIT("InvalidClientTokenId") };
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        if (str_eq(codes[i], code))
            return true;
    return false;
}

// Whether the same request may do better in a moment. Of an error that says that nothing was done
// every request may be sent again.
static bool is_passing(const RemoteReply *reply, bool again)
{
    unsigned status = reply->head.status;
    bool throttled = status == 503 || status == 429 || str_eq(reply->error.code, S("SlowDown")) ||
                     str_eq(reply->error.code, S("ServiceUnavailable"));
    bool broken = status == 500 || status == 502 || status == 504 ||
                  str_eq(reply->error.code, S("InternalError")) ||
                  str_eq(reply->error.code, S("RequestTimeout"));
    return reply->failed && (throttled || (broken && again));
}

Err s3_remote_ask(struct remote *r, struct arena *a, const RemoteAsk *ask, RemoteReply *ret)
{
    int64_t wait_ns = REMOTE_BACKOFF_NS, from_ns = r->io->mono_ns(r->io);
    bool keys_read = r->is.credentials_file.n == 0;
    for (unsigned i = 1;; i++) {
        bool sent = false, last = i == REMOTE_TRIES || atomic_load(&r->over);
        Err e = ask_once(r, a, ask, ret, &sent);
        last = last || r->io->mono_ns(r->io) - from_ns > r->is.timeout_ns;
        if (e.kind == ERR_NONE && ret->failed && is_about_keys(ret->error.code) && !keys_read) {
            forget_keys(r); // they may have been replaced
            keys_read = true;
            continue;
        }
        bool passing = e.kind == ERR_NONE ? is_passing(ret, ask->again)
                                          : e.kind == ERR_CLOSED && (ask->again || !sent);
        if (last || !passing)
            return e;
        unsigned char dice;
        r->io->random(r->io, &dice, sizeof dice);
        r->io->sleep_ns(r->io, wait_ns / 2 + wait_ns / 256 * dice);
        wait_ns *= 2;
    }
}

// ---- What the client hears

Err s3_remote_unreached(struct call *c, struct remote *r, Err e)
{
    if (e.kind == ERR_MEMORY)
        return e;
    if (e.kind == ERR_BUSY)
        return call_fail(c, &rest_SlowDown, "Please reduce your request rate.");
    tell_log(r, "a remote bucket's endpoint does not answer", str_of(err_kind_name(e.kind)),
             str_of(e.text));
    return call_fail(c, &rest_ServiceUnavailable, "Service is unable to handle request.");
}

// A model's error where others ask for it by name; else one that says what the other side says.
static const struct api_error *error_of(struct arena *a, Str code, unsigned status)
{
    static const struct api_error *const known[] = {
        &s3_NoSuchBucket,       &s3_NoSuchKey,
        &s3_KmsDisabled,        &s3_KmsInvalidState,
        &s3_KmsNotFound,        &s3_KeyTooLongError,
        &s3_NotModified,        &s3_PreconditionFailed,
        &s3_NoSuchUpload,       &s3_MethodNotAllowed,
        &s3_InvalidRange,       &s3_InvalidArgument,
        &s3_InvalidObjectState, &s3_RestoreAlreadyInProgress
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i]->code.p != NULL ? known[i]->code : known[i]->name, code))
            return known[i];
    struct api_error *made = arena_new(a, struct api_error, 1);
    *made = (struct api_error){ .name = str_dup(a, code), .status = status < 400 ? 500 : status };
    return made;
}

// Replies to HEAD, and to what has not changed, have no body.
static Str code_of_status(unsigned status)
{
    switch (status) {
    case 304:
        return S("NotModified");
    case 403:
        return S("AccessDenied");
    case 404:
        return S("NoSuchKey");
    case 405:
        return S("MethodNotAllowed");
    case 412:
        return S("PreconditionFailed");
    case 416:
        return S("InvalidRange");
    case 503:
        return S("ServiceUnavailable");
    default:
        return status < 400 || status >= 500 ? S("InternalError") : S("InvalidRequest");
    }
}

static void pass_details(struct call *c, struct remote *r, const RemoteReply *reply, Str key)
{
    static const Str own[] = { S_INIT("Code"),     S_INIT("Message"),  S_INIT("RequestId"),
                               S_INIT("HostId"),   S_INIT("Resource"), S_INIT("Region"),
                               S_INIT("Endpoint"), S_INIT("Bucket") };
    for (const struct xml_node *n = reply->error.all; n != NULL; n = n->next) {
        bool skip = n->first != NULL;
        for (size_t i = 0; i < COUNT_OF(own); i++)
            skip = skip || str_eq(own[i], n->name);
        if (skip)
            continue;
        Str value = n->text;
        if (str_eq(n->name, S("BucketName")))
            value = r->is.name;
        else if (str_eq(n->name, S("Key")) && key.p != NULL)
            value = key;
        call_detail(c, n->name, value);
    }
    static const Str headers[] = { S_INIT("etag"), S_INIT("last-modified"), S_INIT("content-range"),
                                   S_INIT("x-amz-delete-marker"), S_INIT("x-amz-version-id") };
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        Str value = s3_remote_header(&reply->head, headers[i]);
        if (value.p != NULL)
            call_header(c, headers[i], value);
    }
}

Err s3_remote_refused(struct call *c, struct remote *r, const RemoteReply *reply, Str key)
{
    unsigned status = reply->head.status;
    Str code = reply->error.code.n > 0 ? reply->error.code : code_of_status(status);
    Str text = reply->error.message.n > 0 ? reply->error.message : S("");
    bool moved = status >= 300 && status <= 399 && status != 304;
    if (moved || is_about_keys(code)) {
        tell_log(r, "a remote bucket's endpoint does not take our requests", code, text);
        return call_fail(c, &rest_InternalError,
                         "We encountered an internal error. Please try again.");
    }
    if (str_eq(code, S("AccessDenied")) || str_eq(code, S("NoSuchBucket")))
        tell_log(r, "a remote bucket's endpoint has refused a request", code, text);
    if (str_eq(code, S("SlowDown")) || status == 429)
        return call_fail(c, &rest_SlowDown, "Please reduce your request rate.");
    if (status >= 500 && status != 501) {
        tell_log(r, "a remote bucket's endpoint has failed", code, text);
        if (status != 500)
            return call_fail(c, &rest_ServiceUnavailable, "Service is unable to handle request.");
    }
    pass_details(c, r, reply, key);
    if (text.n == 0)
        text = str_eq(code, S("NoSuchKey")) ? S("The specified key does not exist.") : code;
    return call_fail(c, error_of(c->arena, code, status), "%.*s", FMT(text));
}

// ---- The places

struct remote *s3_remote_of(struct s3 *s, Str bucket)
{
    for (size_t i = 0; i < s->remote_count; i++)
        if (str_eq(s->remotes[i].is.name, bucket))
            return &s->remotes[i];
    return NULL;
}

// The endpoint, with the bucket in front where the host names it.
static void name_host(struct remote *r, struct arena *a)
{
    Str scheme = str_starts(r->is.endpoint, S("https://")) ? S("https://") : S("http://");
    Str rest = str_skip(r->is.endpoint, MIN(scheme.n, r->is.endpoint.n));
    rest = str_head(rest, str_find(rest, '/'));
    r->authority = r->is.host_style ? str_cat3(a, r->is.bucket, S("."), rest) : str_dup(a, rest);
    r->url = str_cat(a, scheme, r->authority);
}

// The bucket's row here has its owner and its documents; its objects are there.
static Err keep_bucket(struct s3 *s, struct arena *tmp, const RemoteBucket *is)
{
    BlobBucket make = { .name = is->name, .owner = is->account, .region = is->region };
    BlobBucket made;
    BlobPage page = { 0 };
    Err e = blob_bucket_create(s->blob, tmp, &make, &made);
    if (e.kind != ERR_EXISTS)
        TRY(e);
    BlobListing all = { .prefix = S(""), .delimiter = S(""), .after = S(""), .max = 1 };
    TRY(blob_list_versions(s->blob, tmp, &made, &all, &page));
    if (page.object_count > 0) {
        LOG(LOG_ERROR, "a bucket that the configuration places elsewhere has objects here",
            F_STR("bucket", is->name));
        return fail(ERR_EXISTS, "a bucket that is placed elsewhere has objects here");
    }
    return blob_bucket_put_document(s->blob, &made, S("s3-remote"), is->endpoint);
}

static Err open_one(struct s3 *s, struct remote *r, const RemoteBucket *is)
{
    r->is = *is;
    r->io = s->env.io;
    r->keys = arena_open();
    r->access_key = is->access_key;
    r->secret_key = is->secret_key;
    r->session_token = is->session_token;
    r->idle = xalloc(mul_checked(sizeof(struct http_client *), is->connections));
    CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
    name_host(r, s->remote_arena);
    r->elsewhere.run = s3_remote_run;
    TRY(pool_open_prompt(REMOTE_THREADS, REMOTE_QUEUE_MAX, "remote", &r->pool));
    r->elsewhere.pool = r->pool;
    return keep_bucket(s, s->remote_arena, is);
}

Err s3_remotes_open(struct s3 *s)
{
    size_t n = s->env.remote_count;
    s->remote_arena = arena_open();
    s->remotes = xalloc(mul_checked(sizeof(struct remote), n + 1));
    for (size_t i = 0; i < n; i++) {
        s->remote_count++;
        TRY(open_one(s, &s->remotes[i], &s->env.remotes[i]));
    }
    return OK;
}

void s3_remotes_stop(struct s3 *s)
{
    for (size_t i = 0; i < s->remote_count; i++)
        atomic_store(&s->remotes[i].over, true);
}

void s3_remotes_close(struct s3 *s)
{
    s3_remotes_stop(s);
    for (size_t i = 0; i < s->remote_count; i++) {
        struct remote *r = &s->remotes[i];
        pool_close(r->pool);
        for (size_t k = 0; k < r->idle_count; k++)
            http_client_close(r->idle[k]);
        free(r->idle);
        pthread_mutex_destroy(&r->lock);
        arena_close(r->keys);
    }
    free(s->remotes);
    arena_close(s->remote_arena);
}
