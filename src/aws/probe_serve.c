// SPDX-License-Identifier: Apache-2.0
#include "aws/probe_serve.h"
#include "aws/probe_api.h"
#include "os/io.h"

#include <pthread.h>
#include <stdlib.h>

struct probe_server {
    struct front *front;
    struct pool *pool;
    struct loop *loop;
    struct http_server *http;
    pthread_t thread;
    uint16_t port;
};

static void must(Err e)
{
    CHECK(e.kind == ERR_NONE);
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void serve_health(void *self, struct http_exchange *x)
{
    (void)self;
    http_reply(x, 200, NULL, 0, S("fine"));
}

void probe_serve(struct keyring *keys, struct probe_server **ret)
{
    struct probe_server *s = xalloc(sizeof *s);
    const FrontService service = { .api = &probe_api };
    must(pool_open(2, 64, "probe", &s->pool));
    must(loop_open(&s->loop));
    const FrontConfig config = {
        .io = io_real(), .keys = keys, .services = &service, .service_count = 1, .pool = s->pool
    };
    must(front_open(&config, &s->front));
    must(front_add_page(s->front, S("/health"), serve_health, NULL));
    const HttpConfig http = { .limits = http_limits_default(),
                              .loops = &s->loop,
                              .loop_count = 1,
                              .handler = front_handler(s->front) };
    must(http_server_open(&http, &s->http));
    must(http_server_listen(s->http, S("127.0.0.1:0"), &s->port));
    CHECK(pthread_create(&s->thread, NULL, run_loop, s->loop) == 0);
    *ret = s;
}

uint16_t probe_server_port(const struct probe_server *s)
{
    return s->port;
}

void probe_server_close(struct probe_server *s)
{
    if (s == NULL)
        return;
    http_server_drain(s->http);
    loop_stop(s->loop);
    CHECK(pthread_join(s->thread, NULL) == 0);
    http_server_close(s->http);
    pool_close(s->pool);
    front_close(s->front);
    loop_close(s->loop);
    free(s);
}
