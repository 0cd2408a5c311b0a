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

#include "latency.h"

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
    LINE_BYTES_MAX = 256,
    CONNECTIONS_MAX = 256,
    HOUR_MS = 3600000,
};

struct soak soak = {
    .steps_lock = PTHREAD_MUTEX_INITIALIZER,
    .schedule = SCHEDULE_INIT,
};
pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER;
struct counts counts;
static struct latencies latencies; // under counts_lock, as are:
static unsigned violations, troubles;

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

void count_request(uint64_t latency_us, uint64_t records, uint64_t bytes)
{
    pthread_mutex_lock(&counts_lock);
    counts.requests++;
    counts.records += records;
    counts.bytes += bytes;
    latencies_add(&latencies, latency_us);
    pthread_mutex_unlock(&counts_lock);
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

static void end_window(double seconds)
{
    static struct latencies all;
    pthread_mutex_lock(&counts_lock);
    struct counts c = counts;
    all = latencies;
    latencies = (struct latencies){ 0 };
    counts = (struct counts){ 0 };
    pthread_mutex_unlock(&counts_lock);
#define ULL(x) ((unsigned long long)(x))
    printf("{\"event\": \"window\", \"seconds\": %.3f, \"requests\": %llu, \"records\": %llu, "
           "\"bytes\": %llu, ",
           seconds, ULL(c.requests), ULL(c.records), ULL(c.bytes));
    latencies_print(&all);
    printf(", \"refused\": %llu, \"broken\": %llu, \"errors\": %llu, \"shed\": %llu, "
           "\"backlog_us\": %llu, \"expired_iterators\": %llu, ",
           ULL(c.refused), ULL(c.broken), ULL(c.errors), ULL(c.shed),
           ULL(schedule_backlog_us(&soak.schedule)), ULL(c.expired));
    printf("\"tail_records\": %llu, \"tail_bytes\": %llu, \"sweep_records\": %llu, "
           "\"sweep_bytes\": %llu, \"sweeps\": %llu, \"behind_records\": %llu}\n",
           ULL(c.tail_records), ULL(c.tail_bytes), ULL(c.sweep_records), ULL(c.sweep_bytes),
           ULL(soak.sweeps), ULL(records_behind()));
    fflush(stdout);
}

// ---- Commands

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
        schedule_set(&soak.schedule, MODE_OPEN, rate);
    else if (strcmp(line, "closed\n") == 0)
        schedule_set(&soak.schedule, MODE_CLOSED, 0);
    else if (strcmp(line, "pause\n") == 0)
        schedule_set(&soak.schedule, MODE_PAUSED, 0);
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
    if (*pausing && schedule_is_quiet(&soak.schedule)) {
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
    soak.seed = soak.schedule.seed = number_of(argv[3], UINT32_MAX);
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
