// SPDX-License-Identifier: Apache-2.0
// The network of io_fault: what it knows of each connection. Thread safe; a lock of its own.
#pragma once
#include "os/io_fault.h"

struct fault_net;

struct fault_net *fault_net_open(struct io *below, uint64_t seed);
void fault_net_close(struct fault_net *f); // NULL is fine

void fault_net_set(struct fault_net *f, IoNetFault how);
uint64_t fault_net_bytes(struct fault_net *f);
uint64_t fault_net_hits(struct fault_net *f);

Err fault_net_receive(struct fault_net *f, int fd, void *p, size_t n, bool peek, size_t *ret_n);
Err fault_net_send(struct fault_net *f, int fd, const IoPart *parts, size_t count, size_t *ret_n);
Err fault_net_send_file(struct fault_net *f, int fd, const IoPart *parts, size_t count, IoSpan span,
                        size_t *ret_n);
Err fault_net_accept(struct fault_net *f, int fd, struct sockaddr_storage *ret_from, int *ret_fd);
Err fault_net_connect(struct fault_net *f, int fd, const struct sockaddr *to, size_t to_bytes);
