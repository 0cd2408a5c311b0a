// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/mfa.h"
#include "aws/sigv2.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "store/master.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROW_VERSION = 1,
    HMAC_BYTES = 20,
    CODE_DIGITS = 6,
    NEAR_STEPS = 1,     // a clock may be off by so many, and a code be typed late
    ENABLE_STEPS = 10,  // when a device is enabled
    RESYNC_STEPS = 240, // two hours, when it is told anew
};

struct mfa_device *mfa_ref(struct mfa_device *d)
{
    __atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
    return d;
}

static void wipe(Str secret)
{
    explicit_bzero((char *)(uintptr_t)secret.p, secret.n); // our own copy
}

void mfa_unref(struct mfa_device *d)
{
    if (d == NULL || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (d->seed.n > 0)
        wipe(d->seed);
    arena_close(d->arena);
    free(d);
}

static struct mfa_device *device_new(void)
{
    struct mfa_device *d = xalloc(sizeof *d);
    d->refs = 1;
    d->arena = arena_open();
    return d;
}

static struct mfa_device *device_copy(const struct mfa_device *of)
{
    struct mfa_device *d = device_new();
    struct arena *a = d->arena;
    *d = *of;
    d->refs = 1;
    d->arena = a;
    d->account = str_dup(a, of->account);
    d->name = str_dup(a, of->name);
    d->path = str_dup(a, of->path);
    d->serial = str_dup(a, of->serial);
    d->seed = str_dup(a, of->seed);
    d->user = str_dup(a, of->user);
    d->user_id = str_dup(a, of->user_id);
    return d;
}

// ---- Codes

void mfa_code(Str seed, int64_t step, char ret[CODE_DIGITS])
{
    unsigned char counter[8], mac[HMAC_BYTES];
    for (size_t i = 0; i < sizeof counter; i++)
        counter[i] = (unsigned char)((uint64_t)step >> (56 - 8 * i));
    hmac_sha1(seed, str_from(counter, sizeof counter), mac);
    size_t at = mac[HMAC_BYTES - 1] & 15; // RFC 4226, 5.3
    uint32_t number = (uint32_t)(mac[at] & 127) << 24 | (uint32_t)mac[at + 1] << 16 |
                      (uint32_t)mac[at + 2] << 8 | mac[at + 3];
    for (size_t i = CODE_DIGITS; i > 0; i--, number /= 10)
        ret[i - 1] = (char)('0' + number % 10);
}

// Takes as long whether it is it or not.
static bool is_code(Str seed, int64_t step, Str code)
{
    char want[CODE_DIGITS];
    unsigned char different = 0;
    mfa_code(seed, step, want);
    for (size_t i = 0; i < CODE_DIGITS && code.n == CODE_DIGITS; i++)
        different |= (unsigned char)(want[i] ^ code.p[i]);
    return code.n == CODE_DIGITS && different == 0;
}

static int64_t step_of(int64_t now_ms)
{
    return now_ms / 1000 / MFA_STEP_S;
}

int64_t mfa_match(const struct mfa_device *d, Str code, int64_t now_ms)
{
    int64_t now = step_of(now_ms) + d->drift, found = -1;
    for (int64_t step = now - NEAR_STEPS; step <= now + NEAR_STEPS; step++)
        if (step > d->last_step && is_code(d->seed, step, code))
            found = step;
    return found;
}

int64_t mfa_match_two(Str seed, Str first, Str second, int64_t now_ms, int64_t steps_max)
{
    int64_t now = step_of(now_ms);
    for (int64_t off = 0; off <= steps_max; off++) // the nearest
        for (int sign = -1; sign <= 1; sign += 2) {
            int64_t step = now + sign * off;
            if (step > 0 && is_code(seed, step - 1, first) && is_code(seed, step, second))
                return step;
        }
    return -1;
}

// ---- Rows

static Str sealed_name(struct arena *a, Str serial)
{
    return str_cat(a, S("iam.mfa/"), serial);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value.p != NULL ? value : S(""));
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static void write_row(struct iam *s, struct arena *tmp, struct buf *b, const struct mfa_device *d)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("account"), d->account);
    put_text(&w, S("name"), d->name);
    put_text(&w, S("path"), d->path);
    put_text(&w, S("sealed"),
             master_seal(s->env.io, s->master, tmp, sealed_name(tmp, d->serial), d->seed));
    put_text(&w, S("user"), d->user);
    put_text(&w, S("user_id"), d->user_id);
    put_number(&w, S("enabled_ms"), d->enabled_ms);
    put_number(&w, S("created_ms"), d->created_ms);
    put_number(&w, S("drift"), d->drift);
    put_number(&w, S("last_step"), d->last_step);
    w.ops->map_end(&w);
}

static int64_t number_in(const JsonValue *v, Str name)
{
    const JsonValue *found = json_find(v, name);
    return found != NULL ? found->integer : 0;
}

static Err read_row(struct iam *s, struct arena *tmp, Str serial, Str row, struct mfa_device **ret)
{
    JsonValue *v;
    Str seed;
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "an MFA device's row is not JSON");
    if (number_in(v, S("version")) > ROW_VERSION)
        return fail(ERR_FORMAT, "an MFA device's row was written by a newer program");
    if (!s->has_master)
        return fail(ERR_CORRUPT, "there are MFA devices, but no master.key for them");
    TRY(master_unseal(s->master, tmp, sealed_name(tmp, serial), json_text(v, S("sealed")), &seed));
    struct mfa_device *d = device_new();
    d->serial = str_dup(d->arena, serial);
    d->account = str_dup(d->arena, json_text(v, S("account")));
    d->name = str_dup(d->arena, json_text(v, S("name")));
    d->path = str_dup(d->arena, json_text(v, S("path")));
    d->seed = str_dup(d->arena, seed);
    d->user = str_dup(d->arena, json_text(v, S("user")));
    d->user_id = str_dup(d->arena, json_text(v, S("user_id")));
    d->enabled_ms = number_in(v, S("enabled_ms"));
    d->created_ms = number_in(v, S("created_ms"));
    d->drift = number_in(v, S("drift"));
    d->last_step = number_in(v, S("last_step"));
    wipe(seed);
    *ret = d;
    return OK;
}

static void keep(struct iam *s, struct mfa_device *take_d)
{
    pthread_rwlock_wrlock(&s->lock);
    struct mfa_device *old = map_put(s->devices, take_d->serial, take_d);
    pthread_rwlock_unlock(&s->lock);
    mfa_unref(old);
}

static Err put_device(struct iam *s, struct mfa_device *take_d)
{
    AUTO(mfa_device) d = take_d;
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    TRY(iam_need_master(s));
    write_row(s, tmp, &row, d);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(s->device_rows);
    TRY(kv_put(tx, d->serial, buf_str(&row)));
    TRY(kv_commit(tx));
    keep(s, mfa_ref(d));
    return OK;
}

static Err drop_device(struct iam *s, Str serial)
{
    AUTO(kv_txn) tx = kv_write(s->device_rows);
    TRY(kv_del(tx, serial));
    TRY(kv_commit(tx));
    pthread_rwlock_wrlock(&s->lock);
    struct mfa_device *old = map_take(s->devices, serial);
    pthread_rwlock_unlock(&s->lock);
    mfa_unref(old);
    return OK;
}

Err iam_load_mfa(struct iam *s)
{
    TRY(kv_table_open(s->env.kv, S("iam.mfa"), &s->device_rows));
    AUTO(kv_txn) tx = kv_read(s->device_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct mfa_device *d = NULL;
        Err e = read_row(s, tmp, scan.rest, scan.value, &d);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "an MFA device cannot be read", F_STR("serial", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
        keep(s, d);
    }
    return scan.err;
}

void iam_close_mfa(struct iam *s)
{
    Str serial;
    void *value;
    for (size_t at = 0; map_next(s->devices, &at, &serial, &value);)
        mfa_unref(value);
    map_close(s->devices);
}

// ---- Finding

static struct mfa_device *look(struct iam *s, Str serial)
{
    pthread_rwlock_rdlock(&s->lock);
    struct mfa_device *d = map_get(s->devices, serial);
    if (d != NULL)
        mfa_ref(d);
    pthread_rwlock_unlock(&s->lock);
    return d;
}

static bool is_users(const struct mfa_device *d, const struct entity *user)
{
    return d->user.n > 0 && str_eq(d->account, user->account) && str_eq(d->user_id, user->id);
}

typedef struct DeviceList {
    struct mfa_device **at;
    Str *names; // what they are sorted by
    size_t n;
} DeviceList;

static int by_serial(const void *x, const void *y)
{
    const struct mfa_device *const *a = x, *const *b = y;
    return str_cmp((*a)->serial, (*b)->serial);
}

// Of an account: of a user, or (NULL) all whose assignment is as wanted.
// References.
static DeviceList list(struct iam *s, struct arena *a, Str account, const struct entity *user,
                       bool assigned, bool unassigned)
{
    DeviceList l = { 0 };
    Str serial;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    l.at = arena_new(a, struct mfa_device *, map_count(s->devices));
    for (size_t at = 0; map_next(s->devices, &at, &serial, &value);) {
        struct mfa_device *d = value;
        bool wanted = str_eq(d->account, account) && (user != NULL    ? is_users(d, user)
                                                      : d->user.n > 0 ? assigned
                                                                      : unassigned);
        if (wanted)
            l.at[l.n++] = mfa_ref(d);
    }
    pthread_rwlock_unlock(&s->lock);
    qsort(l.at, l.n, sizeof *l.at, by_serial);
    l.names = arena_new(a, Str, l.n);
    for (size_t i = 0; i < l.n; i++)
        l.names[i] = l.at[i]->serial;
    return l;
}

static void list_done(DeviceList *l)
{
    for (size_t i = 0; i < l->n; i++)
        mfa_unref(l->at[i]);
}

static size_t count(struct iam *s, const struct entity *user)
{
    AUTO(arena) tmp = arena_open();
    DeviceList l = list(s, tmp, user->account, user, false, false);
    list_done(&l);
    return l.n;
}

bool iam_has_mfa(struct iam *s, const struct entity *user)
{
    return count(s, user) > 0;
}

static Err find(struct call *c, Str serial, struct mfa_device **ret)
{
    AUTO(mfa_device) d = look(c->state, serial);
    if (d == NULL || !str_eq(d->account, c->account))
        return call_fail(c, &iam_NoSuchEntity,
                         "VirtualMFADevice with serial number %.*s does not "
                         "exist.",
                         FMT(serial));
    *ret = mfa_ref(d);
    return OK;
}

// One that is the user's.
static Err find_users(struct call *c, Str given, Str serial, struct mfa_device **ret)
{
    AUTO(mfa_device) d = NULL;
    AUTO(entity) user = NULL;
    Str name;
    TRY(iam_own_name(c, given, &name));
    TRY(iam_find(c, ENTITY_USER, name, &user));
    TRY(find(c, serial, &d));
    if (!is_users(d, user))
        return call_fail(c, &iam_NoSuchEntity, "MFA Device invalid for user.");
    *ret = mfa_ref(d);
    return OK;
}

static bool is_root(const struct call *c)
{
    return c->access_key.n > 0 && str_ends(c->principal, S(":root"));
}

// NULL signer: none that this room has made.
static bool is_callers(const struct mfa_device *d, const struct call *c, const struct signer *k)
{
    if (k == NULL)
        return is_root(c) && d->user.n == 0 && str_eq(d->account, c->caller) &&
               str_eq(d->name, MFA_ROOT_DEVICE);
    return d->user.n > 0 && str_eq(d->account, k->account) && str_eq(d->user_id, k->entity_id);
}

Err iam_check_mfa(struct iam *s, struct call *c, Str serial, Str code, bool use, bool *ret)
{
    *ret = false;
    AUTO(signer) k = iam_signer(s, c->access_key);
    if (k != NULL && (k->kind != ENTITY_USER || k->name.n == 0 || k->token.p != NULL))
        return OK; // only a user's own key has devices, and the root's
    if (use)
        iam_begin(s);
    AUTO(mfa_device) d = look(s, serial);
    int64_t step = d != NULL && is_callers(d, c, k) ? mfa_match(d, code, iam_now_ms(c)) : -1;
    Err e = OK;
    if (use && step >= 0) {
        struct mfa_device *next = device_copy(d);
        next->last_step = step;
        e = put_device(s, next);
    }
    if (use)
        iam_end(s);
    *ret = step >= 0 && e.kind == ERR_NONE;
    return e;
}

// ---- Operations

static Str base32(struct arena *a, Str bytes)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    char *text = arena_alloc(a, bytes.n * 8 / 5 + 1, 1);
    size_t n = 0, bits = 0;
    uint32_t held = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        held = held << 8 | (unsigned char)bytes.p[i];
        for (bits += 8; bits >= 5; bits -= 5)
            text[n++] = letters[held >> (bits - 5) & 31];
    }
    return str_from(text, n); // 40 bytes come out even
}

static Err create_locked(struct call *c, struct mfa_device *d)
{
    AUTO(mfa_device) there = look(c->state, d->serial);
    if (there != NULL)
        return call_fail(c, &iam_EntityAlreadyExists,
                         "MFADevice entity at the same path and name already exists.");
    return put_device(c->state, mfa_ref(d));
}

Err iam_CreateVirtualMFADevice(struct call *c, const struct iam_CreateVirtualMFADevice_in *in,
                               struct iam_CreateVirtualMFADevice_out *out)
{
    struct iam *s = c->state;
    AUTO(mfa_device) d = device_new();
    unsigned char seed[MFA_SEED_BYTES];
    if (str_eq(in->virtual_mfa_device_name, MFA_ROOT_DEVICE) && !is_root(c) && !s->env.dev)
        return call_fail(c, &aws_AccessDeniedException, "Only the root makes the root's device.");
    s->env.io->random(s->env.io, seed, sizeof seed);
    d->account = str_dup(d->arena, c->account);
    d->name = str_dup(d->arena, in->virtual_mfa_device_name);
    d->path = str_dup(d->arena, in->path);
    d->serial = str_fmt(d->arena, "arn:aws:iam::%.*s:mfa%.*s%.*s", FMT(d->account), FMT(d->path),
                        FMT(d->name));
    d->seed = str_dup(d->arena, str_from(seed, sizeof seed));
    d->user = d->user_id = S("");
    d->created_ms = iam_now_ms(c);
    explicit_bzero(seed, sizeof seed);
    iam_begin(s);
    Err e = create_locked(c, d);
    iam_end(s);
    TRY(e);
    iam_VirtualMFADevice *told = arena_new(c->arena, iam_VirtualMFADevice, 1);
    told->serial_number = str_dup(c->arena, d->serial);
    told->base32_string_seed = base32(c->arena, d->seed);
    out->virtual_mfa_device = told;
    return OK;
}

static Err bad_code(struct call *c)
{
    return call_fail(c, &iam_InvalidAuthenticationCode,
                     "Authentication code for device is not valid.");
}

static Err enable_locked(struct call *c, const struct iam_EnableMFADevice_in *in)
{
    AUTO(entity) user = NULL;
    AUTO(mfa_device) d = NULL;
    TRY(iam_find(c, ENTITY_USER, in->user_name, &user));
    TRY(find(c, in->serial_number, &d));
    if (d->user.n > 0)
        return call_fail(c, &iam_EntityAlreadyExists, "MFA Device is already in use.");
    if (count(c->state, user) >= MFA_DEVICES_MAX)
        return call_fail(c, &iam_LimitExceeded, "Cannot exceed quota for MFADevicesPerUser: %d",
                         MFA_DEVICES_MAX);
    int64_t now_ms = iam_now_ms(c);
    int64_t step = mfa_match_two(d->seed, in->authentication_code1, in->authentication_code2,
                                 now_ms, ENABLE_STEPS);
    if (step < 0)
        return bad_code(c);
    struct mfa_device *next = device_copy(d);
    next->user = str_dup(next->arena, user->name);
    next->user_id = str_dup(next->arena, user->id);
    next->enabled_ms = now_ms;
    next->last_step = step;
    if (step < step_of(now_ms) - NEAR_STEPS || step > step_of(now_ms) + NEAR_STEPS)
        next->drift = step - step_of(now_ms);
    return put_device(c->state, next);
}

Err iam_EnableMFADevice(struct call *c, const struct iam_EnableMFADevice_in *in)
{
    iam_begin(c->state);
    Err e = enable_locked(c, in);
    iam_end(c->state);
    return e;
}

static Err resync_locked(struct call *c, const struct iam_ResyncMFADevice_in *in)
{
    AUTO(mfa_device) d = NULL;
    TRY(find_users(c, in->user_name, in->serial_number, &d));
    int64_t now_ms = iam_now_ms(c);
    int64_t step = mfa_match_two(d->seed, in->authentication_code1, in->authentication_code2,
                                 now_ms, RESYNC_STEPS);
    if (step < 0)
        return bad_code(c);
    struct mfa_device *next = device_copy(d);
    next->drift = step - step_of(now_ms);
    next->last_step = step;
    return put_device(c->state, next);
}

Err iam_ResyncMFADevice(struct call *c, const struct iam_ResyncMFADevice_in *in)
{
    iam_begin(c->state);
    Err e = resync_locked(c, in);
    iam_end(c->state);
    return e;
}

static Err deactivate_locked(struct call *c, const struct iam_DeactivateMFADevice_in *in)
{
    AUTO(mfa_device) d = NULL;
    TRY(find_users(c, in->user_name, in->serial_number, &d));
    struct mfa_device *next = device_copy(d);
    next->user = next->user_id = S("");
    next->enabled_ms = 0;
    return put_device(c->state, next);
}

Err iam_DeactivateMFADevice(struct call *c, const struct iam_DeactivateMFADevice_in *in)
{
    iam_begin(c->state);
    Err e = deactivate_locked(c, in);
    iam_end(c->state);
    return e;
}

static Err delete_locked(struct call *c, Str serial)
{
    AUTO(mfa_device) d = NULL;
    TRY(find(c, serial, &d));
    if (d->user.n > 0)
        return call_fail(c, &iam_DeleteConflict,
                         "Cannot delete entity, must deactivate the MFA device first.");
    return drop_device(c->state, serial);
}

Err iam_DeleteVirtualMFADevice(struct call *c, const struct iam_DeleteVirtualMFADevice_in *in)
{
    iam_begin(c->state);
    Err e = delete_locked(c, in->serial_number);
    iam_end(c->state);
    return e;
}

Err iam_ListMFADevices(struct call *c, const struct iam_ListMFADevices_in *in,
                       struct iam_ListMFADevices_out *out)
{
    AUTO(entity) user = NULL;
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    TRY(iam_find(c, ENTITY_USER, name, &user));
    DeviceList l = list(c->state, c->arena, c->account, user, false, false);
    Page page = iam_page(l.names, l.n, in->marker, in->max_items);
    iam_mfaDeviceListType told = { .set = true, .n = page.n };
    told.at = arena_new(c->arena, iam_MFADevice, page.n);
    for (size_t i = 0; i < page.n; i++) {
        const struct mfa_device *d = l.at[page.from + i];
        told.at[i] = (iam_MFADevice){ .user_name = str_dup(c->arena, user->name),
                                      .serial_number = str_dup(c->arena, d->serial),
                                      .enable_date = d->enabled_ms / 1000 * NS_PER_S };
    }
    out->mfa_devices = told;
    out->is_truncated = page.more;
    if (page.more)
        out->marker = told.at[page.n - 1].serial_number;
    list_done(&l);
    return OK;
}

Err iam_ListVirtualMFADevices(struct call *c, const struct iam_ListVirtualMFADevices_in *in,
                              struct iam_ListVirtualMFADevices_out *out)
{
    bool any = str_eq(in->assignment_status, iam_assignmentStatusType_Any);
    DeviceList l = list(c->state, c->arena, c->account, NULL,
                        any || str_eq(in->assignment_status, iam_assignmentStatusType_Assigned),
                        any || str_eq(in->assignment_status, iam_assignmentStatusType_Unassigned));
    Page page = iam_page(l.names, l.n, in->marker, in->max_items);
    iam_virtualMFADeviceListType told = { .set = true, .n = page.n };
    told.at = arena_new(c->arena, iam_VirtualMFADevice, page.n);
    for (size_t i = 0; i < page.n; i++) {
        const struct mfa_device *d = l.at[page.from + i];
        AUTO(entity) user = iam_look(c->state, ENTITY_USER, d->account, d->user);
        iam_VirtualMFADevice *one = &told.at[i];
        one->serial_number = str_dup(c->arena, d->serial);
        if (d->user.n == 0 || user == NULL)
            continue;
        iam_User *whose = arena_new(c->arena, iam_User, 1);
        *whose = (iam_User){ .path = str_dup(c->arena, user->path),
                             .user_name = str_dup(c->arena, user->name),
                             .user_id = str_dup(c->arena, user->id),
                             .arn = str_dup(c->arena, user->arn),
                             .create_date = user->created_ms / 1000 * NS_PER_S };
        one->user = whose;
        one->enable_date = d->enabled_ms / 1000 * NS_PER_S;
        one->has_enable_date = true;
    }
    out->virtual_mfa_devices = told;
    out->is_truncated = page.more;
    if (page.more)
        out->marker = told.at[page.n - 1].serial_number;
    list_done(&l);
    return OK;
}
