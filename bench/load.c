// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include "schedule.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 256 << 10 };

static const struct peer *const peers[] = { &kinesis_peer,   &redis_peer,    &postgres_peer,
                                            &kafka_peer,     &read_peer,     &queue_peer,
                                            &push_peer,      &push_raw_peer, &object_get_peer,
                                            &object_put_peer };

unsigned batches_of(size_t batch_bytes)
{
    size_t n = BATCHES_BYTES / (batch_bytes + 1);
    return n < BATCHES_LEAST ? BATCHES_LEAST : n > BATCHES_MOST ? BATCHES_MOST : (unsigned)n;
}

struct run {
    const struct peer *peer;
    struct schedule schedule;
    pthread_barrier_t start;
};

struct thread_of {
    struct run *run;
    struct client *client;
    pthread_t thread;
};

static void *work(void *argument)
{
    struct thread_of *t = argument;
    struct client *c = t->client;
    const struct peer *peer = t->run->peer;
    struct schedule *schedule = &t->run->schedule;
    bool opened = peer->open(c);
    pthread_barrier_wait(&t->run->start); // all are connected
    pthread_barrier_wait(&t->run->start); // the clock runs
    if (!opened) {
        c->failures++;
        return NULL;
    }
    uint64_t due;
    for (uint64_t turn = 0; c->failures == 0 && (due = schedule_take(schedule)) != 0; turn++) {
        enum outcome outcome = peer->send(c, turn);
        if (outcome == SENT_OK) {
            c->batches++;
            latencies_add(&c->latencies, now_us() - due);
        }
        c->refused += outcome == SENT_REFUSED;
        c->failures += outcome == SENT_BROKEN;
        schedule_end(schedule);
    }
    peer->close(c);
    return NULL;
}

static int report(const struct options *o, bool reads, struct client *clients, double seconds,
                  uint64_t backlog_us)
{
    struct latencies *all = must_alloc(sizeof *all);
    struct client sum = { 0 };
    for (unsigned i = 0; i < o->clients; i++) {
        struct client *c = &clients[i];
        if (!reads) {
            c->records = c->batches * o->records;
            c->bytes = c->records * o->record_bytes;
        }
        sum.batches += c->batches;
        sum.records += c->records;
        sum.bytes += c->bytes;
        sum.refused += c->refused;
        sum.failures += c->failures;
        latencies_merge(all, &c->latencies);
    }
#define ULL(x) ((unsigned long long)(x))
    printf("{\"peer\": \"%s\", \"batches\": %llu, \"records\": %llu, \"bytes\": %llu, "
           "\"refused\": %llu, \"failures\": %llu, \"seconds\": %.3f, \"rate\": %.1f, "
           "\"mb_s\": %.2f, \"backlog_us\": %llu, ",
           o->peer, ULL(sum.batches), ULL(sum.records), ULL(sum.bytes), ULL(sum.refused),
           ULL(sum.failures), seconds, (double)sum.records / seconds,
           (double)sum.bytes / seconds / 1e6, ULL(backlog_us));
    latencies_print(all);
    printf(", ");
    latencies_print_counts(all);
    printf("}\n");
    free(all);
    return sum.failures > 0 || sum.batches == 0;
}

static void start_threads(struct thread_of *threads, unsigned n, struct run *run,
                          struct client *clients)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 0; i < n; i++) {
        threads[i] = (struct thread_of){ .run = run, .client = &clients[i] };
        if (pthread_create(&threads[i].thread, &attributes, work, &threads[i]) != 0) {
            fprintf(stderr, "no thread could be started\n");
            exit(1);
        }
    }
    pthread_attr_destroy(&attributes);
}

static int run_threads(const struct options *o, const struct peer *peer, struct client *clients)
{
    struct thread_of *threads = must_alloc(o->clients * sizeof *threads);
    struct run run = { .peer = peer, .schedule = SCHEDULE_INIT };
    run.schedule.seed = seed_of(o->clients);
    run.schedule.turns_max = o->batches;
    pthread_barrier_init(&run.start, NULL, o->clients + 1);
    start_threads(threads, o->clients, &run, clients);
    pthread_barrier_wait(&run.start);
    uint64_t begin = now_us();
    run.schedule.end_us = begin + (uint64_t)o->seconds * 1000000;
    schedule_set(&run.schedule, o->rate > 0 ? MODE_OPEN : MODE_CLOSED, o->rate);
    pthread_barrier_wait(&run.start);
    for (unsigned i = 0; i < o->clients; i++)
        pthread_join(threads[i].thread, NULL);
    double seconds = (double)(now_us() - begin) / 1e6;
    // What was due before the end and was not sent: how far behind the schedule they were.
    uint64_t behind = schedule_backlog_us(&run.schedule);
    uint64_t over = now_us() - run.schedule.end_us;
    free(threads);
    pthread_barrier_destroy(&run.start);
    return report(o, peer->reads, clients, seconds, behind > over ? behind - over : 0);
}

static int run_loops(const struct options *o, struct client *clients)
{
    double seconds = 1;
    if (strncmp(o->peer, "push", 4) == 0) {
        bool is_raw = strcmp(o->peer, "push-raw") == 0;
        bool good = (is_raw ? run_push_raw : run_push)(o, clients, &seconds);
        return good ? report(o, true, clients, seconds, 0) : 1;
    }
    if (!(o->inflight > 0 ? run_h2 : run_many)(o, clients, &seconds))
        return 1;
    return report(o, false, clients, seconds, 0);
}

static int run_load(const struct options *o, const struct peer *peer)
{
    struct client *clients = must_alloc(o->clients * sizeof *clients);
    for (unsigned i = 0; i < o->clients; i++)
        clients[i] = (struct client){ .options = o, .number = i, .fd = -1 };
    int status = o->loops > 0 ? run_loops(o, clients) : run_threads(o, peer, clients);
    free(clients);
    return status;
}

// ---- The command line

static unsigned number_of(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text == 0 || *end != 0 || n < least || n > most) {
        fprintf(stderr, "'%s' is not a number from %u to %u\n", text, least, most);
        exit(2);
    }
    return (unsigned)n;
}

// One word NAME=NUMBER.
static bool read_option(struct options *o, const char *word)
{
    const struct {
        const char *name;
        unsigned *to, least, most;
    } rows[] = {
        { "streams", &o->streams, 1, 10000 },
        { "accounts", &o->accounts, 0, 10000 },
        { "shards", &o->shards, 1, 20000 },
        { "clients", &o->clients, 1, 20000 },
        { "loops", &o->loops, 0, 64 },
        { "inflight", &o->inflight, 0, 10000 },
        { "seconds", &o->seconds, 1, 3600 },
        { "records", &o->records, 1, 500 },
        { "bytes", &o->record_bytes, 1, 1u << 30 },
        { "batches", &o->batches, 0, 1u << 30 },
        { "follow", &o->follow, 0, 1 },
        { "rate", &o->rate, 0, 100000000 },
        { "tls", &o->tls, 0, 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].name);
        if (strncmp(word, rows[i].name, n) == 0 && word[n] == '=') {
            *rows[i].to = number_of(word + n + 1, rows[i].least, rows[i].most);
            return true;
        }
    }
    return false;
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: load PEER PORT STREAM [NAME=NUMBER]...\n"
        "       load writes FOLDER BYTES SECONDS   the disk: durable writes\n"
        "       load reads FILE BYTES SECONDS      the disk: reads of a file, from its beginning\n"
        "       load floor PORT FILE receive|hash|durable   the machine: the least that a server "
        "does\n"
        "NAME:  clients loops inflight seconds batches records bytes rate streams accounts shards "
        "tls "
        "follow\n\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "writes") == 0)
        return probe_writes(argv[2], number_of(argv[3], 1, 1u << 30), number_of(argv[4], 1, 3600));
    if (argc == 5 && strcmp(argv[1], "reads") == 0)
        return probe_reads(argv[2], number_of(argv[3], 1, 1u << 30), number_of(argv[4], 1, 3600));
    if (argc == 5 && strcmp(argv[1], "floor") == 0)
        return run_floor(argv[2], argv[3], argv[4]);
    if (argc < 4)
        return usage();
    struct options o = { .peer = argv[1], .port = argv[2], .stream = argv[3] };
    o.streams = o.shards = o.clients = o.seconds = o.records = 1;
    o.record_bytes = 1024;
    for (int i = 4; i < argc; i++)
        if (!read_option(&o, argv[i]))
            return usage();
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
        if (strcmp(peers[i]->name, o.peer) == 0)
            return run_load(&o, peers[i]);
    fprintf(stderr, "there is no peer '%s'\n", o.peer);
    return 2;
}
