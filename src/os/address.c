// SPDX-License-Identifier: Apache-2.0
#include "os/address.h"
#include "base/err.h"

#include <netinet/in.h>
#include <string.h>

static bool is_private_v4(uint32_t ip)
{
    static const struct {
        uint32_t net, mask;
    } nets[] = {
        { 0x00000000, 0xff000000 }, { 0x0a000000, 0xff000000 }, { 0x64400000, 0xffc00000 },
        { 0x7f000000, 0xff000000 }, { 0xa9fe0000, 0xffff0000 }, { 0xac100000, 0xfff00000 },
        { 0xc0000000, 0xffffff00 }, { 0xc0000200, 0xffffff00 }, { 0xc0a80000, 0xffff0000 },
        { 0xc6120000, 0xfffe0000 }, { 0xe0000000, 0xe0000000 },
    };
    for (size_t i = 0; i < COUNT_OF(nets); i++)
        if ((ip & nets[i].mask) == nets[i].net)
            return true;
    return false;
}

static uint32_t v4_in(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool is_private_v6(const uint8_t *b)
{
    static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (memcmp(b, nat64, sizeof nat64) == 0 || memcmp(b, mapped, sizeof mapped) == 0)
        return is_private_v4(v4_in(b + 12));
    if (b[0] == 0x20 && b[1] == 0x02) // 6to4
        return is_private_v4(v4_in(b + 2));
    return (b[0] & 0xe0) != 0x20;
}

bool address_is_private(const struct sockaddr *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    switch (a->sa_family) {
    case AF_INET:
        memcpy(&v4, a, sizeof v4);
        return is_private_v4(ntohl(v4.sin_addr.s_addr));
    case AF_INET6:
        memcpy(&v6, a, sizeof v6);
        return is_private_v6(v6.sin6_addr.s6_addr);
    default:
        return true;
    }
}
