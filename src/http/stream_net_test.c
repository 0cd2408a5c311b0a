// SPDX-License-Identifier: Apache-2.0
// Streamed bodies and replies on a network that delivers in pieces and breaks off, plain and inside
// TLS: what is complete is right, and every sink and source has its last call.
#include "http/client.h"
#include "http/stream_rig.h"
#include "os/io_fault.h"
#include "os/tls.h"

#include <stdlib.h>

enum { UP_BYTES = 300000, DOWN_BYTES = 700000, RESETS = 40 };

struct stage {
    struct stream_rig s;
    struct io_fault *faults;
    Str url;
};

static void stage_open(struct arena *a, struct stage *g, bool tls)
{
    stream_rig_init(&g->s);
    g->faults = io_fault_open(io_real(), 1);
    g->s.r.config.io = io_fault_io(g->faults);
    if (tls) {
        Str cert, key;
        EXPECT_OK(tls_make_certificate(io_real(), test_dir(a), &cert, &key, a));
        EXPECT_OK(tls_server_context(cert, key, &g->s.r.config.tls));
    }
    stream_rig_start(&g->s);
    g->url = str_fmt(a, "%s://127.0.0.1:%u", tls ? "https" : "http", g->s.r.port);
}

static void stage_close(struct stage *g)
{
    stream_rig_stop(&g->s); // waits for sinks and sources
    io_fault_close(g->faults);
    tls_context_close(g->s.r.config.tls);
}

static Err put_and_get(struct stage *g, struct arena *a, bool *ret_right)
{
    AUTO(http_client) c = NULL;
    HttpReply up, down;
    HttpClientConfig config = { .url = g->url, .timeout_ns = INT64_C(60000000000) };
    TRY(http_client_open(&config, &c));
    Str target = str_fmt(a, "/source?%d", DOWN_BYTES);
    TRY(http_client_call(c, a, S("PUT"), S("/take"), NULL, 0, stream_bytes(a, UP_BYTES), &up));
    TRY(http_client_call(c, a, S("GET"), target, NULL, 0, S(""), &down));
    *ret_right = str_eq(stream_answer(a, UP_BYTES, ""), up.body) &&
                 str_eq(stream_bytes(a, DOWN_BYTES), down.body);
    return OK;
}

static void check_pieces(struct arena *a, bool tls)
{
    struct stage g;
    bool right = false;
    stage_open(a, &g, tls);
    io_fault_net(g.faults, (IoNetFault){ .piece_bytes_max = 3000, .busy_percent = 40 });
    EXPECT_OK(put_and_get(&g, a, &right));
    EXPECT(right);
    stage_close(&g);
}

TEST(streams_come_through_in_pieces)
{
    check_pieces(a, false);
}

TEST(streams_come_through_in_pieces_inside_tls)
{
    check_pieces(a, true);
}

static void check_resets(struct arena *a, bool tls)
{
    struct stage g;
    stage_open(a, &g, tls);
    size_t broken = 0;
    for (uint64_t i = 0; i < RESETS; i++) {
        AUTO(arena) tmp = arena_open();
        bool right = false;
        uint64_t after = i * (UP_BYTES + DOWN_BYTES) / (RESETS - 4);
        io_fault_net(g.faults, (IoNetFault){ .resets = true, .reset_after = after });
        Err e = put_and_get(&g, tmp, &right);
        EXPECT(right == (e.kind == ERR_NONE));
        broken += !right;
    }
    EXPECT(broken > RESETS / 2);
    bool right = false;
    io_fault_net(g.faults, (IoNetFault){ 0 });
    EXPECT_OK(put_and_get(&g, a, &right));
    EXPECT(right);
    stage_close(&g);
}

TEST(connections_that_break_off_end_sinks_and_sources)
{
    check_resets(a, false);
}

TEST(connections_that_break_off_inside_tls_end_sinks_and_sources)
{
    check_resets(a, true);
}
