// SPDX-License-Identifier: Apache-2.0
#include "http/test_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Answers with what it was asked: "METHOD path query [body]".
static void echo(void *self, struct http_exchange *x)
{
    (void)self;
    Str text = str_fmt(x->arena, "%.*s %.*s %.*s [%.*s]", FMT(x->method), FMT(x->path),
                       FMT(x->query.p != NULL ? x->query : S("-")), FMT(x->body));
    HttpHeader type = { S("Content-Type"), S("text/plain") };
    http_reply(x, 200, &type, 1, text);
}

static Str body_of(Str reply)
{
    size_t at = str_search(reply, S("\r\n\r\n"));
    return at == reply.n ? S("") : str_skip(reply, at + 4);
}

TEST(a_request_is_answered_and_the_connection_kept)
{
    struct rig r;
    rig_init(&r, (struct http_handler){ .request = echo });
    rig_start(&r);
    int fd = dial(&r);
    for (int i = 0; i < 3; i++) {
        say(fd, S("POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz"));
        Str head = hear_head(a, fd);
        EXPECT(str_starts(head, S("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: ")));
        EXPECT(str_ends(head, S("Content-Length: 17\r\n\r\n")));
        EXPECT_STR(S("POST /a b=c [xyz]"), hear(a, fd, 17));
    }
    close(fd);
    rig_stop(&r);
}

TEST(a_request_that_wants_the_connection_closed_gets_that)
{
    struct rig r;
    rig_init(&r, (struct http_handler){ .request = echo });
    rig_start(&r);
    int fd = dial(&r);
    say(fd, S("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    Str reply = hear_rest(a, fd);
    EXPECT(str_search(reply, S("\r\nConnection: close\r\n")) < reply.n);
    EXPECT_STR(S("GET / - []"), body_of(reply));
    rig_stop(&r);
}
