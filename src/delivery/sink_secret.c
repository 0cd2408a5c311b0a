// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_secret.h"
#include "aws/sigv4.h"
#include "base/time.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "hub/hub.h"
#include "hub/secrets.h"
#include "os/io.h"

#include <stdlib.h>

enum { KEYS_BYTES_MAX = 64 << 10, HEADERS_SIGNED_MAX = 8 };

// ---- Secrets

struct sink_secret {
    const struct delivery_env *env;
    struct arena *arena;
    HubActor as;
    Str arn;
};

void sink_secret_open(const struct delivery_env *env, const DeliveryConfig *config,
                      struct sink_secret **ret)
{
    *ret = NULL;
    if (config->secret_arn.n == 0)
        return;
    struct sink_secret *s = xalloc(sizeof *s);
    struct arena *a = s->arena = arena_open();
    s->env = env;
    s->arn = str_dup(a, config->secret_arn);
    s->as = (HubActor){
        .account = str_dup(a, config->account),
        .region = str_dup(a, config->region),
        .role_arn =
            config->secret_role_arn.n > 0 ? str_dup(a, config->secret_role_arn) : (Str){ 0 },
        .service = str_dup(a, config->service),
        .source_arn = str_dup(a, config->arn),
    };
    *ret = s;
}

void sink_secret_close(struct sink_secret *s)
{
    if (s == NULL)
        return;
    arena_close(s->arena);
    free(s);
}

static bool refuse(SinkAttempt *at, const char *code, Str message)
{
    at->code = str_of(code);
    at->message = message;
    return false;
}

// The names of Secrets Manager's own errors.
static const char *code_of(HubSecretFault fault)
{
    static const char *const codes[] = {
        [HUB_SECRET_GOOD] = "SecretsManager.InternalServiceError",
        [HUB_SECRET_NOT_FOUND] = "SecretsManager.ResourceNotFoundException",
        [HUB_SECRET_DENIED] = "SecretsManager.AccessDeniedException",
        [HUB_SECRET_KEY] = "SecretsManager.DecryptionFailure",
        [HUB_SECRET_STATE] = "SecretsManager.InvalidRequestException",
    };
    return codes[fault];
}

bool sink_secret_get(const struct sink_secret *s, SinkAttempt *at, Str member, Str *ret)
{
    const struct hub_secrets *secrets = s->env->hub != NULL ? s->env->hub->secrets : NULL;
    HubSecretAnswer answer = { 0 };
    Str value = { 0 };
    JsonValue *v = NULL;
    if (secrets == NULL)
        return refuse(at, code_of(HUB_SECRET_NOT_FOUND), S("There is no service with secrets."));
    Err e = secrets->get(secrets->self, at->arena, &s->as, s->arn, &value, &answer);
    if (e.kind != ERR_NONE)
        return refuse(at, "InternalError", str_of(e.text));
    if (answer.fault != HUB_SECRET_GOOD)
        return refuse(at, code_of(answer.fault), answer.text);
    bool found = json_parse(at->arena, value, &v).kind == ERR_NONE && json_text(v, member).n > 0;
    *ret = found ? str_dup(at->arena, json_text(v, member)) : (Str){ 0 };
    bool line = str_find(*ret, '\n') < ret->n || str_find(*ret, '\r') < ret->n;
    if (value.n > 0)
        explicit_bzero((char *)(uintptr_t)value.p, value.n);
    if (!found || line)
        return refuse(at, "SecretsManager.InvalidSecret",
                      str_fmt(at->arena, "The secret is no JSON object with a usable \"%.*s\".",
                              FMT(member)));
    return true;
}

// ---- Signatures

struct sink_signer {
    const struct delivery_env *env;
    struct arena *arena;
    Str host, region, service;
};

// "search-logs-abc.us-east-1.es.amazonaws.com": the labels before amazonaws.com.
static bool is_of_aws(Str host, Str *ret_region, Str *ret_service)
{
    static const Str ends[] = { S_INIT(".amazonaws.com"), S_INIT(".amazonaws.com.cn") };
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        if (!str_ends(host, ends[i]))
            continue;
        Str rest = str_head(host, host.n - ends[i].n), label, before = { 0 }, last = { 0 };
        while (rest.n > 0) {
            before = last;
            (void)str_cut(rest, '.', &label, &rest);
            last = label;
        }
        *ret_region = before;
        *ret_service = last;
        return before.n > 0 && (str_eq(last, S("es")) || str_eq(last, S("aoss")));
    }
    return false;
}

void sink_signer_open(const struct delivery_env *env, const DeliveryConfig *config, Str base,
                      struct sink_signer **ret)
{
    Str host = str_skip(base, str_search(base, S("://"))), region, service;
    *ret = NULL;
    host = host.n > 0 ? str_skip(host, S("://").n) : host;
    bool aws = is_of_aws(str_head(host, str_find(host, ':')), &region, &service);
    if (env->sign_keys.n == 0 || (!aws && !env->sign_always))
        return;
    struct sink_signer *s = xalloc(sizeof *s);
    struct arena *a = s->arena = arena_open();
    s->env = env;
    s->host = str_dup(a, host);
    s->region = str_dup(a, aws ? region : config->region);
    s->service = aws ? str_dup(a, service) : config->search.serverless ? S("aoss") : S("es");
    *ret = s;
}

void sink_signer_close(struct sink_signer *s)
{
    if (s == NULL)
        return;
    arena_close(s->arena);
    free(s);
}

// The first section of a file in the form of AWS's shared credentials. Read each time: keys that
// expire are replaced there.
static Err read_keys(const struct sink_signer *s, struct arena *a, Sigv4Sign *ret)
{
    Str content, line, name, value;
    TRY(io_read_file(s->env->io, a, s->env->sign_keys, KEYS_BYTES_MAX, &content));
    for (size_t sections = 0; content.n > 0 && sections < 2;) {
        (void)str_cut(content, '\n', &line, &content);
        sections += str_starts(str_trim(line), S("["));
        if (sections == 2 || !str_cut(line, '=', &name, &value))
            continue;
        if (str_eq(str_trim(name), S("aws_access_key_id")))
            ret->access_key = str_trim(value);
        else if (str_eq(str_trim(name), S("aws_secret_access_key")))
            ret->secret = str_trim(value);
        else if (str_eq(str_trim(name), S("aws_session_token")))
            ret->session_token = str_trim(value);
    }
    bool whole = ret->access_key.n > 0 && ret->secret.n > 0;
    return whole ? OK : fail(ERR_INVALID, "the file of destinations.keys has no keys");
}

Err sink_sign(const struct sink_signer *s, struct arena *a, Str target, HttpHeader *headers,
              size_t *n, Str body)
{
    HttpHeader all[HEADERS_SIGNED_MAX];
    unsigned char hash[SHA256_BYTES];
    Sigv4Headers made = { 0 };
    sha256(body.p, body.n, hash);
    headers[(*n)++] = (HttpHeader){ S("x-amz-content-sha256"), hex_str(a, hash, sizeof hash) };
    CHECK(*n < HEADERS_SIGNED_MAX);
    for (size_t i = 0; i < *n; i++)
        all[i] = headers[i];
    all[*n] = (HttpHeader){ S("host"), s->host };
    Sigv4Sign sign = { .region = s->region,
                       .service = s->service,
                       .method = S("POST"),
                       .path = target,
                       .headers = all,
                       .header_count = *n + 1,
                       .body = body,
                       .now_ns = s->env->io->wall_ns(s->env->io) };
    TRY(read_keys(s, a, &sign));
    TRY(sigv4_sign(&sign, a, &made));
    for (size_t i = 0; i < made.n; i++)
        headers[(*n)++] = made.at[i];
    return OK;
}
