// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "server/port_owner.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(the_process_that_listens_on_a_port_is_found)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (const struct sockaddr *)&address, n) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&address, &n) == 0);
    uint16_t port = ntohs(address.sin_port);
    EXPECT(port_owner(a, port).p == NULL); // nobody else can have it, and nobody listens
    EXPECT(listen(fd, 1) == 0);
    Str owner = port_owner(a, port);
    Str pid = str_fmt(a, "pid %ld (", (long)getpid());
    EXPECT_STR(pid, str_head(owner, pid.n));
    close(fd);
}

TEST(only_loopback_addresses_count_as_such)
{
    static const Str loopback[] = { S_INIT("127.0.0.1:1"), S_INIT("127.1.2.3:80"),
                                    S_INIT("[::1]:4566"), S_INIT("localhost:0") };
    static const Str others[] = { S_INIT("0.0.0.0:4566"),   S_INIT(":4566"),
                                  S_INIT("[::]:4566"),      S_INIT("192.168.0.1:1"),
                                  S_INIT("127.evil.org:1"), S_INIT("127x:1") };
    for (size_t i = 0; i < COUNT_OF(loopback); i++)
        EXPECT(address_is_loopback(loopback[i]));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        EXPECT(!address_is_loopback(others[i]));
}

TEST(an_address_has_a_port)
{
    uint16_t port = 1;
    EXPECT_OK(address_port(S("[::1]:4566"), &port));
    EXPECT_INT(4566, port);
    EXPECT_OK(address_port(S(":0"), &port));
    EXPECT_INT(0, port);
    EXPECT_ERR(ERR_INVALID, address_port(S("127.0.0.1"), &port));
    EXPECT_ERR(ERR_INVALID, address_port(S("host:"), &port));
    EXPECT_ERR(ERR_INVALID, address_port(S("host:70000"), &port));
    EXPECT_ERR(ERR_INVALID, address_port(S(""), &port));
}
