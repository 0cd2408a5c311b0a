// SPDX-License-Identifier: Apache-2.0
#include "delivery/jq_worker.h"
#include "base/buf.h"
#include "codec/little.h"

#include <errno.h>
#include <fcntl.h>
#include <jq.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEMORY_FACTOR = 3 };
#else
enum { MEMORY_FACTOR = 1 };
#endif
enum { TICK_MS = 20, FROM_FD = 0, TO_FD = 1 };

static const char argument[] = "jq-worker";

const char *jq_worker_argument(void)
{
    return argument;
}

// ---- Bounds. A thread looks on while there are records: what processor time the present one has
// taken, and how much memory is resident. Signals would do without it, but for the thread
// sanitizer, which keeps them back while libjq computes.

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool busy;                    // there are records
    atomic_uint_fast64_t records; // so many have begun
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void set_busy(bool busy)
{
    pthread_mutex_lock(&watch.lock);
    watch.busy = busy;
    pthread_cond_signal(&watch.changed);
    pthread_mutex_unlock(&watch.lock);
}

static void wait_until_busy(void)
{
    pthread_mutex_lock(&watch.lock);
    while (!watch.busy)
        pthread_cond_wait(&watch.changed, &watch.lock);
    pthread_mutex_unlock(&watch.lock);
}

static int64_t cpu_ms(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        _exit(JQ_EXIT_BROKEN);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long resident_pages(int statm_fd)
{
    char text[128];
    ssize_t n = pread(statm_fd, text, sizeof text - 1, 0), at = 0;
    long pages = 0;
    while (at < n && text[at] != ' ')
        at++; // the whole size; resident comes next
    for (at++; at < n && text[at] >= '0' && text[at] <= '9'; at++)
        pages = pages * 10 + (text[at] - '0');
    return pages;
}

static void *look_on(void *statm)
{
    const struct timespec tick = { 0, TICK_MS * 1000000 };
    long pages_max = JQ_MEMORY_BYTES_MAX / sysconf(_SC_PAGESIZE) * MEMORY_FACTOR;
    uint_fast64_t record = UINT_FAST64_MAX;
    int64_t from_ms = 0;
    for (;;) {
        wait_until_busy();
        nanosleep(&tick, NULL);
        uint_fast64_t now = atomic_load(&watch.records);
        int64_t now_ms = cpu_ms();
        if (now != record) {
            record = now;
            from_ms = now_ms;
        } else if (now_ms - from_ms > JQ_RECORD_CPU_MS) {
            _exit(JQ_EXIT_TIME);
        }
        if (resident_pages(*(const int *)statm) > pages_max)
            _exit(JQ_EXIT_MEMORY);
    }
}

// A service manager or a terminal tells all processes of a server to end. The server decides what
// that means: to it this is one that was idle, and the record is asked again.
static void on_end(int signal_number)
{
    (void)signal_number;
    _exit(JQ_EXIT_IDLE);
}

static void limit(int what, rlim_t value)
{
    struct rlimit r = { value, value };
    if (setrlimit((__rlimit_resource_t)what, &r) != 0)
        _exit(JQ_EXIT_BROKEN);
}

static void bound(void)
{
    static int statm_fd;
    struct sigaction end = { .sa_handler = on_end };
    pthread_t thread;
    statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (statm_fd < 0 || sigaction(SIGTERM, &end, NULL) != 0 || sigaction(SIGINT, &end, NULL) != 0 ||
        sigaction(SIGHUP, &end, NULL) != 0 ||
        pthread_create(&thread, NULL, look_on, &statm_fd) != 0)
        _exit(JQ_EXIT_BROKEN);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_NOFILE, 1); // those that are open stay so, no query opens another; poll wants one
    if (MEMORY_FACTOR == 1)  // sanitizers take more than they use
        limit(RLIMIT_AS, (rlim_t)4 * JQ_MEMORY_BYTES_MAX); // a single huge request, between ticks
}

// ---- Messages

static void read_all(char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(FROM_FD, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            _exit(JQ_EXIT_IDLE); // whoever started us has gone
        p += got;
        n -= (size_t)got;
    }
}

static void write_all(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(TO_FD, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            _exit(JQ_EXIT_IDLE);
        p += put;
        n -= (size_t)put;
    }
}

// Terminated; lives until the next one.
static Str next_message(struct buf *b)
{
    unsigned char head[JQ_HEAD_BYTES];
    struct pollfd p = { .fd = FROM_FD, .events = POLLIN };
    if (poll(&p, 1, 0) == 0) {
        set_busy(false);
        if (poll(&p, 1, JQ_IDLE_MS) == 0)
            _exit(JQ_EXIT_IDLE);
    }
    set_busy(true);
    atomic_fetch_add(&watch.records, 1);
    read_all((char *)head, sizeof head);
    uint32_t n = get32(head);
    buf_clear(b);
    if (n > JQ_MESSAGE_BYTES_MAX || !buf_reserve(b, (size_t)n + 1))
        _exit(JQ_EXIT_BROKEN);
    read_all(b->p, n);
    b->p[n] = 0;
    return str_from(b->p, n);
}

static void answer(JqFault fault, const char *text, size_t n)
{
    unsigned char head[JQ_ANSWER_HEAD_BYTES] = { (unsigned char)fault };
    put32(head + 1, (uint32_t)n);
    write_all((const char *)head, sizeof head);
    write_all(text, n);
}

static void answer_jv(JqFault fault, jv take_text)
{
    if (jv_get_kind(take_text) == JV_KIND_STRING)
        answer(fault, jv_string_value(take_text),
               (size_t)jv_string_length_bytes(jv_copy(take_text)));
    else
        answer(fault, "", 0);
    jv_free(take_text);
}

// ---- Queries

static void keep_error(void *self, jv take_message)
{
    struct buf *b = self;
    jv text = jq_format_error(take_message);
    if (b->n > 0)
        buf_add_byte(b, '\n');
    buf_add(b, str_of(jv_string_value(text)));
    jv_free(text);
}

// What the query gives first, or why it gives nothing.
static void run(jq_state *jq, Str record)
{
    jv input = jv_parse_sized(record.p, (int)record.n);
    if (!jv_is_valid(input)) {
        answer_jv(JQ_NOT_JSON, jv_invalid_get_msg(input));
        return;
    }
    jq_start(jq, input, 0);
    jv value = jq_next(jq);
    if (jv_is_valid(value))
        answer_jv(JQ_GOOD, jv_dump_string(value, 0));
    else
        answer_jv(JQ_ERROR, jv_invalid_get_msg(value));
}

static void worker(void)
{
    struct buf message = { 0 }, errors = { 0 };
    bound();
    Str query = next_message(&message);
    jq_state *jq = jq_init();
    if (jq == NULL)
        _exit(JQ_EXIT_MEMORY);
    jq_set_error_cb(jq, keep_error, &errors);
    if (strlen(query.p) != query.n || jq_compile(jq, query.p) == 0) {
        answer(JQ_ERROR, errors.p, errors.n);
        _exit(JQ_EXIT_IDLE);
    }
    answer(JQ_GOOD, "", 0);
    for (;;) {
        Str record = next_message(&message);
        run(jq, record);
    }
}

// Before main, whichever program this is: tests are started like this, too.
__attribute__((constructor)) static void work_if_asked(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], argument) == 0)
        worker();
}
