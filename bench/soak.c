// SPDX-License-Identifier: Apache-2.0
// The soak's generator as a program: it is told on standard input what to do, and says on standard
// output what happened, one JSON object a line.
//
//     soak PORT CONNECTIONS SEED WINDOW_SECONDS STREAM...
//
// A stream is NAME:SHARDS:RETENTION_HOURS:WEIGHT:USE, its use hot, sparse or idle (soak.h).
//
//     closed               every writer as fast as it is answered
//     open REQUESTS_PER_S  by the schedule
//     pause                {"event": "paused"} when no request is under way
//     clock MS MS_MOST     how far the server's clock is ahead of ours, at least and at most
//     verify               {"event": "verified"} when everything has been read once more
//     plant MISTAKE        skip, twice or change: the next record is not sent, sent a second time,
//     or
//                          sent with another byte; a violation must follow
//     quit
//
// Each window of the given seconds ends with a line of its counts.
#include "soak.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    VIOLATIONS_MAX = 20, // that are said
    TROUBLES_MAX = 50,
    SUB_BUCKETS = 64, // of each power of two: a latency is known to 1.6 %
    BUCKETS = 32 * SUB_BUCKETS,
    LINE_BYTES_MAX = 256,
    CONNECTIONS_MAX = 64,
    HOUR_MS = 3600000,
};

struct soak soak = {
    .steps_lock = PTHREAD_MUTEX_INITIALIZER,
    .plan_lock = PTHREAD_MUTEX_INITIALIZER,
    .plan_changed = PTHREAD_COND_INITIALIZER,
};
pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER;
struct counts counts;
static uint32_t buckets[BUCKETS]; // under counts_lock, as are:
static uint64_t latency_most;
static unsigned violations, troubles;

uint64_t random_next(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *seed;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- Saying

static void say(const char *event, const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    for (char *p = text; *p != 0; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            *p = '\''; // it is to be read by people, inside a JSON text
    printf("{\"event\": \"%s\", \"text\": \"%s\"}\n", event, text);
    fflush(stdout);
}

void violation(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&counts_lock);
    if (violations++ < VIOLATIONS_MAX)
        say("violation", format, arguments);
    pthread_mutex_unlock(&counts_lock);
    va_end(arguments);
}

void trouble(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&counts_lock);
    counts.errors++;
    if (troubles++ < TROUBLES_MAX)
        say("trouble", format, arguments);
    pthread_mutex_unlock(&counts_lock);
    va_end(arguments);
}

// ---- Latencies: buckets of equal relative width

static unsigned bucket_of(uint64_t us)
{
    unsigned shift = 0;
    while (us >> shift >= 2 * SUB_BUCKETS)
        shift++;
    unsigned bucket = shift * SUB_BUCKETS + (unsigned)(us >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift = bucket < 2 * SUB_BUCKETS ? 0 : bucket / SUB_BUCKETS - 1;
    return ((uint64_t)(bucket - shift * SUB_BUCKETS) + 1) << shift;
}

void count_request(uint64_t latency_us, uint64_t records, uint64_t bytes)
{
    pthread_mutex_lock(&counts_lock);
    counts.requests++;
    counts.records += records;
    counts.bytes += bytes;
    buckets[bucket_of(latency_us)]++;
    latency_most = latency_us > latency_most ? latency_us : latency_most;
    pthread_mutex_unlock(&counts_lock);
}

static uint64_t quantile(const uint32_t *all, uint64_t n, uint64_t most, double share)
{
    uint64_t wanted = (uint64_t)((double)n * share), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += all[i];
        if (seen > wanted)
            return bucket_end(i) < most ? bucket_end(i) : most;
    }
    return 0;
}

// ---- Windows

static uint64_t records_behind(void)
{
    uint64_t behind = 0;
    for (unsigned i = 0; i < soak.lane_count; i++) {
        struct lane *lane = &soak.lanes[i];
        if (soak.streams[lane->stream].use != USE_HOT)
            continue;
        pthread_mutex_lock(&lane->lock);
        uint64_t settled = lane->settled, seen = lane->tail.expect; // near enough without its lock
        pthread_mutex_unlock(&lane->lock);
        behind += settled > seen ? settled - seen : 0;
    }
    return behind;
}

static uint64_t backlog_us(uint64_t now)
{
    pthread_mutex_lock(&soak.plan_lock);
    uint64_t behind = soak.mode == MODE_OPEN && soak.next_us < now ? now - soak.next_us : 0;
    pthread_mutex_unlock(&soak.plan_lock);
    return behind;
}

static void end_window(double seconds)
{
    static uint32_t all[BUCKETS];
    pthread_mutex_lock(&counts_lock);
    struct counts c = counts;
    uint64_t most = latency_most;
    memcpy(all, buckets, sizeof all);
    memset(buckets, 0, sizeof buckets);
    latency_most = 0;
    counts = (struct counts){ 0 };
    pthread_mutex_unlock(&counts_lock);
#define ULL(x) ((unsigned long long)(x))
    printf("{\"event\": \"window\", \"seconds\": %.3f, \"requests\": %llu, \"records\": %llu, "
           "\"bytes\": %llu, \"p50_us\": %llu, \"p99_us\": %llu, \"p999_us\": %llu, "
           "\"max_us\": %llu, ",
           seconds, ULL(c.requests), ULL(c.records), ULL(c.bytes),
           ULL(quantile(all, c.requests, most, 0.5)), ULL(quantile(all, c.requests, most, 0.99)),
           ULL(quantile(all, c.requests, most, 0.999)), ULL(most));
    printf("\"refused\": %llu, \"broken\": %llu, \"errors\": %llu, \"shed\": %llu, "
           "\"backlog_us\": %llu, \"expired_iterators\": %llu, ",
           ULL(c.refused), ULL(c.broken), ULL(c.errors), ULL(c.shed), ULL(backlog_us(now_us())),
           ULL(c.expired));
    printf("\"tail_records\": %llu, \"tail_bytes\": %llu, \"sweep_records\": %llu, "
           "\"sweep_bytes\": %llu, \"sweeps\": %llu, \"behind_records\": %llu}\n",
           ULL(c.tail_records), ULL(c.tail_bytes), ULL(c.sweep_records), ULL(c.sweep_bytes),
           ULL(soak.sweeps), ULL(records_behind()));
    fflush(stdout);
}

// ---- Commands

static void set_mode(enum mode mode, double rate)
{
    pthread_mutex_lock(&soak.plan_lock);
    soak.mode = mode;
    soak.rate = rate;
    soak.next_us = now_us();
    pthread_cond_broadcast(&soak.plan_changed);
    pthread_mutex_unlock(&soak.plan_lock);
}

// False: not a mistake that is known.
static bool plant(const char *what)
{
    static const char *const names[] = {
        [PLANT_SKIP] = "skip", [PLANT_TWICE] = "twice", [PLANT_CHANGE] = "change"
    };
    for (int i = PLANT_SKIP; i <= PLANT_CHANGE; i++)
        if (strcmp(what, names[i]) == 0) {
            atomic_store(&soak.plant, i);
            return true;
        }
    return false;
}

static bool obey(const char *line)
{
    long long ahead, most;
    char word[16];
    double rate;
    if (sscanf(line, "open %lf", &rate) == 1 && rate > 0)
        set_mode(MODE_OPEN, rate);
    else if (strcmp(line, "closed\n") == 0)
        set_mode(MODE_CLOSED, 0);
    else if (strcmp(line, "pause\n") == 0)
        set_mode(MODE_PAUSED, 0);
    else if (strcmp(line, "verify\n") == 0)
        atomic_store(&soak.verify, true);
    else if (sscanf(line, "clock %lld %lld", &ahead, &most) == 2) {
        atomic_store(&soak.ahead_most_ms, most);
        atomic_store(&soak.ahead_ms, ahead);
        if (ahead == most)
            step_taken();
    } else if (sscanf(line, "plant %15s", word) != 1 || !plant(word)) {
        if (strcmp(line, "quit\n") != 0)
            fprintf(stderr, "not a command: %s", line);
        return false;
    }
    return true;
}

// What was asked for and has come about.
static void say_ended(bool *pausing, bool *verifying)
{
    pthread_mutex_lock(&soak.plan_lock);
    bool is_paused = soak.mode == MODE_PAUSED && soak.busy == 0;
    pthread_mutex_unlock(&soak.plan_lock);
    if (*pausing && is_paused) {
        printf("{\"event\": \"paused\"}\n");
        *pausing = false;
    }
    if (*verifying && !atomic_load(&soak.verify)) {
        printf("{\"event\": \"verified\"}\n");
        *verifying = false;
    }
    fflush(stdout);
}

// Lines come whole: the pipe's writer flushes each.
static void run(unsigned window_seconds)
{
    uint64_t begin = now_us(), end = begin + (uint64_t)window_seconds * 1000000;
    bool pausing = false, verifying = false;
    char line[LINE_BYTES_MAX];
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
        if (poll(&in, 1, 20) > 0) {
            if (fgets(line, sizeof line, stdin) == NULL || !obey(line))
                return;
            pausing |= strcmp(line, "pause\n") == 0;
            verifying |= strcmp(line, "verify\n") == 0;
        }
        say_ended(&pausing, &verifying);
        uint64_t now = now_us();
        if (now >= end) {
            end_window((double)(now - begin) / 1e6);
            begin = now;
            end += (uint64_t)window_seconds * 1000000;
        }
    }
}

// ---- Beginning

static unsigned number_of(const char *text, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end != 0 || n == 0 || n > max) {
        fprintf(stderr, "'%s' is not a number from 1 to %u\n", text, max);
        exit(2);
    }
    return (unsigned)n;
}

static void add_stream(const char *text)
{
    struct stream *s = &soak.streams[soak.stream_count];
    char use[16];
    unsigned hours;
    int n = soak.stream_count == STREAMS_MAX ? 0
                                             : sscanf(text, "%128[^:]:%u:%u:%u:%15s", s->name,
                                                      &s->shards, &hours, &s->weight, use);
    if (n != 5) {
        fprintf(stderr, "'%s' is not NAME:SHARDS:RETENTION_HOURS:WEIGHT:USE\n", text);
        exit(2);
    }
    s->use = strcmp(use, "hot") == 0 ? USE_HOT : strcmp(use, "sparse") == 0 ? USE_SPARSE : USE_IDLE;
    s->retention_ms = (int64_t)hours * HOUR_MS;
    s->first = soak.lane_count;
    soak.lane_count += s->shards;
    soak.stream_count++;
}

static void start(void *(*body)(void *), unsigned n)
{
    static unsigned numbers[CONNECTIONS_MAX];
    for (unsigned i = 0; i < n; i++) {
        pthread_t thread;
        numbers[i] = i;
        if (pthread_create(&thread, NULL, body, &numbers[i]) != 0) {
            fprintf(stderr, "no thread could be started\n");
            exit(1);
        }
        pthread_detach(thread);
    }
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: soak PORT CONNECTIONS SEED WINDOW_SECONDS "
                        "NAME:SHARDS:RETENTION_HOURS:WEIGHT:USE...\n");
        return 2;
    }
    soak.port = argv[1];
    soak.connections = number_of(argv[2], CONNECTIONS_MAX);
    soak.seed = number_of(argv[3], UINT32_MAX);
    unsigned window_seconds = number_of(argv[4], 3600);
    for (int i = 5; i < argc; i++)
        add_stream(argv[i]);
    lanes_open();
    step_taken();
    start(writer_run, soak.connections);
    start(tail_reader_run, TAIL_READERS);
    start(sweep_reader_run, 1);
    run(window_seconds);
    fflush(stdout);
    _exit(violations > 0); // the threads end with it, in the middle of what they wait for
}
