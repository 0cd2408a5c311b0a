// SPDX-License-Identifier: Apache-2.0
// Rotation: a function makes the next value of a secret, in four calls (user guide, "Rotation by
// Lambda function"). The version that is to come has AWSPENDING from the beginning, before it has a
// value, and AWSCURRENT when all is done. So what is under way stands in the secret: after a crash,
// and after a step that failed, it begins anew with the first step, which functions expect.
#include "base/logline.h"
#include "base/time.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "hub/invoke.h"
#include "svc/secretsmanager/schedule.h"
#include "svc/secretsmanager/secretsmanager.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_BYTES = 16 };
#define STEP_NS (60 * NS_PER_S) // of a call
#define RETRY_MS (INT64_C(300) * 1000)
// A rotation that does not begin at once is tried out (API reference, RotateSecret): the function
// is called for the step testSecret, with a version that has the current value and is removed
// afterwards. Its id says what it is, so that it is nothing else after a crash.
#define TEST_PREFIX S("rotation-test-")

static bool is_test(Str version)
{
    return str_starts(version, TEST_PREFIX);
}

// The version that is to come, if one is under way; absent otherwise.
static Str pending_of(const struct secret *x)
{
    Str version = secret_version_at(x, STAGE_PENDING);
    bool is_over = version.p == NULL || secret_has_stage(x, version, STAGE_CURRENT);
    return is_over ? (Str){ 0 } : version;
}

// ---- Rules

static Err check_rules(struct call *c, const struct secretsmanager_RotationRulesType *r)
{
    Str why = r != NULL ? schedule_objection(r, secrets_now_ms(c)) : (Str){ 0 };
    return why.p == NULL
               ? OK
               : call_fail(c, &secretsmanager_InvalidParameterException, "%.*s", FMT(why));
}

static void set_next(struct secret *x, int64_t now_ms)
{
    int64_t next_ms = x->d.rotation_enabled ? schedule_next_ms(x->d.rotation_rules, now_ms) : 0;
    x->d.has_next_rotation_date = next_ms > 0;
    x->d.next_rotation_date = next_ms * NS_PER_MS;
}

// API reference, RotationRulesType.
void secrets_value_has_changed(struct secret *copy, int64_t now_ms)
{
    const struct secretsmanager_RotationRulesType *r = copy->d.rotation_rules;
    if (copy->d.rotation_enabled && r != NULL && r->has_automatically_after_days)
        set_next(copy, now_ms);
}

// ---- RotateSecret, CancelRotateSecret

typedef struct Rotation {
    const struct secretsmanager_RotateSecret_in *in;
    Str token; // of the version that is to come, or of the test
} Rotation;

static void end_test(struct call *c, SecretChange *change, Str token)
{
    Str own = str_dup(c->arena, token);
    secret_drop_stage(change->copy, own, STAGE_PENDING);
    if (secret_stages(change->copy, own) == NULL) // nobody has given it another
        change->drop = own;
}

static Err give_pending(struct call *c, SecretChange *change, Str token)
{
    struct secret *x = change->copy;
    Str pending = pending_of(x);
    if (is_test(pending)) // what begins now takes its place
        end_test(c, change, pending);
    else if (pending.p != NULL && !str_eq(pending, token))
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "A previous rotation isn't complete. That rotation will be reattempted.");
    if (secret_has_stage(x, token, STAGE_CURRENT)) // it is done
        return OK;
    secret_move_stage(x, token, STAGE_PENDING);
    if (secret_stage_count(x) <= STAGES_MAX)
        return OK;
    return call_fail(c, &secretsmanager_InvalidRequestException,
                     "You have reached the maximum number of staging labels of this secret: %d.",
                     STAGES_MAX);
}

static void set_rules(struct secret *x, const struct secretsmanager_RotationRulesType *given)
{
    struct secretsmanager_RotationRulesType *own =
        arena_new(x->arena, struct secretsmanager_RotationRulesType, 1);
    *own = *given;
    if (given->duration.p != NULL)
        own->duration = str_dup(x->arena, given->duration);
    if (given->schedule_expression.p != NULL)
        own->schedule_expression = str_dup(x->arena, given->schedule_expression);
    x->d.rotation_rules = own;
}

static Err edit_rotate(struct call *c, SecretChange *change, const void *arg)
{
    const Rotation *r = arg;
    struct secret *x = change->copy;
    TRY(secrets_require_kept(c, x));
    if (r->in->rotation_lambda_arn.n > 0)
        x->d.rotation_lambda_arn = str_dup(x->arena, r->in->rotation_lambda_arn);
    if (r->in->rotation_rules != NULL)
        set_rules(x, r->in->rotation_rules);
    x->d.rotation_enabled = x->d.has_rotation_enabled = true;
    set_next(x, secrets_now_ms(c));
    x->d.last_changed_date = c->now_ns;
    return give_pending(c, change, r->token);
}

// As UUIDs are written.
static Str new_token(struct secrets *s, struct arena *a)
{
    unsigned char bytes[TOKEN_BYTES];
    s->env.io->random(s->env.io, bytes, sizeof bytes);
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    Str hex = hex_str(a, bytes, sizeof bytes);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

static const struct hub_invoke *invoke_of(const struct secrets *s)
{
    return s->env.hub != NULL ? s->env.hub->invoke : NULL;
}

static Err check_function(struct call *c, Str arn)
{
    const struct hub_invoke *invoke = invoke_of(c->state);
    if (invoke != NULL && (invoke->known == NULL || invoke->known(invoke->self, arn)))
        return OK;
    return call_fail(c, &secretsmanager_InvalidRequestException,
                     "Secrets Manager cannot invoke the specified Lambda function. Ensure that "
                     "the function policy grants access to the principal "
                     "secretsmanager.amazonaws.com.");
}

// The current value as a version of the test's. None: there is no value, or the caller may not have
// it; the function is called all the same.
static Err copy_current(struct call *c, const struct secret *x, Str token, SecretChange *change,
                        VersionRow *row)
{
    Str current = secret_version_at(x, STAGE_CURRENT);
    SecretValue value;
    VersionInfo info;
    if (current.p == NULL)
        return OK;
    Err e = version_open(c, x, current, &value, &info);
    if (e.kind == ERR_NONE)
        e = version_seal(c, x, token, &value, x->d.kms_key_id, row);
    if (e.kind == ERR_FAULT || e.kind == ERR_NOT_FOUND) {
        c->error = NULL;
        c->error_text = (Str){ 0 };
        return OK;
    }
    change->put = row;
    change->put_count = 1;
    return e;
}

Err secretsmanager_RotateSecret(struct call *c, const struct secretsmanager_RotateSecret_in *in,
                                struct secretsmanager_RotateSecret_out *out)
{
    struct secrets *s = c->state;
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    VersionRow row = { 0 };
    Rotation r = { .in = in, .token = in->client_request_token };
    bool now = !in->has_rotate_immediately || in->rotate_immediately;
    TRY(secrets_find_kept(c, in->secret_id, &x));
    if (in->external_secret_rotation_role_arn.p != NULL ||
        in->external_secret_rotation_metadata.set)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "Rotation of external secrets is not supported by this server.");
    Str arn = in->rotation_lambda_arn.n > 0 ? in->rotation_lambda_arn : x->d.rotation_lambda_arn;
    if (arn.n == 0)
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "No Lambda rotation function ARN is associated with this secret.");
    TRY(check_function(c, arn));
    TRY(check_rules(c, in->rotation_rules));
    if (!now) {
        r.token = str_cat(c->arena, TEST_PREFIX, new_token(s, c->arena));
        TRY(copy_current(c, x, r.token, &change, &row));
    } else if (r.token.p == NULL) {
        r.token = new_token(s, c->arena);
    }
    TRY(secrets_change(c, x, &change, edit_rotate, &r, NULL));
    secrets_run_at(s, secrets_now_ms(c));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    if (now)
        out->version_id = r.token;
    return OK;
}

static Err edit_cancel(struct call *c, SecretChange *change, const void *arg)
{
    (void)arg;
    TRY(secrets_require_kept(c, change->copy));
    change->copy->d.rotation_enabled = false;
    set_next(change->copy, 0);
    return OK;
}

Err secretsmanager_CancelRotateSecret(struct call *c,
                                      const struct secretsmanager_CancelRotateSecret_in *in,
                                      struct secretsmanager_CancelRotateSecret_out *out)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    TRY(secrets_find_kept(c, in->secret_id, &x));
    if (x->d.rotation_lambda_arn.n == 0)
        return call_fail(c, &secretsmanager_InvalidRequestException,
                         "You tried to enable rotation on a secret that doesn't already have a "
                         "Lambda function ARN configured and you didn't include such an ARN as a "
                         "parameter in this call.");
    TRY(secrets_change(c, x, &change, edit_cancel, NULL, NULL));
    Str pending = pending_of(x);
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    if (pending.p != NULL)
        out->version_id = str_dup(c->arena, pending);
    return OK;
}

// ---- What is due

// When a failed one is tried again; 0: at once. The lock is held.
static int64_t retry_ms(const struct secrets *s, const struct secret *x)
{
    return (int64_t)(intptr_t)map_get(s->retries, x->d.arn);
}

static void set_retry(struct secrets *s, const struct secret *x, int64_t at_ms)
{
    pthread_rwlock_wrlock(&s->lock);
    if (at_ms > 0)
        map_put(s->retries, x->d.arn, (void *)(intptr_t)at_ms);
    else
        map_take(s->retries, x->d.arn);
    pthread_rwlock_unlock(&s->lock);
}

// When it is its turn. The lock is held.
static int64_t due_ms(const struct secrets *s, const struct secret *x)
{
    Str pending = pending_of(x);
    if (x->d.has_deleted_date || (!x->d.rotation_enabled && !is_test(pending)))
        return CHORES_NEVER;
    if (pending.p != NULL)
        return retry_ms(s, x);
    if (!x->d.has_next_rotation_date)
        return CHORES_NEVER;
    return MAX(x->d.next_rotation_date / NS_PER_MS, retry_ms(s, x));
}

static struct secret *next_due(struct secrets *s, int64_t now_ms, int64_t *ret_next_ms)
{
    struct secret *found = NULL;
    Str name;
    void *value;
    *ret_next_ms = CHORES_NEVER;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; found == NULL && map_next(s->by_name, &at, &name, &value);) {
        int64_t due = due_ms(s, value);
        if (due <= now_ms)
            found = secret_ref(value);
        else
            *ret_next_ms = MIN(*ret_next_ms, due);
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

// ---- Rotating

static struct call *call_for(struct secrets *s, struct arena *a, const struct secret *x)
{
    struct call *c = arena_new(a, struct call, 1);
    *c = (struct call){ .state = s,
                        .arena = a,
                        .op = &secretsmanager_api.ops[0],
                        .account = x->account,
                        .caller = x->account,
                        .region = x->region,
                        .access_key = S(""),
                        .principal = S(""),
                        .request_id = S(""),
                        .now_ns = s->env.io->wall_ns(s->env.io) };
    return c;
}

static Err edit_begin(struct call *c, SecretChange *change, const void *arg)
{
    TRY(secrets_require_kept(c, change->copy));
    return give_pending(c, change, *(const Str *)arg);
}

static Err edit_end(struct call *c, SecretChange *change, const void *arg)
{
    const int64_t *now_ms = arg; // of the round: its end is not due again in it
    change->copy->d.last_rotated_date = c->now_ns;
    change->copy->d.has_last_rotated_date = true;
    set_next(change->copy, MAX(secrets_now_ms(c), *now_ms));
    return OK;
}

static void put_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

// What the function is given (user guide, "Lambda rotation functions"). A token is any text.
static Str event_of(struct arena *a, const struct secret *x, Str token, Str step)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    put_text(&w, S("Step"), step);
    put_text(&w, S("SecretId"), x->d.arn);
    put_text(&w, S("ClientRequestToken"), token);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

// False: the step has not succeeded.
static bool call_step(struct secrets *s, struct arena *a, const struct secret *x, Str token,
                      Str step)
{
    const struct hub_invoke *invoke = invoke_of(s);
    HubActor as = { .account = x->account,
                    .region = x->region,
                    .service = S("secretsmanager.amazonaws.com"),
                    .source_arn = x->d.arn };
    HubInvokeAnswer answer = { .fault = HUB_INVOKE_NOT_FOUND, .text = S("there are no functions") };
    Str event = event_of(a, x, token, step);
    Err e = invoke == NULL ? OK
                           : invoke->call(invoke->self, a, &as, x->d.rotation_lambda_arn, event,
                                          STEP_NS, &answer);
    if (e.kind == ERR_NONE && answer.fault == HUB_INVOKE_GOOD)
        return true;
    LOG(LOG_WARN, "a secret is not rotated yet: its function has failed", F_STR("secret", x->d.arn),
        F_STR("function", x->d.rotation_lambda_arn), F_STR("step", step),
        F_STR("problem", e.kind == ERR_NONE ? answer.text : str_of(e.text)));
    return false;
}

// The function has put a value and made it the current one, or it is not done.
static bool has_ended(struct secrets *s, struct arena *a, const struct secret *x, Str token,
                      int64_t now_ms)
{
    struct call *c = call_for(s, a, x);
    SecretChange change = { 0 };
    AUTO(secret) now = secrets_look(s, a, x->account, x->region, x->d.arn, secrets_now_ms(c));
    if (now == NULL) // it has gone meanwhile
        return true;
    if (!secret_has_stage(now, token, STAGE_CURRENT)) {
        LOG(LOG_WARN, "a secret is not rotated: its function has not moved AWSCURRENT",
            F_STR("secret", x->d.arn), F_STR("function", x->d.rotation_lambda_arn));
        return false;
    }
    Err e = secrets_change(c, now, &change, edit_end, &now_ms, NULL);
    return e.kind == ERR_NONE || e.kind == ERR_FAULT;
}

static bool rotate(struct secrets *s, const struct secret *x, int64_t now_ms)
{
    static const Str steps[] = { S_INIT("createSecret"), S_INIT("setSecret"), S_INIT("testSecret"),
                                 S_INIT("finishSecret") };
    AUTO(arena) a = arena_open();
    Str token = pending_of(x);
    if (token.p == NULL) {
        SecretChange change = { 0 };
        token = new_token(s, a);
        if (secrets_change(call_for(s, a, x), x, &change, edit_begin, &token, NULL).kind !=
            ERR_NONE)
            return false;
    }
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        if (!call_step(s, a, x, token, steps[i]))
            return false;
    if (!has_ended(s, a, x, token, now_ms))
        return false;
    LOG(LOG_INFO, "a secret was rotated", F_STR("secret", x->d.arn), F_STR("version", token));
    return true;
}

static Err edit_end_test(struct call *c, SecretChange *change, const void *arg)
{
    end_test(c, change, *(const Str *)arg);
    return OK;
}

// Whatever comes of it: it is not repeated. False: its version could not be removed.
static bool try_out(struct secrets *s, const struct secret *x)
{
    AUTO(arena) a = arena_open();
    Str token = pending_of(x);
    SecretChange change = { 0 };
    if (call_step(s, a, x, token, S("testSecret")))
        LOG(LOG_INFO, "a function was tried out for rotations", F_STR("secret", x->d.arn),
            F_STR("function", x->d.rotation_lambda_arn));
    Err e = secrets_change(call_for(s, a, x), x, &change, edit_end_test, &token, NULL);
    return e.kind == ERR_NONE || e.kind == ERR_FAULT; // it has gone meanwhile
}

int64_t secrets_rotate_due(struct secrets *s, int64_t now_ms)
{
    for (;;) {
        int64_t next_ms;
        AUTO(secret) x = next_due(s, now_ms, &next_ms);
        if (x == NULL || atomic_load(&s->stopping))
            return next_ms;
        bool done = is_test(pending_of(x)) ? try_out(s, x) : rotate(s, x, now_ms);
        set_retry(s, x, done ? 0 : now_ms + RETRY_MS);
    }
}
