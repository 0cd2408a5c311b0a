// SPDX-License-Identifier: Apache-2.0
#include "server/admin.h"

#include "access/guard.h"
#include "aws/sigv4.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "hub/service.h"
#include "os/io.h"
#include "server/store_stat.h"
#include "store/backup.h"

#include <linux/ioprio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PROBLEMS_MAX = 20, // told to who asks; the log has all
    NICE = 10,
    // The check rests as long as it has worked, and never longer than this at once.
    REST_MS_MAX = 50,
};

#define PAGES_BELOW "/_headrace/admin/"

typedef enum JobKind { JOB_CHECK, JOB_BACKUP } JobKind;
typedef enum JobState { JOB_NONE, JOB_RUNNING, JOB_DONE, JOB_FAILED } JobState;

struct admin {
    AdminConfig config;
    struct sigv4 *verifier;
    pthread_mutex_t lock; // everything below but the atomics
    bool has_thread;
    pthread_t thread;
    struct arena *a; // of the job
    JobKind kind;
    JobState state;
    Str to; // of a backup
    bool with_credentials;
    Err err; // of JOB_FAILED
    BackupOutcome outcome;
    uint64_t records; // checked
    uint64_t all_bytes;
    Str problems[PROBLEMS_MAX];
    size_t problem_count;
    atomic_ullong bytes;
    atomic_bool stopping;
    int64_t worked_since_ns; // the job's own
};

// ---- The job, on its own thread

static bool stops(void *self)
{
    struct admin *ad = self;
    return atomic_load(&ad->stopping);
}

static void progress(void *self, uint64_t bytes)
{
    struct admin *ad = self;
    atomic_fetch_add(&ad->bytes, bytes);
    if (ad->kind != JOB_CHECK)
        return;
    // Half of the time belongs to others.
    struct io *io = ad->config.place_io;
    int64_t worked = io->mono_ns(io) - ad->worked_since_ns;
    io->sleep_ns(io, MAX(MIN(worked, REST_MS_MAX * NS_PER_MS), (int64_t)0));
    ad->worked_since_ns = io->mono_ns(io);
}

static void problem(void *self, Str name, Err e)
{
    struct admin *ad = self;
    LOG(LOG_ERROR, "the check found damage", F_STR("where", name), F_ERR(e));
    pthread_mutex_lock(&ad->lock);
    if (ad->problem_count < PROBLEMS_MAX)
        ad->problems[ad->problem_count] =
            str_fmt(ad->a, "%.*s: %s", FMT(name), e.text != NULL ? e.text : "");
    ad->problem_count++;
    pthread_mutex_unlock(&ad->lock);
}

static void lower_priority(void)
{
    // What fails here costs only politeness.
    pid_t self = (pid_t)syscall(SYS_gettid);
    (void)setpriority(PRIO_PROCESS, (id_t)self, NICE);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, self, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
}

static Err run_check(struct admin *ad, const BackupWatch *watch)
{
    AUTO(arena) tmp = arena_open();
    Checkpoint held;
    uint64_t records = 0;
    TRY(log_hold(ad->config.log, tmp, &held));
    pthread_mutex_lock(&ad->lock);
    for (size_t i = 0; i < held.container_count; i++)
        ad->all_bytes += held.containers[i].bytes;
    pthread_mutex_unlock(&ad->lock);
    Str dir = str_cat(tmp, ad->config.data_dir, S("/journal/sealed"));
    ad->worked_since_ns = ad->config.place_io->mono_ns(ad->config.place_io);
    Err e = backup_check_held(ad->config.io, dir, &held, watch, &records);
    log_release(ad->config.log, &held);
    pthread_mutex_lock(&ad->lock);
    ad->records = records;
    pthread_mutex_unlock(&ad->lock);
    return e;
}

static void hold_files(void *self, bool on)
{
    struct admin *ad = self;
    for (size_t i = 0; i < ad->config.service_count; i++)
        if (ad->config.services[i]->hold != NULL)
            ad->config.services[i]->hold(ad->config.states[i], on);
}

static Err run_backup(struct admin *ad, const BackupWatch *watch)
{
    AUTO(arena) a = arena_open(); // of the outcome, until it is copied
    AUTO(backup_target) t = NULL;
    backup_target_dir(ad->config.place_io, ad->to, &t);
    BackupSource source = {
        .io = ad->config.io,
        .data_dir = ad->config.data_dir,
        .log = ad->config.log,
        .kv = ad->config.kv,
        .version = ad->config.version,
        .with_credentials = ad->with_credentials,
        .hold = hold_files,
        .hold_self = ad,
    };
    BackupOutcome out;
    TRY(backup_create(&source, t, watch, a, &out));
    pthread_mutex_lock(&ad->lock);
    ad->outcome = out;
    ad->outcome.backup.id = str_dup(ad->a, out.backup.id);
    pthread_mutex_unlock(&ad->lock);
    return OK;
}

static void *run_job(void *self)
{
    struct admin *ad = self;
    const BackupWatch watch = {
        .stop = stops, .progress = progress, .problem = problem, .self = ad
    };
    lower_priority();
    bool checks = ad->kind == JOB_CHECK;
    Err e = checks ? run_check(ad, &watch) : run_backup(ad, &watch);
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, checks ? "a check of the store failed" : "a backup failed",
            F_STR("to", ad->to), F_ERR(e));
    else
        LOG(LOG_INFO, checks ? "the store was checked" : "a backup was made", F_STR("to", ad->to),
            F_INT("bytes", atomic_load(&ad->bytes)));
    pthread_mutex_lock(&ad->lock);
    ad->err = e;
    ad->state = e.kind == ERR_NONE ? JOB_DONE : JOB_FAILED;
    pthread_mutex_unlock(&ad->lock);
    return NULL;
}

// Under the lock. The one before has ended.
static Err start_job(struct admin *ad, JobKind kind, Str to, bool with_credentials)
{
    if (ad->state == JOB_RUNNING || atomic_load(&ad->stopping))
        return fail(ERR_BUSY, "a check or a backup is running");
    if (ad->has_thread)
        pthread_join(ad->thread, NULL);
    ad->has_thread = false;
    arena_reset(ad->a);
    ad->kind = kind;
    ad->to = str_dup(ad->a, to);
    ad->with_credentials = with_credentials;
    ad->err = OK;
    ad->outcome = (BackupOutcome){ 0 };
    ad->records = ad->all_bytes = ad->problem_count = 0;
    atomic_store(&ad->bytes, 0);
    int error = pthread_create(&ad->thread, NULL, run_job, ad);
    if (error != 0)
        return fail_os(error, "no thread");
    ad->has_thread = true;
    ad->state = JOB_RUNNING;
    return OK;
}

// ---- Answers

static void reply(struct http_exchange *x, unsigned status, Str body)
{
    const HttpHeader headers[] = { { S("content-type"), S("application/json") },
                                   { S("cache-control"), S("no-store") } };
    http_reply(x, status, headers, COUNT_OF(headers), body);
}

static void reply_error(struct http_exchange *x, unsigned status, Str text)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("error"));
    w.ops->text(&w, text);
    w.ops->map_end(&w);
    reply(x, status, buf_str(&b));
}

static void put_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void put_number(struct event_writer *w, Str key, uint64_t n)
{
    w->ops->key(w, key);
    w->ops->integer(w, (int64_t)n);
}

static void write_outcome(struct admin *ad, struct event_writer *w)
{
    const BackupOutcome *o = &ad->outcome;
    put_text(w, S("to"), ad->to);
    if (ad->state != JOB_DONE)
        return;
    put_text(w, S("id"), o->backup.id);
    put_number(w, S("records"), o->backup.records);
    put_number(w, S("files"), o->backup.file_count);
    put_number(w, S("file_bytes"), o->backup.bytes);
    put_number(w, S("new_objects"), o->new_objects);
    put_number(w, S("new_bytes"), o->new_bytes);
}

// Under the lock.
static void write_job(struct admin *ad, struct buf *b)
{
    static const Str states[] = { S_INIT("none"), S_INIT("running"), S_INIT("done"),
                                  S_INIT("failed") };
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_text(&w, S("state"), states[ad->state]);
    if (ad->state != JOB_NONE) {
        put_text(&w, S("job"), ad->kind == JOB_CHECK ? S("check") : S("backup"));
        put_number(&w, S("bytes"), atomic_load(&ad->bytes));
    }
    if (ad->state != JOB_NONE && ad->kind == JOB_CHECK) {
        put_number(&w, S("all_bytes"), ad->all_bytes);
        put_number(&w, S("records"), ad->records);
    } else if (ad->state != JOB_NONE) {
        write_outcome(ad, &w);
    }
    if (ad->state == JOB_FAILED) {
        put_text(&w, S("error"), str_of(ad->err.text));
        put_text(&w, S("kind"), str_of(err_kind_name(ad->err.kind)));
        put_number(&w, S("errno"), (uint64_t)ad->err.os);
    }
    w.ops->key(&w, S("problems"));
    w.ops->list(&w);
    for (size_t i = 0; i < MIN(ad->problem_count, (size_t)PROBLEMS_MAX); i++)
        w.ops->text(&w, ad->problems[i]);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

static void reply_job(struct admin *ad, struct http_exchange *x)
{
    AUTO_BUF(b);
    pthread_mutex_lock(&ad->lock);
    write_job(ad, &b);
    pthread_mutex_unlock(&ad->lock);
    reply(x, 200, buf_str(&b));
}

static void begin(struct admin *ad, struct http_exchange *x, JobKind kind, Str to, bool credentials)
{
    pthread_mutex_lock(&ad->lock);
    Err e = start_job(ad, kind, to, credentials);
    pthread_mutex_unlock(&ad->lock);
    if (e.kind == ERR_NONE)
        reply_job(ad, x);
    else
        reply_error(x, e.kind == ERR_BUSY ? 409 : 500, str_of(e.text));
}

static void begin_backup(struct admin *ad, struct http_exchange *x)
{
    JsonValue *v = NULL;
    if (json_parse(x->arena, x->body, &v).kind != ERR_NONE) {
        reply_error(x, 400, S("the body is not JSON"));
        return;
    }
    Str to = json_text(v, S("to"));
    const JsonValue *credentials = json_find(v, S("with_credentials"));
    if (!str_starts(to, S("/")) || memchr(to.p, 0, to.n) != NULL)
        reply_error(x, 400, S("\"to\" must be an absolute path"));
    else
        begin(ad, x, JOB_BACKUP, to,
              credentials != NULL && credentials->kind == JSON_BOOL && credentials->integer != 0);
}

struct stat_request {
    struct task task;
    struct admin *ad;
    struct http_exchange *x;
};

static void stat_on_pool(struct task *t)
{
    struct stat_request *r = (struct stat_request *)t;
    StoreStat s;
    Err e = store_stat_online(r->ad->config.io, r->ad->config.data_dir, r->ad->config.log, &s);
    if (e.kind != ERR_NONE) {
        reply_error(r->x, 500, str_of(e.text));
        return;
    }
    AUTO_BUF(b);
    store_stat_write(&b, &s);
    reply(r->x, 200, buf_str(&b));
}

static void answer_stat(struct admin *ad, struct http_exchange *x)
{
    struct stat_request *r = arena_new(x->arena, struct stat_request, 1);
    *r = (struct stat_request){ .task.run = stat_on_pool, .ad = ad, .x = x };
    if (pool_submit(ad->config.pool, &r->task).kind != ERR_NONE)
        reply_error(x, 503, S("all workers are busy"));
}

static void answer_access(struct admin *ad, struct http_exchange *x)
{
    const struct access_guard *guard = ad->config.guard;
    if (guard == NULL)
        reply_error(x, 400, S("this profile permits every call"));
    else
        reply(x, 200, guard->recent(guard->self, x->arena));
}

// ---- What services offer

struct operator_request {
    struct task task;
    struct http_exchange *x;
    const struct operator_page *page;
    void *state;
    struct operator_call call;
};

static void reply_problem(struct http_exchange *x, Err e, Str problem)
{
    unsigned status = e.kind == ERR_INVALID || e.kind == ERR_NOT_FOUND ? 400
                      : e.kind == ERR_MEMORY || e.kind == ERR_BUSY     ? 503
                                                                       : 500;
    Str text = problem.p != NULL ? problem : str_of(e.text);
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    put_text(&w, S("error"), text.p != NULL ? text : S(""));
    put_text(&w, S("kind"), str_of(err_kind_name(e.kind)));
    w.ops->map_end(&w);
    reply(x, status, buf_str(&b));
}

static void answer_operator(struct task *t)
{
    struct operator_request *r = (struct operator_request *)t;
    AUTO_BUF(b);
    Str problem = { 0 };
    Err e = r->page->answer(r->state, &r->call, &b, &problem);
    if (e.kind == ERR_NONE)
        e = buf_err(&b);
    if (e.kind != ERR_NONE && problem.p == NULL && e.kind != ERR_MEMORY)
        LOG(LOG_ERROR, "an operator's page failed", F_STR("page", r->page->name), F_ERR(e));
    if (e.kind != ERR_NONE)
        reply_problem(r->x, e, problem);
    else
        reply(r->x, 200, buf_str(&b));
}

static const struct operator_page *find_page(const struct admin *ad, Str path, void **ret_state)
{
    Str name = str_skip(path, sizeof PAGES_BELOW - 1);
    for (size_t i = 0; i < ad->config.service_count; i++) {
        const struct service *s = ad->config.services[i];
        *ret_state = ad->config.states[i];
        for (size_t k = 0; k < s->page_count; k++)
            if (str_eq(s->pages[k].name, name))
                return &s->pages[k];
    }
    return NULL;
}

static void ask_service(struct admin *ad, struct http_exchange *x, const Caller *caller,
                        const struct operator_page *page, void *state)
{
    JsonValue *body = NULL;
    if (json_parse(x->arena, x->body, &body).kind != ERR_NONE || body->kind != JSON_MAP) {
        reply_error(x, 400, S("the body is not a JSON object"));
        return;
    }
    struct io *clock = ad->config.io;
    struct operator_request *r = arena_new(x->arena, struct operator_request, 1);
    *r = (struct operator_request){ .task.run = answer_operator,
                                    .x = x,
                                    .page = page,
                                    .state = state,
                                    .call = { .arena = x->arena,
                                              .account = caller->account,
                                              .region = caller->region,
                                              .principal = caller->principal,
                                              .access_key = caller->access_key,
                                              .now_ns = clock->wall_ns(clock),
                                              .body = body } };
    if (pool_submit(ad->config.pool, &r->task).kind != ERR_NONE)
        reply_error(x, 503, S("all workers are busy"));
}

static void serve_admin(void *self, struct http_exchange *x)
{
    const struct operator_page *page;
    void *state;
    struct admin *ad = self;
    Caller caller = { 0 };
    AuthFault fault = { 0 };
    struct io *io = ad->config.place_io;
    Sigv4Want want = { .service = S("headrace"), .now_ns = io->wall_ns(io) };
    if (!str_eq(x->method, S("POST")))
        reply_error(x, 405, S("only POST"));
    else if (sigv4_verify(ad->verifier, x, &want, &caller, &fault).kind != ERR_NONE)
        reply_error(x, 403, fault.message.n > 0 ? fault.message : fault.type);
    else if (!str_ends(caller.principal, S(":root")))
        reply_error(x, 403, S("only the root key may ask"));
    else if ((page = find_page(ad, x->path, &state)) != NULL)
        ask_service(ad, x, &caller, page, state);
    else if (str_ends(x->path, S("/access")))
        answer_access(ad, x);
    else if (str_ends(x->path, S("/stat")))
        answer_stat(ad, x);
    else if (str_ends(x->path, S("/check")))
        begin(ad, x, JOB_CHECK, S(""), false);
    else if (str_ends(x->path, S("/backup")))
        begin_backup(ad, x);
    else
        reply_job(ad, x);
}

// ---- Opening

static Err add_service_pages(struct admin *ad, struct front *front)
{
    AUTO(arena) tmp = arena_open();
    for (size_t i = 0; i < ad->config.service_count; i++) {
        const struct service *s = ad->config.services[i];
        for (size_t k = 0; k < s->page_count; k++)
            TRY(front_add_form(front, str_cat(tmp, S(PAGES_BELOW), s->pages[k].name), serve_admin,
                               ad));
    }
    return OK;
}

Err admin_open(const AdminConfig *config, struct front *front, struct admin **ret)
{
    static const Str paths[] = { S_INIT("/_headrace/admin/stat"), S_INIT("/_headrace/admin/check"),
                                 S_INIT("/_headrace/admin/backup"),
                                 S_INIT("/_headrace/admin/access"),
                                 S_INIT("/_headrace/admin/job") };
    struct admin *ad = xalloc(sizeof *ad);
    ad->config = *config;
    ad->a = arena_open();
    pthread_mutex_init(&ad->lock, NULL);
    sigv4_open(config->keys, &ad->verifier);
    Err e = OK;
    for (size_t i = 0; i < COUNT_OF(paths) && e.kind == ERR_NONE; i++)
        e = front_add_form(front, paths[i], serve_admin, ad);
    if (e.kind == ERR_NONE)
        e = add_service_pages(ad, front);
    if (e.kind != ERR_NONE) {
        admin_close(ad);
        return e;
    }
    *ret = ad;
    return OK;
}

void admin_stop(struct admin *ad)
{
    if (ad == NULL)
        return;
    pthread_mutex_lock(&ad->lock);
    atomic_store(&ad->stopping, true);
    bool has_thread = ad->has_thread;
    ad->has_thread = false;
    pthread_mutex_unlock(&ad->lock);
    if (has_thread)
        pthread_join(ad->thread, NULL);
}

void admin_close(struct admin *ad)
{
    if (ad == NULL)
        return;
    sigv4_close(ad->verifier);
    pthread_mutex_destroy(&ad->lock);
    arena_close(ad->a);
    free(ad);
}
