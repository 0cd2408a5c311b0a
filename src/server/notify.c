// SPDX-License-Identifier: Apache-2.0
#include "server/notify.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

Err notify_manager(Str socket_path, Str state)
{
    if (socket_path.n == 0)
        return OK;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (socket_path.n >= sizeof address.sun_path)
        return fail(ERR_INVALID, "NOTIFY_SOCKET is too long");
    memcpy(address.sun_path, socket_path.p, socket_path.n);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_os(errno, "no socket for the service manager");
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + socket_path.n);
    ssize_t sent =
        sendto(fd, state.p, state.n, MSG_NOSIGNAL, (const struct sockaddr *)&address, bytes);
    int error = errno;
    close(fd);
    return sent < 0 ? fail_os(error, "the service manager was not reached") : OK;
}
