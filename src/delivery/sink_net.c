// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_net.h"
#include "base/time.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "os/io.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    IDLE_MAX = 8, // connections that are kept
    BACK_OFF_S_MAX = 120,
    JITTER_PERCENT = 15,
    USER_BYTES_MAX = 4096,
};

struct sink_net {
    const struct delivery_env *env;
    struct arena *names;
    HttpClientConfig config;
    pthread_mutex_t lock;
    struct http_client *idle[IDLE_MAX];
    size_t idle_count;
};

// ---- Where it is.

static bool percent_decode(struct arena *a, Str s, Str *ret)
{
    char *out = arena_alloc(a, s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            out[n++] = s.p[i];
            continue;
        }
        if (s.n - i < 3 || !hex_decode(out + n, str_head(str_skip(s, i + 1), 2)))
            return false;
        n++;
        i += 2;
    }
    *ret = str_from(out, n);
    return true;
}

static bool has_controls(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

static Err refuse(Str *ret_text, const char *text)
{
    *ret_text = str_of(text);
    return fail(ERR_INVALID, text);
}

Err sink_url_parse(const struct delivery_env *env, struct arena *a, Str url, SinkUrl *ret,
                   Str *ret_text)
{
    Str scheme = S("https://");
    if (str_starts(url, S("http://"))) {
        scheme = S("http://");
        if (!env->plain_http)
            return refuse(ret_text, "The URL of a destination must begin with https://.");
    } else if (!str_starts(url, scheme)) {
        return refuse(ret_text, "The URL of a destination must begin with https://.");
    }
    if (has_controls(url))
        return refuse(ret_text, "The URL of a destination holds a space or a control character.");
    Str rest = str_skip(url, scheme.n), query = { 0 };
    rest = str_head(rest, str_find(rest, '#'));
    size_t path = MIN(str_find(rest, '/'), str_find(rest, '?'));
    Str host = str_head(rest, path), user = { 0 }, password = { 0 };
    Str target = str_skip(rest, path);
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] != '@')
        at--;
    if (at > 0) {
        (void)str_cut(str_head(host, at - 1), ':', &user, &password);
        host = str_skip(host, at);
        if (at > USER_BYTES_MAX || !percent_decode(a, user, &user) ||
            !percent_decode(a, password, &password))
            return refuse(ret_text,
                          "The user or password in the URL of a destination is malformed.");
    }
    if (target.n == 0 || target.p[0] == '?') {
        query = target;
        target = str_cat(a, S("/"), query);
    }
    *ret = (SinkUrl){ .base = str_cat(a, scheme, host),
                      .target = str_dup(a, target),
                      .user = user,
                      .password = password };
    HttpClientConfig probe = { .url = ret->base, .timeout_ns = NS_PER_S, .io = env->io };
    AUTO(http_client) c = NULL;
    Err e = http_client_open(&probe, &c);
    if (e.kind == ERR_INVALID)
        *ret_text = str_fmt(a, "The URL of a destination is malformed: %s.", e.text);
    return e;
}

void sink_url_split(Str target, Str *ret_path, Str *ret_query)
{
    (void)str_cut(target, '?', ret_path, ret_query);
    while (ret_path->n > 0 && ret_path->p[ret_path->n - 1] == '/')
        ret_path->n--;
}

// ---- Connections.

bool sink_is_over(const struct delivery_env *env, const atomic_bool *is_cut)
{
    return (env->stopping != NULL && env->stopping(env)) || (is_cut != NULL && atomic_load(is_cut));
}

struct question {
    const struct delivery_env *env;
    const atomic_bool *is_cut;
};

static bool is_over(void *of)
{
    const struct question *q = of;
    return sink_is_over(q->env, q->is_cut);
}

bool sink_sleep(const struct delivery_env *env, const SinkAttempt *at, int64_t ns)
{
    const int64_t turn_ns = 500 * NS_PER_MS;
    for (; ns > 0; ns -= turn_ns)
        if (sink_is_over(env, at->is_cut) || !env->sleep(env, MIN(ns, turn_ns)))
            return false;
    return !sink_is_over(env, at->is_cut);
}

Err sink_net_open(const struct delivery_env *env, Str base, const SinkNetLimits *limits,
                  struct sink_net **ret)
{
    AUTO(sink_net) n = xalloc(sizeof *n);
    CHECK(pthread_mutex_init(&n->lock, NULL) == 0);
    n->env = env;
    n->names = arena_open();
    n->config = (HttpClientConfig){ .url = str_dup(n->names, base),
                                    .verify = env->verify,
                                    .ca_file = env->ca_file,
                                    .timeout_ns = limits->total_ns,
                                    .connect_ns = limits->connect_ns,
                                    .total_ns = limits->total_ns,
                                    .reply_max = limits->reply_max,
                                    .public_only = !env->plain_http,
                                    .io = env->io };
    TRY(http_client_open(&n->config, &n->idle[0])); // connects with the first call
    n->idle_count = 1;
    *ret = n;
    n = NULL;
    return OK;
}

void sink_net_close(struct sink_net *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->idle_count; i++)
        http_client_close(n->idle[i]);
    pthread_mutex_destroy(&n->lock);
    arena_close(n->names);
    free(n);
}

static Err take(struct sink_net *n, struct http_client **ret)
{
    *ret = NULL;
    pthread_mutex_lock(&n->lock);
    if (n->idle_count > 0)
        *ret = n->idle[--n->idle_count];
    pthread_mutex_unlock(&n->lock);
    return *ret != NULL ? OK : http_client_open(&n->config, ret);
}

static void give_back(struct sink_net *n, struct http_client *take_c)
{
    pthread_mutex_lock(&n->lock);
    if (n->idle_count < IDLE_MAX) {
        n->idle[n->idle_count++] = take_c;
        take_c = NULL;
    }
    pthread_mutex_unlock(&n->lock);
    http_client_close(take_c);
}

static SinkNet kind_of(Err e, bool reached)
{
    switch (e.kind) {
    case ERR_NONE:
        return NET_GOOD;
    case ERR_LIMIT:
    case ERR_MEMORY:
        return NET_LARGE;
    case ERR_DENIED:
        return reached ? NET_TLS : NET_CONNECT;
    case ERR_TIMEOUT:
        return reached ? NET_TIMEOUT : NET_CONNECT;
    case ERR_INVALID:
        return NET_GARBLED;
    default:
        return reached ? NET_RESET : NET_CONNECT;
    }
}

SinkNet sink_net_call(struct sink_net *n, const SinkAttempt *at, Str target,
                      const HttpHeader *headers, size_t count, Str body, HttpReply *ret,
                      Str *ret_text)
{
    struct question question = { n->env, at->is_cut };
    struct http_client *c;
    Err e = take(n, &c);
    if (e.kind != ERR_NONE) {
        *ret_text = str_of(e.text);
        return NET_CONNECT;
    }
    http_client_ask(c, is_over, &question);
    e = http_client_call(c, at->arena, S("POST"), target, headers, count, body, ret);
    http_client_ask(c, NULL, NULL);
    SinkNet kind = kind_of(e, http_client_reached(c));
    if (kind != NET_GOOD)
        *ret_text = str_of(e.text);
    give_back(n, c);
    return kind;
}

Str sink_header(const HttpReply *r, Str lower_name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_eq(r->headers[i].name, lower_name))
            return r->headers[i].value;
    return (Str){ 0 };
}

Str sink_media_type(struct arena *a, const HttpReply *r)
{
    Str type = sink_header(r, S("content-type"));
    return str_lower(a, str_trim(str_head(type, str_find(type, ';'))));
}

// ---- Small things.

int64_t sink_back_off_ns(const struct delivery_env *env, int64_t attempts)
{
    enum { DOUBLINGS_MAX = 7 };
    uint32_t random;
    env->io->random(env->io, &random, sizeof random);
    int64_t doublings = MIN(MAX(attempts - 1, (int64_t)0), (int64_t)DOUBLINGS_MAX);
    int64_t s = MIN((int64_t)1 << doublings, (int64_t)BACK_OFF_S_MAX);
    int64_t permille = 1000 + random % (20 * JITTER_PERCENT + 1) - 10 * JITTER_PERCENT;
    return MIN(s * permille * NS_PER_MS, BACK_OFF_S_MAX * NS_PER_S);
}

Str sink_uuid(const struct delivery_env *env, struct arena *a)
{
    unsigned char b[16];
    env->io->random(env->io, b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    Str hex = hex_str(a, b, sizeof b);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

Str sink_basic_auth(struct arena *a, Str user, Str password)
{
    Str pair = str_cat3(a, user, S(":"), password);
    char *out = arena_alloc(a, base64_encoded_bytes(pair.n), 1);
    base64_encode(out, pair.p, pair.n);
    return str_cat(a, S("Basic "), str_from(out, base64_encoded_bytes(pair.n)));
}

Str sink_excerpt(Str text, size_t max)
{
    if (text.n <= max)
        return text;
    while (max > 0 && ((unsigned char)text.p[max] & 0xc0) == 0x80)
        max--;
    return str_head(text, max);
}
