// SPDX-License-Identifier: Apache-2.0
// Decides about calls (access/guard.h): gathers the policies of who signed, asks them, and
// remembers.
//
// What was allowed without a condition is kept by key, action, resource and the resource's policy;
// it counts until the next change of any identity, and for the minute: then its use is noted again.
// Refusals are made anew each time, logged with the statement that decided, and the newest are
// shown to operators.
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "http/server.h"
#include "svc/iam/iam.h"
#include "svc/iam/used.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEPT = 1024,          // decisions
    KEPT_KEY_BYTES = 480, // longer ones are not kept
    REFUSALS_SHOWN = 256,
    VALUES_OWN = 24, // context keys that every request may have
};

struct kept {
    uint64_t version;
    int64_t minute;
    size_t n;
    char key[KEPT_KEY_BYTES];
};

struct refusal {
    struct arena *arena;
    int64_t at_ns;
    Str request_id, principal, action, resource, text, statement;
};

struct decisions {
    pthread_rwlock_t lock;
    struct kept *kept; // made at the first use
    pthread_mutex_t telling;
    struct refusal refusals[REFUSALS_SHOWN]; // a ring
    size_t refusal_count;
};

// ---- What is kept

typedef struct KeptKey {
    char text[KEPT_KEY_BYTES];
    size_t n; // 0: too long
} KeptKey;

static void make_key(KeptKey *key, const struct call *c, const AccessTarget *t)
{
    uint64_t serial = t->policy != NULL ? policy_serial(t->policy) : 0;
    Str who = c->role.p != NULL ? c->role : c->access_key.n > 0 ? c->access_key : c->principal;
    const Str parts[] = { who,
                          t->action,
                          t->resource,
                          t->account,
                          c->service,
                          c->source_arn,
                          str_from(&serial, sizeof serial) };
    key->n = 0;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i].n + 1 > sizeof key->text - key->n) {
            key->n = 0;
            return;
        }
        if (parts[i].n > 0)
            memcpy(key->text + key->n, parts[i].p, parts[i].n);
        key->n += parts[i].n;
        key->text[key->n++] = '\0'; // in none of the texts
    }
}

static bool is_kept(struct iam *s, const KeptKey *key, int64_t minute)
{
    struct decisions *d = s->decisions;
    Str text = str_from(key->text, key->n);
    bool found = false;
    if (key->n == 0)
        return false;
    pthread_rwlock_rdlock(&d->lock);
    if (d->kept != NULL) {
        const struct kept *k = &d->kept[map_hash(text) % KEPT];
        found = k->version == atomic_load(&s->version) && k->minute == minute &&
                str_eq(str_from(k->key, k->n), text);
    }
    pthread_rwlock_unlock(&d->lock);
    return found;
}

static void keep(struct iam *s, const KeptKey *key, uint64_t version, int64_t minute)
{
    struct decisions *d = s->decisions;
    if (key->n == 0)
        return;
    pthread_rwlock_wrlock(&d->lock);
    if (d->kept == NULL)
        d->kept = xalloc(KEPT * sizeof *d->kept);
    struct kept *k = &d->kept[map_hash(str_from(key->text, key->n)) % KEPT];
    k->version = version;
    k->minute = minute;
    k->n = key->n;
    memcpy(k->key, key->text, key->n);
    pthread_rwlock_unlock(&d->lock);
}

// ---- Who asks

typedef struct Asker {
    struct signer *signer; // NULL: the root key of the configuration
    struct entity *entity; // NULL: an account's root
    struct policy **policies;
    size_t policy_count;
    struct policy *boundary;
    bool lost; // what should be there is not: nothing is allowed
} Asker;

static void add_own(struct arena *a, Asker *k, const struct entity *e)
{
    struct policy **more =
        arena_new(a, struct policy *, k->policy_count + e->policy_count + e->attached.n);
    for (size_t i = 0; i < k->policy_count; i++)
        more[i] = k->policies[i];
    for (size_t i = 0; i < e->policy_count; i++)
        more[k->policy_count++] = policy_ref(e->policies[i].policy);
    k->policies = more;
}

static void add_attached(struct iam *s, Asker *k, const struct entity *e)
{
    for (size_t i = 0; i < e->attached.n; i++) { // there is room since add_own
        AUTO(entity) policy = iam_look_arn(s, ENTITY_POLICY, e->attached.at[i]);
        if (policy != NULL)
            k->policies[k->policy_count++] = policy_ref(entity_default_version(policy));
    }
}

// Who has not signed at all; the front lets such calls come to services that may serve them.
static bool is_nobody(const struct call *c)
{
    return c->access_key.n == 0 && c->principal.n == 0;
}

static void add_policies(struct iam *s, struct arena *a, Asker *k)
{
    const struct entity *e = k->entity;
    add_own(a, k, e);
    add_attached(s, k, e);
    for (size_t i = 0; i < e->groups.n; i++) {
        AUTO(entity) group = iam_look(s, ENTITY_GROUP, e->account, e->groups.at[i]);
        if (group == NULL)
            continue;
        add_own(a, k, group);
        add_attached(s, k, group);
    }
    if (e->boundary.p != NULL) {
        AUTO(entity) boundary = iam_look_arn(s, ENTITY_POLICY, e->boundary);
        k->lost = boundary == NULL;
        k->boundary = boundary != NULL ? policy_ref(entity_default_version(boundary)) : NULL;
    }
}

// What nobody may do with what GetFederationToken gave ("Compare AWS STS credentials").
static bool may_not_federated(Str action)
{
    return str_starts(action, S("iam:")) || str_starts(action, S("sts:"));
}

static void add_everything(struct iam *s, struct arena *a, Asker *k)
{
    AUTO(entity)
    all = iam_look_arn(s, ENTITY_POLICY, S("arn:aws:iam::aws:policy/AdministratorAccess"));
    if (all == NULL)
        return;
    k->policies = arena_new(a, struct policy *, 1);
    k->policies[k->policy_count++] = policy_ref(entity_default_version(all));
}

static void gather(struct iam *s, struct call *c, const AccessTarget *t, Asker *k)
{
    if (is_nobody(c))
        return; // only resources let them in
    if (c->role.p != NULL) {
        k->entity = iam_look_arn(s, ENTITY_ROLE, c->role);
        k->lost =
            k->entity == NULL || !iam_role_trusts(k->entity, c->service, c->caller, c->source_arn);
        if (!k->lost)
            add_policies(s, c->arena, k);
        return;
    }
    k->signer = iam_signer(s, c->access_key);
    if (k->signer == NULL) {
        k->lost = !str_ends(c->principal, S(":root")); // its key was deleted meanwhile
        return;
    }
    if (k->signer->name.n == 0 && k->signer->federated.p == NULL)
        return; // a session of the root
    if (k->signer->name.n == 0) {
        k->lost = may_not_federated(t->action);
        add_everything(s, c->arena, k); // the root's, narrowed by the session
        return;
    }
    k->lost = k->signer->federated.p != NULL && may_not_federated(t->action);
    if (k->lost)
        return;
    k->entity = iam_look(s, k->signer->kind, k->signer->account, k->signer->name);
    if (k->entity == NULL || !str_eq(k->entity->id, k->signer->entity_id)) {
        k->lost = true;
        return;
    }
    add_policies(s, c->arena, k);
}

// A key that is a user's, or the role of a session or a service.
static void note_use(struct iam *s, const struct call *c, const AccessTarget *t, const Asker *k)
{
    Used use = { .at_ms = c->now_ns / NS_PER_MS,
                 .region = c->region,
                 .service = str_head(t->action, MIN(str_find(t->action, ':'), t->action.n)) };
    if (k->signer != NULL && k->signer->token.p == NULL && k->signer->name.n > 0)
        used_note(s->used, k->signer->access_key, &use);
    if (k->entity != NULL && k->entity->kind == ENTITY_ROLE)
        used_note(s->used, k->entity->id, &use);
}

static void asker_done(Asker *k)
{
    for (size_t i = 0; i < k->policy_count; i++)
        policy_unref(k->policies[i]);
    policy_unref(k->boundary);
    entity_unref(k->entity);
    signer_unref(k->signer);
}

// ---- The context of the request

struct context {
    struct arena *a;
    AccessValue *at;
    size_t n;
};

static void add(struct context *x, Str name, Str value)
{
    Str *one = arena_new(x->a, Str, 1);
    *one = value;
    x->at[x->n++] = (AccessValue){ .name = name, .values = one, .n = 1 };
}

// "127.0.0.1:50123" or "[::1]:50123" without the port.
static Str address_of(Str peer)
{
    if (str_starts(peer, S("["))) {
        peer = str_skip(peer, 1);
        return str_head(peer, str_find(peer, ']'));
    }
    return str_head(peer, str_find(peer, ':'));
}

static void add_request(struct context *x, const struct call *c, const AccessTarget *t)
{
    const struct http_exchange *e = c->exchange;
    add(x, S("aws:CurrentTime"), time_iso_ms(x->a, c->now_ns));
    add(x, S("aws:EpochTime"), str_fmt(x->a, "%lld", (long long)(c->now_ns / NS_PER_S)));
    add(x, S("aws:RequestedRegion"), c->region);
    add(x, S("aws:ResourceAccount"), t->account);
    add(x, S("aws:PrincipalAccount"), c->caller);
    add(x, S("aws:PrincipalIsAWSService"), S("false"));
    add(x, S("aws:ViaAWSService"), S("false"));
    if (e == NULL)
        return;
    add(x, S("aws:SecureTransport"), e->tls ? S("true") : S("false"));
    add(x, S("aws:SourceIp"), address_of(e->peer));
    Str agent = http_header(e, S("user-agent"));
    if (agent.p != NULL)
        add(x, S("aws:UserAgent"), agent);
}

// Without a signer: of a role that a service acts as.
static void add_entity(struct context *x, const struct call *c, const struct entity *e,
                       const struct signer *k)
{
    if (e->kind == ENTITY_ROLE) {
        add(x, S("aws:PrincipalArn"), e->arn);
        add(x, S("aws:PrincipalType"), S("AssumedRole"));
        Str session = k != NULL ? k->session_name : c->service;
        add(x, S("aws:userid"), str_cat3(x->a, e->id, S(":"), session));
    } else {
        bool federated = k != NULL && k->federated.p != NULL;
        add(x, S("aws:PrincipalArn"), c->principal);
        add(x, S("aws:PrincipalType"), federated ? S("FederatedUser") : S("User"));
        if (!federated)
            add(x, S("aws:username"), e->name);
        add(x, S("aws:userid"),
            federated ? str_cat3(x->a, c->caller, S(":"), k->federated) : e->id);
    }
    // A tag of the session stands before the role's of that key: the first one counts.
    for (size_t i = 0; k != NULL && i < k->tag_count; i++)
        add(x, str_cat(x->a, S("aws:PrincipalTag/"), k->tags[i].key), k->tags[i].value);
    for (size_t i = 0; i < e->tag_count; i++)
        add(x, str_cat(x->a, S("aws:PrincipalTag/"), e->tags[i].key), e->tags[i].value);
    if (k != NULL && k->source_identity.p != NULL)
        add(x, S("aws:SourceIdentity"), k->source_identity);
}

static void add_asker(struct context *x, const struct call *c, const Asker *k)
{
    if (is_nobody(c)) {
        add(x, S("aws:PrincipalType"), S("Anonymous"));
        return;
    }
    if (k->entity != NULL) {
        add_entity(x, c, k->entity, k->signer);
    } else {
        add(x, S("aws:PrincipalArn"), c->principal);
        add(x, S("aws:PrincipalType"), S("Account"));
    }
    if (k->signer != NULL && k->signer->token.p != NULL) {
        bool mfa = k->signer->mfa_ms > 0;
        add(x, S("aws:MultiFactorAuthPresent"), mfa ? S("true") : S("false"));
        if (mfa)
            add(x, S("aws:MultiFactorAuthAge"),
                str_fmt(x->a, "%lld",
                        (long long)((c->now_ns / NS_PER_MS - k->signer->mfa_ms) / 1000)));
        add(x, S("aws:TokenIssueTime"), time_iso_ms(x->a, k->signer->created_ms * NS_PER_MS));
    }
}

// ---- Deciding

static void remember(struct iam *s, const struct call *c, const AccessTarget *t, Str text,
                     Str statement)
{
    struct decisions *d = s->decisions;
    struct arena *a = arena_open();
    struct refusal r = { .arena = a,
                         .at_ns = c->now_ns,
                         .request_id = str_dup(a, c->request_id),
                         .principal = str_dup(a, c->principal),
                         .action = str_dup(a, t->action),
                         .resource = str_dup(a, t->resource),
                         .text = str_dup(a, text),
                         .statement = str_dup(a, statement) };
    pthread_mutex_lock(&d->telling);
    struct refusal *place = &d->refusals[d->refusal_count++ % REFUSALS_SHOWN];
    struct arena *old = place->arena;
    *place = r;
    pthread_mutex_unlock(&d->telling);
    arena_close(old);
    LOG(LOG_INFO, "access denied", F_STR("principal", c->principal), F_STR("action", t->action),
        F_STR("resource", t->resource), F_STR("decided_by", statement), F_STR("text", text),
        F_STR("request_id", c->request_id));
}

static void ask(struct iam *s, struct call *c, const AccessTarget *t, const Asker *k,
                AccessRequest *ret_request, AccessDecision *ret)
{
    (void)s;
    size_t tags = k->entity != NULL ? k->entity->tag_count : 0;
    tags += k->signer != NULL ? k->signer->tag_count : 0;
    struct context x = { .a = c->arena };
    x.at = arena_new(c->arena, AccessValue, VALUES_OWN + tags + t->context_count);
    add_request(&x, c, t);
    add_asker(&x, c, k);
    for (size_t i = 0; i < t->context_count; i++)
        x.at[x.n++] = t->context[i];
    *ret_request = (AccessRequest){
        .action = t->action,
        .resource = t->resource,
        .principal = is_nobody(c) ? S("anonymous") : c->principal,
        .role = k->entity != NULL && k->entity->kind == ENTITY_ROLE ? k->entity->arn : (Str){ 0 },
        // For nobody there is no account that could allow it: the resource's word is enough.
        .principal_account = is_nobody(c) ? t->account : c->caller,
        .resource_account = t->account,
        .context = x.at,
        .context_count = x.n,
    };
    AccessPolicies p = { .identity = k->policies,
                         .identity_count = k->policy_count,
                         .boundary = k->boundary,
                         .resource = t->policy,
                         .resource_decides = t->policy_decides,
                         .resource_binds_root = t->binds_root,
                         .granted = t->granted };
    if (k->signer != NULL) {
        p.session = k->signer->session;
        p.session_count = k->signer->session_count;
    }
    if (k->lost)
        *ret = (AccessDecision){ .reason = ACCESS_NOT_ALLOWED, .source = ACCESS_BY_IDENTITY };
    else
        access_decide(ret_request, &p, ret);
}

static bool may(void *self, struct call *c, const AccessTarget *t, Str *ret_text)
{
    struct iam *s = self;
    uint64_t version = atomic_load(&s->version); // before anything is looked at
    KeptKey key;
    AccessRequest r;
    AccessDecision d;
    make_key(&key, c, t);
    int64_t minute = c->now_ns / NS_PER_MS / USED_EVERY_MS;
    if (is_kept(s, &key, minute))
        return true;
    Asker k = { 0 };
    gather(s, c, t, &k);
    note_use(s, c, t, &k);
    ask(s, c, t, &k, &r, &d);
    bool allowed = d.reason == ACCESS_ALLOWED;
    // A session's key may expire, but then it does not sign any more.
    if (allowed && !d.conditional && !t->granted)
        keep(s, &key, version, minute);
    if (!allowed) {
        *ret_text = access_denied_text(c->arena, &r, &d);
        remember(s, c, t, *ret_text, access_statement_text(c->arena, &d));
    }
    asker_done(&k);
    return allowed;
}

// ---- For operators

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, str_utf8_count(value) != SIZE_MAX ? value : S("?"));
}

static Str recent(void *self, struct arena *a)
{
    struct iam *s = self;
    struct decisions *d = s->decisions;
    struct event_writer w;
    AUTO_BUF(b);
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("refusals"));
    w.ops->list(&w);
    pthread_mutex_lock(&d->telling);
    size_t n = MIN(d->refusal_count, (size_t)REFUSALS_SHOWN);
    for (size_t i = 0; i < n; i++) { // the newest first
        const struct refusal *r = &d->refusals[(d->refusal_count - 1 - i) % REFUSALS_SHOWN];
        w.ops->map(&w);
        put_text(&w, S("time"), time_iso_ms(a, r->at_ns));
        put_text(&w, S("request_id"), r->request_id);
        put_text(&w, S("principal"), r->principal);
        put_text(&w, S("action"), r->action);
        put_text(&w, S("resource"), r->resource);
        put_text(&w, S("decided_by"), r->statement);
        put_text(&w, S("text"), r->text);
        w.ops->map_end(&w);
    }
    pthread_mutex_unlock(&d->telling);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

void iam_guard_open(struct iam *s)
{
    s->decisions = xalloc(sizeof *s->decisions);
    pthread_rwlock_init(&s->decisions->lock, NULL);
    pthread_mutex_init(&s->decisions->telling, NULL);
    s->guard = (struct access_guard){ .self = s, .may = may, .recent = recent };
}

void iam_guard_close(struct iam *s)
{
    struct decisions *d = s->decisions;
    for (size_t i = 0; i < REFUSALS_SHOWN; i++)
        arena_close(d->refusals[i].arena);
    pthread_mutex_destroy(&d->telling);
    pthread_rwlock_destroy(&d->lock);
    free(d->kept);
    free(d);
}
