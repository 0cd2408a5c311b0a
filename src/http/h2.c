// SPDX-License-Identifier: Apache-2.0
#include "http/server_priv.h"

void h2_server_open(struct http_server *s)
{
    (void)s;
}
void h2_server_close(struct http_server *s)
{
    (void)s;
}
void h2_start(struct conn *c)
{
    c->ending = true;
}
void h2_work(struct conn *c)
{
    c->ending = true;
}
void h2_apply(struct conn *c, struct op *op)
{
    (void)c;
    (void)op;
}
void h2_closed(struct conn *c)
{
    (void)c;
}
void h2_drain(struct conn *c)
{
    c->ending = true;
}
int64_t h2_deadline(struct conn *c)
{
    (void)c;
    return 0;
}
void h2_late(struct conn *c)
{
    (void)c;
}
