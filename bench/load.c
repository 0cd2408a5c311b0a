// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LATENCIES_MAX = 4000000, CLIENTS_MAX = 256 };

static const struct peer *const peers[] = { &kinesis_peer, &redis_peer, &postgres_peer };

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void print_latencies(uint32_t *us, size_t n)
{
    qsort(us, n, sizeof *us, compare);
    size_t last = n > 0 ? n - 1 : 0;
    printf("\"p50_us\": %u, \"p99_us\": %u, \"p999_us\": %u, \"max_us\": %u", us[last / 2],
           us[last * 99 / 100], us[last * 999 / 1000], us[last]);
}

struct run {
    const struct peer *peer;
    struct client *clients;
    uint64_t end_us;
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
    bool opened = t->run->peer->open(c);
    pthread_barrier_wait(&t->run->start); // all are connected
    pthread_barrier_wait(&t->run->start); // the clock runs
    if (!opened) {
        c->failures++;
        return NULL;
    }
    while (now_us() < t->run->end_us && c->failures == 0) {
        uint64_t begin = now_us();
        if (!t->run->peer->send(c, (unsigned)(c->batches % BATCHES)))
            c->failures++;
        else
            c->batches++;
        if (c->latency_count < LATENCIES_MAX)
            c->latency_us[c->latency_count++] = (uint32_t)(now_us() - begin);
    }
    t->run->peer->close(c);
    return NULL;
}

static int report(const struct options *o, struct client *clients, double seconds)
{
    uint64_t batches = 0, failures = 0;
    size_t count = 0;
    for (unsigned i = 0; i < o->clients; i++) {
        batches += clients[i].batches;
        failures += clients[i].failures;
        count += clients[i].latency_count;
    }
    uint32_t *all = must_alloc((count + 1) * sizeof *all);
    size_t filled = 0;
    for (unsigned i = 0; i < o->clients; i++) {
        memcpy(all + filled, clients[i].latency_us, clients[i].latency_count * sizeof *all);
        filled += clients[i].latency_count;
    }
    uint64_t records = batches * o->records;
    printf("{\"peer\": \"%s\", \"records\": %llu, \"failures\": %llu, \"seconds\": %.3f, ", o->peer,
           (unsigned long long)records, (unsigned long long)failures, seconds);
    printf("\"rate\": %.1f, ", (double)records / seconds);
    print_latencies(all, count);
    printf("}\n");
    free(all);
    return failures > 0 || batches == 0;
}

static int run_load(const struct options *o, const struct peer *peer)
{
    struct client *clients = must_alloc(o->clients * sizeof *clients);
    struct thread_of *threads = must_alloc(o->clients * sizeof *threads);
    struct run run = { .peer = peer, .clients = clients };
    pthread_barrier_init(&run.start, NULL, o->clients + 1);
    for (unsigned i = 0; i < o->clients; i++) {
        clients[i] = (struct client){ .options = o, .number = i, .fd = -1 };
        clients[i].latency_us = must_alloc(LATENCIES_MAX * sizeof(uint32_t));
        threads[i] = (struct thread_of){ .run = &run, .client = &clients[i] };
        if (pthread_create(&threads[i].thread, NULL, work, &threads[i]) != 0) {
            fprintf(stderr, "no thread could be started\n");
            exit(1);
        }
    }
    pthread_barrier_wait(&run.start);
    uint64_t begin = now_us();
    run.end_us = begin + (uint64_t)o->seconds * 1000000;
    pthread_barrier_wait(&run.start);
    for (unsigned i = 0; i < o->clients; i++)
        pthread_join(threads[i].thread, NULL);
    int status = report(o, clients, (double)(now_us() - begin) / 1e6);
    for (unsigned i = 0; i < o->clients; i++)
        free(clients[i].latency_us);
    free(clients);
    free(threads);
    pthread_barrier_destroy(&run.start);
    return status;
}

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

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "disk") == 0)
        return probe_disk(argv[2], number_of(argv[3], 1u << 30), number_of(argv[4], 3600));
    if (argc != 8) {
        fprintf(stderr, "usage: load PEER PORT STREAM CLIENTS SECONDS RECORDS RECORD_BYTES\n"
                        "       load disk FOLDER BYTES SECONDS\n");
        return 2;
    }
    struct options o = { .peer = argv[1], .port = argv[2], .stream = argv[3] };
    o.clients = number_of(argv[4], CLIENTS_MAX);
    o.seconds = number_of(argv[5], 3600);
    o.records = number_of(argv[6], 500);
    o.record_bytes = number_of(argv[7], 1u << 20);
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
        if (strcmp(peers[i]->name, o.peer) == 0)
            return run_load(&o, peers[i]);
    fprintf(stderr, "there is no peer '%s'\n", o.peer);
    return 2;
}
