// SPDX-License-Identifier: Apache-2.0
// The room's opening and its end.
#include "hub/hub.h"
#include "svc/s3/remote.h"
#include "svc/s3/s3.h"

#include <stdlib.h>

static void s3_close(void *state)
{
    struct s3 *s = state;
    if (s == NULL)
        return;
    s3_lifecycle_close(s);
    s3_restored_close(s);
    s3_events_close(s);
    s3_remotes_close(s);
    s3_table_close(s);
    blob_close(s->blob);
    free(s);
}

static void s3_hold(void *state, bool on)
{
    struct s3 *s = state;
    blob_hold(s->blob, on);
}

static void s3_stop(void *state)
{
    s3_lifecycle_stop(state);
    s3_events_stop(state);
}

static Err s3_open(const struct service_env *env, void **ret_state)
{
    struct s3 *s = xalloc(sizeof *s);
    s->env = *env;
    AUTO(arena) tmp = arena_open();
    Err e = blob_open(&(BlobConfig){ .io = env->io,
                                     .kv = env->kv,
                                     .dir = str_cat(tmp, env->data_dir, S("/blobs")) },
                      &s->blob);
    if (e.kind == ERR_NONE)
        e = s3_remotes_open(s);
    if (e.kind == ERR_NONE)
        e = s3_table_open(s);
    if (e.kind == ERR_NONE)
        e = s3_events_open(s);
    if (e.kind == ERR_NONE)
        e = s3_restored_open(s);
    if (e.kind != ERR_NONE) {
        s3_restored_close(s);
        s3_events_close(s);
        s3_remotes_close(s);
        s3_table_close(s);
        blob_close(s->blob);
        free(s);
        return e;
    }
    s3_lifecycle_open(s);
    s3_offer_init(s);
    if (env->hub != NULL)
        env->hub->objects = &s->offer;
    *ret_state = s;
    return OK;
}

extern const struct service s3_service;
const struct service s3_service = {
    .api = &s3_api,
    .targets = &s3_targets,
    .prompt = true,
    .is_quick = s3_is_quick,
    .elsewhere = s3_elsewhere,
    .open = s3_open,
    .hold = s3_hold,
    .stop = s3_stop,
    .close = s3_close,
};
