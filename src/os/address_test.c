// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "os/address.h"

#include <arpa/inet.h>

static bool is_private(const char *text)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_is_private((struct sockaddr *)&v4);
    EXPECT(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
    return address_is_private((struct sockaddr *)&v6);
}

TEST(private_addresses_are_known_however_they_are_written)
{
    static const char *const hidden[] = {
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "::127.0.0.1",
    };
    static const char *const open[] = {
        "8.8.8.8",    "172.32.0.1",      "172.15.255.255", "100.128.0.1",
        "198.20.0.1", "2001:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
    };
    for (size_t i = 0; i < COUNT_OF(hidden); i++)
        if (!is_private(hidden[i]))
            test_fail(__FILE__, __LINE__, "%s is taken for a public address", hidden[i]);
    for (size_t i = 0; i < COUNT_OF(open); i++)
        if (is_private(open[i]))
            test_fail(__FILE__, __LINE__, "%s is taken for a private address", open[i]);
    struct sockaddr other = { .sa_family = AF_UNIX };
    EXPECT(address_is_private(&other));
}
