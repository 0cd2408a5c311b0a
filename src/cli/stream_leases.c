// SPDX-License-Identifier: Apache-2.0
#include "cli/stream_leases.h"
#include "cli/remote.h"
#include "cli/term.h"

#include <stdbool.h>

enum { PAGES_MAX = 1000 }; // of a megabyte each: more leases than there are shards

// The value of an attribute of type S, or an absent Str.
static Str text_of(const JsonValue *item, Str name)
{
    const JsonValue *attribute = json_find(item, name);
    return attribute != NULL ? json_text(attribute, S("S")) : (Str){ 0 };
}

// Whether a lease is of the stream, and of which shard. Applications that read many streams write
// account:stream:epoch:shard, others the shard alone.
static bool shard_of(Str key, Str stream, Str *ret)
{
    Str account, name, epoch, rest = key;
    if (!str_cut(key, ':', &account, &rest)) {
        *ret = key;
        return true;
    }
    return str_cut(rest, ':', &name, &rest) && str_cut(rest, ':', &epoch, ret) &&
           str_eq(name, stream);
}

// Library 3 keeps other things in the same table if it is told to; a lease need not say what it is.
static bool is_lease(const JsonValue *item)
{
    Str kind = text_of(item, S("entityType"));
    return kind.p == NULL || str_eq(kind, S("LEASE"));
}

static void tell(const JsonValue *items, Str stream, LeaseTake *take, void *self)
{
    for (size_t i = 0; items != NULL && i < items->n; i++) {
        const JsonValue *item = &items->items[i];
        Str key = text_of(item, S("leaseKey")), checkpoint = text_of(item, S("checkpoint")), shard;
        if (key.n > 0 && checkpoint.n > 0 && is_lease(item) && shard_of(key, stream, &shard))
            take(self, shard, checkpoint);
    }
}

static Str request(struct arena *a, Str table, Str after)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"TableName\":"));
    add_json_text(&b, table);
    buf_add(&b, S(",\"ConsistentRead\":true,"
                  "\"ProjectionExpression\":\"leaseKey,checkpoint,entityType\""));
    if (after.p != NULL) {
        buf_add(&b, S(",\"ExclusiveStartKey\":{\"leaseKey\":{\"S\":"));
        add_json_text(&b, after);
        buf_add(&b, S("}}"));
    }
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

static ExitCode open_table(const struct invocation *in, Str endpoint, struct client **ret)
{
    ClientConfig config = { 0 };
    ExitCode code = remote_config(in, &config);
    if (code != EXIT_GOOD)
        return code;
    config.endpoint = endpoint;
    config.ca_file = flag_text(in, S("ca-file")); // not this server's own certificate
    if (config.ca_file.n == 0)
        config.ca_file = environment_text(in, S("AWS_CA_BUNDLE"));
    if (config.ca_file.n == 0)
        config.ca_file = (Str){ 0 };
    Err e = client_open(&config, ret);
    return e.kind == ERR_NONE ? EXIT_GOOD : complain(EXIT_USAGE, "%.*s: %s", FMT(endpoint), e.text);
}

ExitCode stream_leases(const struct invocation *in, Str endpoint, Str table, Str stream,
                       LeaseTake *take, void *self)
{
    AUTO(client) c = NULL;
    Str after = { 0 };
    ExitCode code = open_table(in, endpoint, &c);
    for (int page = 0; code == EXIT_GOOD && page < PAGES_MAX; page++) {
        ClientReply reply = { 0 };
        JsonValue *v = NULL;
        Err e = client_call(c, in->a, &client_dynamodb, S("Scan"), request(in->a, table, after),
                            &reply);
        if (e.kind != ERR_NONE)
            return complain(EXIT_UNREACHABLE, "%.*s: %s", FMT(endpoint), e.text);
        if (reply.error.p != NULL)
            return remote_complain(&reply);
        if (json_parse(in->a, reply.body, &v).kind != ERR_NONE)
            return complain(EXIT_FAILED, "the reply of %.*s is not JSON", FMT(endpoint));
        tell(json_find(v, S("Items")), stream, take, self);
        const JsonValue *last = json_find(v, S("LastEvaluatedKey"));
        after = last != NULL ? text_of(last, S("leaseKey")) : (Str){ 0 };
        if (after.p == NULL)
            return EXIT_GOOD;
    }
    return code;
}
