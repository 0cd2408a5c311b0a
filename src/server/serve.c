// SPDX-License-Identifier: Apache-2.0
#include "server/serve.h"
#include "aws/front.h"
#include "base/logline.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/time.h"
#include "gen/services.h"
#include "hub/hub.h"
#include "hub/metrics.h"
#include "hub/service.h"
#include "os/tls.h"
#include "server/admin.h"
#include "server/credentials.h"
#include "server/data_dir.h"
#include "server/functions.h"
#include "server/notify.h"
#include "server/clock.h"
#include "server/memory_limit.h"
#include "server/pages.h"
#include "server/port_owner.h"
#include "server/remotes.h"
#include "server/zone_set.h"
#include "store/kv.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LOOPS_MAX = 256,
    // From here on a buffer is no part of a heap: larger than the short-lived blocks of arenas.
    HEAP_BUFFER_BYTES_MAX = 5 << 18,
    HEAP_FREE_BYTES_MAX = 8 << 20, // at the end of a heap, kept for the next need
    POOL_QUEUE_MAX = 4096,         // calls waiting for a worker, over which they are throttled
    // An end because of a failed disk waits no longer than this, for slow readers or for the disk.
    DISK_END_SECONDS_MAX = 5,
};
#define ACCOUNT_ROOT S("000000000000")
#define PRINCIPAL_ROOT S("arn:aws:iam::000000000000:root")

struct loop_thread {
    struct loop *loop;
    pthread_t thread;
    bool running;
};

// Everything the process holds, in the order in which it is opened.
struct server {
    const ServeConfig *config;
    const Settings *settings;
    struct arena *a;
    struct io *io;
    Str data_path;
    bool dev;
    sigset_t signals;
    int signal_fd;
    atomic_bool failed; // the journal has
    int failed_fd;      // an eventfd that is written when the server is to end because of it
    struct data_dir *data_dir;
    struct zones *zones; // NULL: none
    struct io *files;    // what the server keeps, in the data directory or in the zones
    bool key_was_made;
    Credentials key;
    struct keyring *keys;
    struct tls_context *tls;
    struct loop_thread loops[LOOPS_MAX];
    struct loop *loop_list[LOOPS_MAX];
    size_t loop_count;
    struct pool *pool, *prompt; // the second of services with short calls that block
    struct clock *clock;
    struct log *log;
    struct kv *kv;
    struct metric_hub metrics;
    struct alarm_target *alarm_targets; // none yet
    struct service_env env;
    struct hub hub;
    struct functions *functions;
    void **states; // beside services[]
    size_t opened; // services
    struct front *front;
    struct pages *pages;
    struct admin *admin;
    struct http_server *http;
};

// "cannot open the journal in DIR: what the error says", with the exit code of its kind.
static ExitCode refuse(Err e, const char *what, Str name)
{
    return complain(exit_code_of(e), "%s %.*s: %s%s%s", what, FMT(name), e.text,
                    e.os != 0 ? ": " : "", e.os != 0 ? strerrordesc_np(e.os) : "");
}

static int64_t wall_ns(void)
{
    return io_real()->wall_ns(io_real());
}

static void set_up_log(const Settings *settings)
{
    LogLevel level = LOG_INFO;
    LogFormat format = LOG_AUTO;
    CHECK(logline_parse_level(settings_text(settings, S("log.level")), &level));
    CHECK(logline_parse_format(settings_text(settings, S("log.format")), &format));
    logline_setup(level, format, wall_ns);
}

static size_t processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (size_t)MAX(CPU_COUNT(&set), 1);
}

// What the C library keeps of freed memory. By its own choice eight heaps for each processor, of
// which each worker's keeps what its largest answer needed, and no mapping for less than 32 MiB
// once a buffer of that size was freed, so that heaps grow by the holes between large buffers. The
// library's own variables decide over this.
static void bound_heaps(void)
{
#ifdef M_ARENA_MAX
    const struct {
        const char *variable;
        int what, value;
    } bounds[] = {
        { "MALLOC_ARENA_MAX", M_ARENA_MAX, (int)MAX(processors(), 2) }, // as many as can be in use
        { "MALLOC_MMAP_THRESHOLD_", M_MMAP_THRESHOLD, HEAP_BUFFER_BYTES_MAX },
        { "MALLOC_TRIM_THRESHOLD_", M_TRIM_THRESHOLD, HEAP_FREE_BYTES_MAX },
    };
    for (size_t i = 0; i < COUNT_OF(bounds); i++)
        if (getenv(bounds[i].variable) == NULL && mallopt(bounds[i].what, bounds[i].value) == 0)
            LOG(LOG_WARN, "the C library may keep much freed memory",
                F_STR("bound", str_of(bounds[i].variable)));
#endif
}

// What all requests together may hold: as configured, or a quarter of what the process may have.
// The least is what one request of the largest kind needs.
static size_t requests_bytes_max(struct server *s)
{
    uint64_t wanted = settings_size(s->settings, S("memory.requests"));
    if (wanted == 0)
        wanted = memory_limit(s->io) / 4;
    return (size_t)MAX(wanted, (uint64_t)MEMORY_REQUESTS_BYTES_MIN);
}

static ExitCode open_memory(struct server *s)
{
    Err e = memory_setup(requests_bytes_max(s), MEMORY_RESERVE_BYTES);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot start", S(""));
}

// Signals are read from a descriptor by the main thread; every other thread inherits the mask.
static ExitCode prepare_process(struct server *s)
{
    tls_take_memory();
    set_up_log(s->settings);
    for (size_t i = 0; i < s->settings->unknown_count; i++)
        LOG(LOG_WARN, "an environment variable is no setting",
            F_STR("variable", s->settings->unknown[i]));
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0)
            LOG(LOG_WARN, "the limit of open files stays low", F_INT("errno", errno));
    }
    bound_heaps();
    uint64_t secret;
    s->io->random(s->io, &secret, sizeof secret);
    map_seed(secret);
    io_allow_uring(str_eq(settings_text(s->settings, S("io_uring")), S("auto")));
    sigemptyset(&s->signals);
    sigaddset(&s->signals, SIGTERM);
    sigaddset(&s->signals, SIGINT);
    sigaddset(&s->signals, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &s->signals, NULL) == 0);
    s->signal_fd = signalfd(-1, &s->signals, SFD_CLOEXEC);
    if (s->signal_fd < 0)
        return refuse(fail_os(errno, "no descriptor for signals"), "cannot start", S(""));
    s->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->failed_fd < 0)
        return refuse(fail_os(errno, "no descriptor for events"), "cannot start", S(""));
    return EXIT_GOOD;
}

static ExitCode open_data_dir(struct server *s)
{
    Str problem = S("");
    Str version = s->config->version;
    Err e = data_dir_hold(s->io, s->a, s->data_path, &s->data_dir, &problem);
    if (e.kind == ERR_NONE)
        e = zone_set_open(s->io, s->a, s->settings, version, &s->zones, &problem);
    s->files = s->zones != NULL ? zones_io(s->zones) : s->io;
    if (e.kind == ERR_NONE)
        e = data_dir_check(s->data_dir, s->files, s->a, s->data_path, version, &problem);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s", FMT(problem));
    return EXIT_GOOD;
}

// From the environment, else from the data directory, else made.
static ExitCode find_key(struct server *s, bool *ret_configured)
{
    Err e = credentials_given(s->config->access_key, s->config->secret_key, &s->key);
    if (e.kind == ERR_INVALID)
        return complain(EXIT_USAGE, "%s", e.text);
    if (e.kind == ERR_NOT_FOUND)
        e = credentials_read(s->files, s->a, s->data_path, &s->key);
    *ret_configured = e.kind == ERR_NONE;
    if (e.kind == ERR_NOT_FOUND) {
        s->key_was_made = true;
        e = credentials_make(s->files, s->a, s->data_path, &s->key);
    }
    if (e.kind != ERR_NONE)
        return refuse(e, "cannot use the credentials in", s->data_path);
    return EXIT_GOOD;
}

// Other machines get in with a key that somebody chose or was shown, and never into the profile dev
// by accident.
static ExitCode check_exposure(struct server *s, bool configured)
{
    const SettingValue *listen = settings_value(s->settings, S("listen"));
    for (size_t i = 0; i < listen->item_count; i++) {
        Str address = listen->items[i];
        uint16_t port;
        if (address_port(address, &port).kind != ERR_NONE)
            return complain(EXIT_USAGE, "'%.*s' is no address to listen on; write HOST:PORT",
                            FMT(address));
        if (address_is_loopback(address))
            continue;
        if (s->dev && !settings_switch(s->settings, S("allow_dev_on_network")))
            return complain(EXIT_USAGE,
                            "%.*s can be reached by other machines, and the profile dev takes any "
                            "credentials. Listen on 127.0.0.1, or use --allow-dev-on-network.",
                            FMT(address));
        if (!s->dev && !configured)
            return complain(EXIT_USAGE,
                            "%.*s can be reached by other machines, but no credentials are "
                            "configured. Set HEADRACE_ACCESS_KEY_ID and "
                            "HEADRACE_SECRET_ACCESS_KEY, or listen on 127.0.0.1.",
                            FMT(address));
    }
    return EXIT_GOOD;
}

// Of further accounts, which the file with the credentials may name.
static ExitCode open_account_keys(struct server *s)
{
    AccountKey *keys = NULL;
    size_t n = 0;
    Err e = credentials_accounts(s->files, s->a, s->data_path, &keys, &n);
    for (size_t i = 0; i < n && e.kind == ERR_NONE; i++)
        e = keyring_add(s->keys, &(Key){ .access_key = keys[i].key.access_key,
                                         .secret = keys[i].key.secret_key,
                                         .account = keys[i].account,
                                         .principal = str_fmt(s->a, "arn:aws:iam::%.*s:root",
                                                              FMT(keys[i].account)) });
    return e.kind == ERR_NONE
               ? EXIT_GOOD
               : refuse(e, "cannot use the accounts in the credentials of", s->data_path);
}

static ExitCode open_keys(struct server *s)
{
    // A key that was only just made is not a configured one: it is not made before this is checked.
    Credentials given = { 0 };
    bool configured =
        credentials_given(s->config->access_key, s->config->secret_key, &given).kind == ERR_NONE ||
        credentials_read(s->files, s->a, s->data_path, &given).kind == ERR_NONE;
    ExitCode code = check_exposure(s, configured);
    if (code == EXIT_GOOD)
        code = find_key(s, &configured);
    if (code != EXIT_GOOD)
        return code;
    keyring_open(s->dev, &s->keys);
    Key root = { .access_key = s->key.access_key,
                 .secret = s->key.secret_key,
                 .account = ACCOUNT_ROOT,
                 .principal = PRINCIPAL_ROOT };
    Err e = keyring_add(s->keys, &root);
    return e.kind == ERR_NONE ? open_account_keys(s) : refuse(e, "cannot use the root key", S(""));
}

static ExitCode open_tls(struct server *s)
{
    Str cert = settings_text(s->settings, S("tls.cert"));
    Str key = settings_text(s->settings, S("tls.key"));
    if ((cert.n > 0) != (key.n > 0))
        return complain(EXIT_USAGE, "tls.cert and tls.key must be given together");
    Err e = OK;
    bool is_made = cert.n == 0;
    if (is_made)
        e = tls_make_certificate(s->files, s->data_path, &cert, &key, s->a);
    if (e.kind == ERR_NONE && s->zones != NULL && is_made) { // it is read by its path
        cert = zones_real_path(s->zones, s->a, cert);
        key = zones_real_path(s->zones, s->a, key);
    }
    if (e.kind == ERR_NONE)
        e = tls_server_context(cert, key, &s->tls);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot use the certificate", cert);
}

static ExitCode open_loops(struct server *s)
{
    size_t wanted = settings_number(s->settings, S("threads"));
    wanted = MIN(wanted > 0 ? wanted : processors(), LOOPS_MAX);
    for (; s->loop_count < wanted; s->loop_count++) {
        Err e = loop_open(&s->loops[s->loop_count].loop);
        if (e.kind != ERR_NONE)
            return refuse(e, "cannot make an event loop", S(""));
        s->loop_list[s->loop_count] = s->loops[s->loop_count].loop;
    }
    unsigned workers = (unsigned)settings_number(s->settings, S("workers"));
    Err e = pool_open(workers, POOL_QUEUE_MAX, "worker", &s->pool);
    if (e.kind == ERR_NONE)
        e = pool_open_prompt(workers, POOL_QUEUE_MAX, "prompt", &s->prompt);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot start the workers", S(""));
}

static bool stays_for_readers(const struct server *s)
{
    return str_eq(settings_text(s->settings, S("on_disk_failure")), S("read-only"));
}

// Called by a thread of the log. Nothing can be acknowledged any more, but what was is safe. Either
// the main thread ends the server, or it stays, answers every write with an error, and says on its
// health pages that it is not ready.
static void journal_failed(void *self, Err e)
{
    struct server *s = self;
    atomic_store(&s->failed, true);
    if (stays_for_readers(s)) {
        LOG(LOG_ERROR,
            "the journal failed: writes are refused until the disk is mended and the server "
            "started again",
            F_ERR(e));
        return;
    }
    LOG(LOG_ERROR, "the journal failed: the server ends", F_INT("status", EXIT_DISK), F_ERR(e));
    CHECK(eventfd_write(s->failed_fd, 1) == 0);
}

static ExitCode open_clock(struct server *s)
{
    ClockConfig config = {
        .io = s->files, .data_path = s->data_path, .may_advance = s->dev, .pool = s->pool
    };
    Err e = clock_open(&config, &s->clock);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot use the clock of", s->data_path);
}

static ExitCode open_store(struct server *s)
{
    const Settings *set = s->settings;
    struct io *io = clock_io(s->clock);
    LogConfig config = {
        .io = io,
        .dir = str_cat(s->a, s->data_path, S("/journal")),
        .file_bytes = settings_size(set, S("journal.file_size")),
        .reserve_bytes = settings_size(set, S("journal.reserve")),
        .seal_bytes = settings_size(set, S("journal.seal_size")),
        .unsealed_bytes_max = settings_size(set, S("journal.unsealed_max")),
        .read_cache_bytes = settings_size(set, S("journal.read_cache")),
        .tail_cache_bytes = settings_size(set, S("journal.tail_cache")),
        .queue_bytes_max = settings_size(set, S("journal.queue")),
        .fatal = journal_failed,
        .fatal_self = s,
    };
    Str path = str_cat(s->a, s->data_path, S("/headrace.db"));
    Err e = kv_open(io, path, &s->kv);
    if (e.kind != ERR_NONE)
        return refuse(e, "cannot open", path);
    e = log_open(&config, &s->log);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot open the journal in", config.dir);
}

// Before the services: they may call functions as soon as they are open.
static ExitCode open_functions(struct server *s)
{
    const SettingValue *endpoints = settings_value(s->settings, S("functions.endpoints"));
    FunctionsConfig config = { .io = s->io,
                               .hub = &s->hub,
                               .dev = s->dev,
                               .endpoints = endpoints->items,
                               .n = endpoints->item_count };
    Str problem = { 0 };
    Err e = functions_open(&config, s->a, &s->functions, &problem);
    if (e.kind != ERR_NONE)
        return complain(EXIT_USAGE, "%.*s", FMT(problem));
    s->hub.invoke = functions_offer(s->functions);
    return EXIT_GOOD;
}

static ExitCode open_services(struct server *s)
{
    s->env = (struct service_env){
        .io = clock_io(s->clock),
        .kv = s->kv,
        .log = s->log,
        .pool = s->pool,
        .loops = s->loop_list,
        .loop_count = s->loop_count,
        .dev = s->dev,
        .limits = settings_factor(s->settings, S("limits")),
        .shards_max = settings_number(s->settings, S("account_shards")),
        .alarms_max = settings_number(s->settings, S("account_alarms")),
        .change_ns = settings_duration(s->settings, S("change_time")),
        .hub = &s->hub,
        .keys = s->keys,
        .data_dir = s->data_path,
        .metrics = &s->metrics,
        .public_destinations = !settings_switch(s->settings, S("destinations.private")),
        .unverified_destinations = !settings_switch(s->settings, S("destinations.verify")),
        .destinations_ca = settings_text(s->settings, S("destinations.ca")),
        .destinations_keys = settings_text(s->settings, S("destinations.keys")),
        .destinations_sign = settings_switch(s->settings, S("destinations.sign")),
        .destinations_gzip = settings_text(s->settings, S("destinations.gzip")),
        .domains = settings_value(s->settings, S("destinations.domains"))->items,
        .domain_count = settings_value(s->settings, S("destinations.domains"))->item_count,
        .destinations_bytes = (size_t)settings_size(s->settings, S("destinations.memory")),
        .targets = &s->alarm_targets,
    };
    s->env.restore_ns = settings_duration(s->settings, S("s3.restore_delay"));
    s->env.remotes = remotes_of(s->a, s->settings, &s->env.remote_count);
    s->states = arena_new(s->a, void *, service_count + 1);
    for (; s->opened < service_count; s->opened++) {
        Err e = services[s->opened]->open(&s->env, &s->states[s->opened]);
        if (e.kind != ERR_NONE)
            return refuse(e, "cannot open the service", services[s->opened]->api->name);
    }
    Err e = log_ready(s->log);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "the journal does not fit to", s->data_path);
}

static ExitCode open_front(struct server *s)
{
    FrontService *list = arena_new(s->a, FrontService, service_count + 1);
    Str *names = arena_new(s->a, Str, service_count + 1);
    for (size_t i = 0; i < service_count; i++) {
        list[i] = (FrontService){ .api = services[i]->api,
                                  .state = s->states[i],
                                  .targets = services[i]->targets,
                                  .pool = services[i]->prompt ? s->prompt : s->pool,
                                  .is_quick = services[i]->is_quick,
                                  .elsewhere = services[i]->elsewhere };
        names[i] = services[i]->api->name;
    }
    FrontConfig config = { .io = s->io,
                           .clock = clock_io(s->clock),
                           .keys = s->keys,
                           .services = list,
                           .service_count = service_count,
                           .pool = s->pool,
                           .guard = s->dev ? NULL : s->hub.access,
                           .local_pages_only =
                               s->dev && !settings_switch(s->settings, S("allow_dev_on_network")) };
    PagesConfig pages = { .io = s->io,
                          .log = s->log,
                          .zones = s->zones,
                          .pool = s->pool,
                          .prompt = s->prompt,
                          .version = s->config->version,
                          .profile = settings_text(s->settings, S("profile")),
                          .services = names,
                          .service_count = service_count };
    Err e = front_open(&config, &s->front);
    if (e.kind == ERR_NONE)
        e = pages_open(&pages, s->front, &s->pages);
    if (e.kind == ERR_NONE)
        e = clock_add_page(s->clock, s->front);
    AdminConfig admin = { .io = clock_io(s->clock),
                          .place_io = s->io,
                          .keys = s->keys,
                          .pool = s->pool,
                          .data_dir = s->data_path,
                          .version = s->config->version,
                          .log = s->log,
                          .kv = s->kv,
                          .guard = s->dev ? NULL : s->hub.access,
                          .services = services,
                          .states = s->states,
                          .service_count = service_count };
    if (e.kind == ERR_NONE)
        e = admin_open(&admin, s->front, &s->admin);
    return e.kind == ERR_NONE ? EXIT_GOOD : refuse(e, "cannot open the front", S(""));
}

static HttpLimits limits_of(const Settings *settings, size_t requests_bytes)
{
    HttpLimits l = http_limits_default();
    l.connections_max = settings_number(settings, S("http.connections"));
    l.undecided_max = settings_number(settings, S("http.undecided"));
    l.streams_max = settings_number(settings, S("http.streams"));
    // Bodies and replies each leave room for what requests hold besides: large ones wait before all
    // is taken.
    l.body_pool_bytes_max = MIN(settings_size(settings, S("http.body_pool")), requests_bytes / 2);
    l.reply_pool_bytes_max = MIN(l.reply_pool_bytes_max, requests_bytes / 2);
    l.idle_ns = settings_duration(settings, S("http.idle_timeout"));
    l.drain_ns = settings_duration(settings, S("http.drain_timeout"));
    return l;
}

static void *run_loop(void *self)
{
    struct loop_thread *t = self;
    loop_run(t->loop);
    return NULL;
}

static ExitCode start_http(struct server *s)
{
    HttpConfig config = { .limits = limits_of(s->settings, requests_bytes_max(s)),
                          .tls = s->tls,
                          .loops = s->loop_list,
                          .loop_count = s->loop_count,
                          .handler = front_handler(s->front) };
    Err e = http_server_open(&config, &s->http);
    if (e.kind != ERR_NONE)
        return refuse(e, "cannot open the HTTP server", S(""));
    for (size_t i = 0; i < s->loop_count; i++) {
        int error = pthread_create(&s->loops[i].thread, NULL, run_loop, &s->loops[i]);
        if (error != 0)
            return refuse(fail_os(error, "no thread"), "cannot start an event loop", S(""));
        s->loops[i].running = true;
    }
    return EXIT_GOOD;
}

static ExitCode address_in_use(struct server *s, Str address)
{
    uint16_t port = 0;
    err_ignore(address_port(address, &port)); // it was checked before
    Str owner = port_owner(s->a, port);
    return complain(
        EXIT_ADDRESS,
        "cannot listen on %.*s: address in use%s%.*s. Use --listen 127.0.0.1:%u or stop "
        "it.",
        FMT(address), owner.n > 0 ? " by " : "", FMT(owner),
        port < UINT16_MAX ? port + 1u : port - 1u);
}

// "localhost:1" is 127.0.0.1 here: what it resolves to elsewhere differs from machine to machine.
static Str numeric(struct server *s, Str address)
{
    static const Str name = S_INIT("localhost:");
    return str_starts(address, name) ? str_cat(s->a, S("127.0.0.1:"), str_skip(address, name.n))
                                     : address;
}

// "127.0.0.1:0" with the port that was bound.
static Str bound_address(struct server *s, Str address, uint16_t port)
{
    size_t n = address.n;
    while (n > 0 && address.p[n - 1] != ':')
        n--;
    Str host = str_head(address, n > 0 ? n - 1 : 0);
    return str_fmt(s->a, "%.*s:%u", FMT(host.n > 0 ? host : S("0.0.0.0")), port);
}

// Whether what is printed goes to the log of the service manager, where no secret may be.
static bool prints_to_log(struct server *s)
{
    struct stat st;
    if (s->config->journal_stream.n == 0 || fstat(STDOUT_FILENO, &st) != 0)
        return false;
    Str ours =
        str_fmt(s->a, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return str_eq(ours, s->config->journal_stream);
}

static void print_made_key(struct server *s)
{
    const char *others = s->zones != NULL ? " and the other zones" : "";
    Str path = str_cat(s->a, s->data_path, S("/credentials"));
    if (s->zones != NULL)
        path = zones_real_path(s->zones, s->a, path);
    if (prints_to_log(s))
        printf("Made a root key, kept in %.*s%s\n", FMT(path), others);
    else
        printf("Made a root key, kept in %.*s%s and shown only now:\n"
               "  AWS_ACCESS_KEY_ID=%.*s\n  AWS_SECRET_ACCESS_KEY=%.*s\n",
               FMT(path), others, FMT(s->key.access_key), FMT(s->key.secret_key));
}

// The first lines on standard output: scripts wait for the last of them.
static ExitCode listen_all(struct server *s)
{
    Str version = s->config->version, profile = settings_text(s->settings, S("profile"));
    printf("headrace %.*s  data %.*s%s  profile %.*s\n", FMT(version), FMT(s->data_path),
           data_dir_is_new(s->data_dir) ? " (new)" : "", FMT(profile));
    if (s->key_was_made)
        print_made_key(s);
    const SettingValue *listen = settings_value(s->settings, S("listen"));
    for (size_t i = 0; i < listen->item_count; i++) {
        Str address = numeric(s, listen->items[i]);
        uint16_t port = 0;
        Err e = http_server_listen(s->http, address, &port);
        if (e.kind == ERR_BUSY)
            return address_in_use(s, address);
        if (e.kind != ERR_NONE)
            return complain(e.kind == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED,
                            "cannot listen on %.*s: %s%s%s", FMT(address), e.text,
                            e.os != 0 ? ": " : "", e.os != 0 ? strerrordesc_np(e.os) : "");
        Str bound = bound_address(s, address, port);
        if (i == 0)
            data_dir_note_address(s->data_dir, str_cat(s->a, S("http://"), bound));
        printf("Listening on http://%.*s\n", FMT(bound));
    }
    pages_set_ready(s->pages, true);
    err_ignore(notify_manager(s->config->notify_socket, S("READY=1"))); // it times out by itself
    puts("Ready.");
    if (fflush(stdout) != 0) {
        LOG(LOG_WARN, "standard output is closed; nobody sees that the server is ready");
        __fpurge(stdout); // what nobody read is no failure of the server when it ends
        clearerr(stdout);
    }
    LOG(LOG_INFO, "ready", F_STR("version", version), F_STR("data_dir", s->data_path),
        F_STR("profile", profile), F_INT("loops", s->loop_count));
    return EXIT_GOOD;
}

static void reload(struct server *s)
{
    if (s->config->input == NULL)
        return;
    AUTO(arena) tmp = arena_open();
    Settings *again = arena_new(tmp, Settings, 1);
    Str problem = S("");
    Err e = settings_load(tmp, s->config->input, again, &problem);
    if (e.kind != ERR_NONE) {
        LOG(LOG_ERROR, "the configuration was not read again", F_STR("problem", problem));
        return;
    }
    set_up_log(again);
    LOG(LOG_INFO, "the log level was read again",
        F_STR("level", settings_text(again, S("log.level"))));
}

// Whether this signal ends the server.
static bool handle_signal(struct server *s)
{
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    if (info.ssi_signo == SIGHUP) {
        reload(s);
        return false;
    }
    if (info.ssi_signo == SIGINT && s->config->attached)
        return false; // the terminal sent it to our holder as well
    LOG(LOG_INFO, "stopping", F_INT("signal", info.ssi_signo));
    return true;
}

static bool input_ended(void)
{
    char ignored[256];
    ssize_t n = read(STDIN_FILENO, ignored, sizeof ignored);
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

static void wait_for_end(struct server *s)
{
    for (;;) {
        struct pollfd fds[] = {
            { .fd = s->signal_fd, .events = POLLIN },
            { .fd = s->config->attached ? STDIN_FILENO : -1, .events = POLLIN },
            { .fd = s->failed_fd, .events = POLLIN },
        };
        if (poll(fds, COUNT_OF(fds), -1) < 0)
            continue; // only EINTR is possible here
        if (fds[0].revents != 0 && handle_signal(s))
            return;
        if (fds[1].revents != 0 && input_ended())
            return;
        if (fds[2].revents != 0)
            return;
    }
}

static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_INTERRUPTED);
}

// From here on a second signal ends the process: what was acknowledged is on disk.
static void arm_second_signal(struct server *s)
{
    struct sigaction action = { .sa_handler = end_at_once };
    sigaction(SIGTERM, &action, NULL);
    if (!s->config->attached)
        sigaction(SIGINT, &action, NULL);
    else
        sigdelset(&s->signals, SIGINT); // stays blocked
    sigdelset(&s->signals, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &s->signals, NULL);
}

static void end_failed(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_DISK);
}

// What is under way gets its answer, but neither a reader who takes long nor a device that hangs
// keeps a failed server up.
static void limit_end(void)
{
    struct sigaction action = { .sa_handler = end_failed };
    sigaction(SIGALRM, &action, NULL);
    alarm(DISK_END_SECONDS_MAX);
}

// In the order in which work flows, so that each part ends with nothing on its way to the next: no
// request comes after the drain, the workers then finish what is queued, and the log what was
// appended, also for clients that have gone. The loops end last: all answers go through them.
static void stop_work(struct server *s)
{
    if (s->pages != NULL)
        pages_set_ready(s->pages, false);
    if (s->http != NULL && s->loop_count > 0 && s->loops[s->loop_count - 1].running)
        http_server_drain(s->http);
    admin_stop(s->admin);
    functions_stop(s->functions);
    for (size_t i = 0; i < s->opened; i++)
        if (services[i]->stop != NULL)
            services[i]->stop(s->states[i]);
    pool_close(s->pool);
    pool_close(s->prompt);
    if (s->http != NULL && s->loop_count > 0 && s->loops[s->loop_count - 1].running)
        http_server_drain(s->http); // streams that a worker had just begun
    log_close(s->log);
    for (size_t i = 0; i < s->loop_count; i++) {
        if (!s->loops[i].running)
            continue;
        loop_stop(s->loops[i].loop);
        pthread_join(s->loops[i].thread, NULL);
    }
}

static void close_all(struct server *s)
{
    stop_work(s);
    for (size_t i = s->opened; i > 0; i--)
        services[i - 1]->close(s->states[i - 1]);
    functions_close(s->functions);
    kv_close(s->kv);
    clock_close(s->clock);
    http_server_close(s->http);
    front_close(s->front);
    pages_close(s->pages);
    admin_close(s->admin);
    for (size_t i = 0; i < s->loop_count; i++)
        loop_close(s->loops[i].loop);
    tls_context_close(s->tls);
    keyring_close(s->keys);
    zones_close(s->zones);
    data_dir_close(s->data_dir);
    if (s->failed_fd >= 0)
        close(s->failed_fd);
    if (s->signal_fd >= 0)
        close(s->signal_fd);
}

static void server_init(struct server *s, const ServeConfig *config, struct arena *a)
{
    *s = (struct server){
        .config = config,
        .settings = config->settings,
        .a = a,
        .io = io_real(),
        .data_path = settings_text(config->settings, S("data_dir")),
        .dev = str_eq(settings_text(config->settings, S("profile")), S("dev")),
        .signal_fd = -1,
        .failed_fd = -1,
        .metrics = METRIC_HUB_INIT,
    };
}

// Signals end it, as they end any tool: what it changes is as safe as what a server changes.
static ExitCode prepare_offline(struct server *s)
{
    uint64_t secret;
    s->io->random(s->io, &secret, sizeof secret);
    map_seed(secret);
    io_allow_uring(str_eq(settings_text(s->settings, S("io_uring")), S("auto")));
    s->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return s->failed_fd >= 0
               ? EXIT_GOOD
               : refuse(fail_os(errno, "no descriptor for events"), "cannot start", S(""));
}

ExitCode serve_offline(const ServeConfig *config,
                       ExitCode (*work)(void *self, const OfflineStore *store), void *self)
{
    static ExitCode (*const steps[])(struct server *) = {
        prepare_offline, open_data_dir,  open_loops,    open_clock,
        open_store,      open_functions, open_services,
    };
    AUTO(arena) a = arena_open();
    struct server *s = arena_new(a, struct server, 1);
    server_init(s, config, a);
    ExitCode code = EXIT_GOOD;
    for (size_t i = 0; i < COUNT_OF(steps) && code == EXIT_GOOD; i++)
        code = steps[i](s);
    if (code == EXIT_GOOD) {
        OfflineStore store = { .io = clock_io(s->clock),
                               .place_io = s->io,
                               .data_dir = s->data_path,
                               .log = s->log,
                               .kv = s->kv };
        code = work(self, &store);
    }
    close_all(s);
    return code;
}

ExitCode serve(const ServeConfig *config)
{
    static ExitCode (*const steps[])(struct server *) = {
        prepare_process, open_memory, open_data_dir, open_keys,      open_tls,
        open_loops,      open_clock,  open_store,    open_functions, open_services,
        open_front,      start_http,  listen_all,
    };
    AUTO(arena) a = arena_open();
    struct server *s = arena_new(a, struct server, 1);
    server_init(s, config, a);
    ExitCode code = EXIT_GOOD;
    for (size_t i = 0; i < COUNT_OF(steps) && code == EXIT_GOOD; i++)
        code = steps[i](s);
    if (code == EXIT_GOOD) {
        wait_for_end(s);
        err_ignore(notify_manager(config->notify_socket, S("STOPPING=1"))); // it sees our end too
        arm_second_signal(s);
        if (atomic_load(&s->failed) && !stays_for_readers(s))
            limit_end();
    }
    close_all(s);
    if (code == EXIT_GOOD && atomic_load(&s->failed))
        code = EXIT_DISK; // whoever started it should know
    if (code == EXIT_GOOD)
        LOG(LOG_INFO, "stopped");
    return code;
}
