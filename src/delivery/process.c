// SPDX-License-Identifier: Apache-2.0
#include "delivery/process_priv.h"
#include "os/io.h"

#include <stdlib.h>

Before process_begin(DeliveryBatch *b)
{
    Before before = { .at = b->at, .n = b->n };
    b->at = NULL;
    b->n = b->cap = 0;
    b->bytes = 0;
    return before;
}

int64_t process_now_ms(const struct processing *p)
{
    return p->env->io->wall_ns(p->env->io) / 1000000;
}

// Records that came of one source record are numbered again after a step that splits some.
static void number(DeliveryBatch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const DeliveryRecord *last = i > 0 ? &b->at[i - 1] : NULL;
        bool same =
            last != NULL && last->shard == b->at[i].shard && last->position == b->at[i].position;
        b->at[i].sub = same ? last->sub + 1 : 0;
    }
}

// A delimiter as it was given: absent and the two characters \n are a newline.
static Str delimiter_of(Str given)
{
    return given.n == 0 || str_eq(given, S("\\n")) ? S("\n") : given;
}

Err process_delimit(struct processing *p, DeliveryBatch *b)
{
    Str delimiter = delimiter_of(p->steps[STEP_DELIMIT]->delimiter);
    Before before = process_begin(b);
    for (size_t i = 0; i < before.n; i++) {
        DeliveryRecord r = before.at[i];
        char *data = arena_try_raw(b->arena, r.data.n + delimiter.n, 1);
        if (data == NULL)
            return fail(ERR_MEMORY, "no memory for a record with its delimiter");
        if (r.data.n > 0)
            memcpy(data, r.data.p, r.data.n);
        memcpy(data + r.data.n, delimiter.p, delimiter.n);
        r.data = str_from(data, r.data.n + delimiter.n);
        batch_add(b, &r);
    }
    return OK;
}

// ---- All of them

static Err open_steps(struct processing *p, Str *ret_text)
{
    for (size_t i = 0; i < p->config->step_count; i++) {
        const DeliveryStep *step = &p->config->steps[i];
        if (p->steps[step->kind] != NULL && step->kind == STEP_LAMBDA) {
            *ret_text = S("Only one Lambda processor is allowed.");
            return fail(ERR_INVALID, "several Lambda processors");
        }
        p->steps[step->kind] = step;
    }
    if (p->steps[STEP_CLOUDWATCH] != NULL && p->steps[STEP_DECOMPRESS] == NULL) {
        *ret_text = S("CloudWatchLogProcessing needs the Decompression processor.");
        return fail(ERR_INVALID, "messages of what is not decompressed");
    }
    const DeliveryStep *split = p->steps[STEP_DEAGGREGATE], *query = p->steps[STEP_METADATA];
    if (split != NULL && split->by_delimiter && split->delimiter.n == 0) {
        *ret_text = S("RecordDeAggregation of type DELIMITED needs a Delimiter.");
        return fail(ERR_INVALID, "no delimiter");
    }
    if (query != NULL)
        p->query = jq_query_new(query->query);
    return OK;
}

Err processing_open(struct delivery_env *env, const DeliveryConfig *config, struct processing **ret,
                    Str *ret_text)
{
    AUTO(processing) p = xalloc(sizeof *p);
    *p = (struct processing){ .env = env, .config = config };
    TRY(open_steps(p, ret_text));
    *ret = p;
    p = NULL; // handed over
    return OK;
}

Err processing_check(struct processing *p, struct arena *a, Str *ret_text)
{
    Str why = { 0 };
    if (p->query == NULL)
        return OK;
    Err e = jq_query_compile(p->query, a, &why);
    if (e.kind == ERR_INVALID)
        *ret_text = str_fmt(a, "MetadataExtractionQuery cannot be compiled: %.*s", FMT(why));
    return e;
}

void processing_count(struct processing *p, struct delivery_meters *m)
{
    if (p != NULL)
        p->meters = m;
}

void processing_close(struct processing *p)
{
    if (p == NULL)
        return;
    jq_query_close(p->query);
    free(p);
}

Err processing_run(struct processing *p, DeliveryBatch *b)
{
    if (p->config->direct_shard == 0) {
        TRY(process_kpl(p, b)); // a stream's records: producers may have aggregated some
        number(b);
    }
    if (p->steps[STEP_DECOMPRESS] != NULL)
        TRY(process_unpack(p, b));
    if (p->steps[STEP_DEAGGREGATE] != NULL) {
        TRY(process_split(p, b));
        number(b);
    }
    if (p->steps[STEP_JSON] != NULL)
        TRY(process_json(p, b));
    if (p->steps[STEP_LAMBDA] != NULL)
        TRY(process_lambda(p, b));
    if (p->steps[STEP_METADATA] != NULL)
        TRY(process_metadata(p, b));
    if (p->steps[STEP_DELIMIT] != NULL)
        TRY(process_delimit(p, b));
    return OK;
}
