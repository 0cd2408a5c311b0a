// SPDX-License-Identifier: Apache-2.0
// UpdateDestination (API reference). Of the same kind, what is given replaces and the rest stays;
// of another kind, everything must be given. What is on the way to the destination already is
// delivered as it was begun.
#include "base/time.h"
#include "svc/firehose/config.h"
#include "svc/firehose/destination.h"

static Err check_state(struct call *c, const HoseView *v,
                       const struct firehose_UpdateDestination_in *in)
{
    HoseStatus status = hose_status(v->f, c->now_ns / NS_PER_MS);
    uint64_t given;
    if (v->hose->gone)
        return firehose_not_found(c, v->hose->name);
    if (status != HOSE_ACTIVE)
        return call_fail(c, &firehose_ResourceInUseException,
                         "Cannot update firehose: %.*s when it is in %.*s status",
                         FMT(v->hose->name), FMT(hose_status_name(status)));
    if (str_u64(in->current_delivery_stream_version_id, &given).kind != ERR_NONE ||
        given != v->f->version)
        return call_fail(c, &firehose_ConcurrentModificationException,
                         "Cannot update firehose: %.*s since the current version id: %llu and "
                         "specified version id: %.*s do not match",
                         FMT(v->hose->name), (unsigned long long)v->f->version,
                         FMT(in->current_delivery_stream_version_id));
    if (!str_eq(in->destination_id, S(DESTINATION_ID)))
        return call_fail(c, &firehose_InvalidArgumentException, "Destination Id %.*s not found",
                         FMT(in->destination_id));
    return OK;
}

static bool is_search(DestinationKind kind)
{
    return kind == DESTINATION_ELASTICSEARCH || kind == DESTINATION_OPENSEARCH ||
           kind == DESTINATION_SERVERLESS;
}

// Elasticsearch is the older name of the OpenSearch service; the serverless one is another.
static bool may_become(DestinationKind before, DestinationKind now)
{
    bool both_are_domains = is_search(before) && is_search(now) &&
                            before != DESTINATION_SERVERLESS && now != DESTINATION_SERVERLESS;
    return both_are_domains || (!is_search(before) && !is_search(now));
}

// An update of another kind has to be a whole destination.
static Err check_whole(struct call *c, const Destination *d)
{
    static const Str needed[DESTINATION_KINDS][4] = {
        [DESTINATION_S3] = { S_INIT("RoleARN"), S_INIT("BucketARN") },
        [DESTINATION_REDSHIFT] = { S_INIT("RoleARN"), S_INIT("ClusterJDBCURL"),
                                   S_INIT("CopyCommand"), S_INIT("S3DestinationDescription") },
        [DESTINATION_ELASTICSEARCH] = { S_INIT("RoleARN"), S_INIT("IndexName"),
                                        S_INIT("S3DestinationDescription") },
        [DESTINATION_OPENSEARCH] = { S_INIT("RoleARN"), S_INIT("IndexName"),
                                     S_INIT("S3DestinationDescription") },
        [DESTINATION_SPLUNK] = { S_INIT("HECEndpoint"), S_INIT("HECEndpointType"),
                                 S_INIT("S3DestinationDescription") },
        [DESTINATION_HTTP] = { S_INIT("EndpointConfiguration"),
                               S_INIT("S3DestinationDescription") },
    };
    for (size_t i = 0; i < COUNT_OF(needed[0]); i++)
        if (needed[d->kind][i].n > 0 && tree_find(d->map, needed[d->kind][i]) == NULL)
            return call_fail(c, &firehose_InvalidArgumentException,
                             "All parameters of the new destination type must be specified.");
    return OK;
}

// What is to be from now on.
static Err lay_over(struct call *c, const Destination *given, const HoseFields *x, Destination *ret)
{
    Destination before, now;
    TRY(destination_read(c->arena, x->destination, x->secrets, &before));
    TRY(destination_read(c->arena, x->destination, x->secrets, &now));
    if (given->kind == before.kind) {
        destination_merge(c->arena, &now, given);
    } else {
        if (!may_become(before.kind, given->kind))
            return call_fail(c, &firehose_InvalidArgumentException,
                             "Cannot update the destination from or to %s.",
                             is_search(given->kind) ? destination_metric(given->kind)
                                                    : destination_metric(before.kind));
        TRY(check_whole(c, given));
        now = *given;
    }
    destination_fill(c->arena, &now);
    TRY(destination_check(c, &now, &before));
    *ret = now;
    return OK;
}

static Err update_locked(struct call *c, HoseView *v,
                         const struct firehose_UpdateDestination_in *in, const Destination *given)
{
    Destination now;
    firehose_renew(c->state, v);
    TRY(check_state(c, v, in));
    TRY(lay_over(c, given, v->f, &now));
    HoseFields fields = *v->f;
    TRY(destination_write(c->arena, &now, &fields.destination, &fields.secrets));
    fields.version++;
    fields.updated_ms = c->now_ns / NS_PER_MS;
    TRY(hose_config_check(c, v->hose, &fields));
    TRY(firehose_change(c->state, v->hose, &fields));
    return firehose_reconfigure(c->state, v->hose);
}

Err firehose_UpdateDestination(struct call *c, const struct firehose_UpdateDestination_in *in,
                               struct firehose_UpdateDestination_out *out)
{
    (void)out;
    Destination given;
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    TRY(destination_of_input(c, in, S("Update"), &given));
    TRY(destination_check_given(c, &given));
    TRY(firehose_check_roles(c, in->delivery_stream_name, given.map));
    TRY(firehose_change_begin(c));
    Err e = update_locked(c, &v, in, &given);
    firehose_change_end(c->state);
    if (e.kind == ERR_NONE)
        wide_meter_add(&v.hose->meters.update_latency, firehose_took_ns(c) / NS_PER_MS);
    return e;
}
