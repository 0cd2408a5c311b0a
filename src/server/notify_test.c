// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "server/notify.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TEST(the_service_manager_gets_the_state)
{
    Str path = str_cat(a, test_dir(a), S("/notify"));
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    EXPECT(path.n < sizeof address.sun_path);
    memcpy(address.sun_path, path.p, path.n);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    EXPECT(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    EXPECT_OK(notify_manager(path, S("READY=1")));
    char got[32];
    ssize_t n = recv(fd, got, sizeof got, 0);
    EXPECT(n > 0);
    EXPECT_STR(S("READY=1"), str_from(got, (size_t)n));
    close(fd);
    Err e = notify_manager(path, S("READY=1"));
    EXPECT(e.kind != ERR_NONE); // nobody listens any more
}

TEST(without_a_service_manager_nothing_happens)
{
    EXPECT_OK(notify_manager((Str){ 0 }, S("READY=1")));
}
