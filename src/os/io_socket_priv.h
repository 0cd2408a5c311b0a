// SPDX-License-Identifier: Apache-2.0
// The sockets of the machine, for every table: the network is the same whatever disk one has.
#pragma once
#include "os/io.h"

Err real_receive(struct io *io, int fd, void *p, size_t n, bool peek, size_t *ret_n);
Err real_send_file(struct io *io, int fd, const IoPart *parts, size_t count, IoSpan span,
                   size_t *ret_n);
Err real_send(struct io *io, int fd, const IoPart *parts, size_t count, size_t *ret_n);
Err real_accept(struct io *io, int fd, struct sockaddr_storage *ret_from, int *ret_fd);
Err real_connect(struct io *io, int fd, const struct sockaddr *to, size_t to_bytes);
