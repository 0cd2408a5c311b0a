// SPDX-License-Identifier: Apache-2.0
// What a call is about, for the question whether it is permitted: read from the input by the names
// of its members, so that an operation needs nothing of its own. The action is the operation, and
// the resource, in this order,
//
//     ConsumerARN, ResourceARN, QueueARN, ChannelARN, StreamARN   as it stands
//     StreamName, StreamId                  the stream's ARN
//     ShardIterator                         the stream that it was made for
//
// or "*". Condition keys: aws:ResourceTag/KEY, of the tags of what the ARN names.
#include "svc/kinesis/consumer.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/queues.h"

#include <stdlib.h>

enum { ARN_MEMBERS = 5, NO_MEMBER = -1 };

// Where the members lie in an operation's input; NO_MEMBER: it has none.
struct op_members {
    int32_t arns[ARN_MEMBERS];
    int32_t name, id, iterator;
};

static int32_t place_of(const struct shape *shape, Str name)
{
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, name))
            return (int32_t)shape->members[i].offset;
    return NO_MEMBER;
}

struct op_members *kinesis_members_open(void)
{
    static const Str arns[ARN_MEMBERS] = { S_INIT("ConsumerARN"), S_INIT("ResourceARN"),
                                           S_INIT("QueueARN"), S_INIT("ChannelARN"),
                                           S_INIT("StreamARN") };
    struct op_members *members = xalloc(mul_checked(kinesis_api.op_count, sizeof *members));
    for (size_t i = 0; i < kinesis_api.op_count; i++) {
        const struct shape *shape = kinesis_api.ops[i].input;
        for (size_t k = 0; k < ARN_MEMBERS; k++)
            members[i].arns[k] = place_of(shape, arns[k]);
        members[i].name = place_of(shape, S("StreamName"));
        members[i].id = place_of(shape, S("StreamId"));
        members[i].iterator = place_of(shape, S("ShardIterator"));
    }
    return members;
}

static const struct op_members *members_of(const struct call *c)
{
    const struct kinesis *k = c->state;
    return &k->members[c->op - kinesis_api.ops];
}

static Str text_at(const void *in, int32_t place)
{
    return place != NO_MEMBER ? *(const Str *)((const char *)in + place) : (Str){ 0 };
}

static Str arn_given(const struct op_members *m, const void *in)
{
    for (size_t k = 0; k < ARN_MEMBERS; k++) {
        Str arn = text_at(in, m->arns[k]);
        if (arn.p != NULL)
            return arn;
    }
    return (Str){ 0 };
}

static Str account_of_call(struct call *c, const void *in)
{
    Str rest = arn_given(members_of(c), in), part = { 0 };
    if (rest.p == NULL)
        return c->account;
    for (size_t i = 0; i < 5; i++)
        if (!str_cut(rest, ':', &part, &rest))
            return c->account;
    return part;
}

static Str stream_arn(struct call *c, Str account, Str name)
{
    Str owner = str_cat3(c->arena, c->region, S(":"), account);
    Str head = str_cat3(c->arena, S("arn:aws:kinesis:"), owner, S(":stream/"));
    return str_cat(c->arena, head, name);
}

// The tags of what the ARN names: a queue, a channel, a consumer or a stream.
static void copy_tags(struct call *c, Str arn, Str account, TagSet *to)
{
    struct kinesis *k = c->state;
    Str prefix = stream_arn(c, account, S("")), of_stream, consumer = { 0 };
    int64_t created_s;
    size_t at;
    if (queues_is_arn(arn)) {
        queues_copy_tags(c, arn, to);
        return;
    }
    if (channels_is_arn(arn)) {
        channels_copy_tags(c, arn, to);
        return;
    }
    if (!consumer_arn_split(arn, &of_stream, &consumer, &created_s))
        of_stream = arn;
    if (!str_starts(of_stream, prefix))
        return;
    Str key = stream_row_key(c->arena, account, c->region, str_skip(of_stream, prefix.n));
    pthread_rwlock_rdlock(&k->lock);
    const struct stream *s = map_get(k->by_key, key);
    const struct consumer *x =
        s != NULL && consumer.p != NULL ? consumer_find(s, consumer, &at) : NULL;
    if (x != NULL)
        tag_set_copy(to, &x->tags);
    else if (s != NULL && consumer.p == NULL)
        tag_set_copy(to, &s->tags);
    pthread_rwlock_unlock(&k->lock);
}

static void add_tags(struct call *c, Str arn, AccessTarget *ret)
{
    TagSet tags = { 0 };
    copy_tags(c, arn, ret->account, &tags);
    AccessValue *values = arena_new(c->arena, AccessValue, tags.n);
    Str *texts = arena_new(c->arena, Str, tags.n);
    for (size_t i = 0; i < tags.n; i++) {
        texts[i] = str_dup(c->arena, tags.at[i].value);
        values[i] = (AccessValue){ .name = str_cat(c->arena, S("aws:ResourceTag/"), tags.at[i].key),
                                   .values = &texts[i],
                                   .n = 1 };
    }
    ret->context = values;
    ret->context_count = tags.n;
    tag_set_done(&tags);
}

static Str name_of_id(struct call *c, Str id)
{
    struct kinesis *k = c->state;
    Str name = { 0 };
    size_t first, n;
    pthread_rwlock_rdlock(&k->lock);
    kinesis_realm(k, c, &first, &n);
    for (size_t i = first; i < first + n && name.p == NULL; i++)
        if (str_eq(k->sorted[i]->id, id))
            name = str_dup(c->arena, k->sorted[i]->name);
    pthread_rwlock_unlock(&k->lock);
    return name;
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    const struct op_members *m = members_of(c);
    Str arn = arn_given(m, in), name = text_at(in, m->name), id = text_at(in, m->id),
        iterator = text_at(in, m->iterator);
    if (arn.p == NULL && name.p == NULL && id.p != NULL)
        name = name_of_id(c, id);
    // An iterator is for its own stream, whatever the ARN beside it says.
    if (iterator.p != NULL) {
        name = kinesis_iterator_stream(c, iterator);
        arn = (Str){ 0 };
    }
    if (arn.p == NULL && name.p != NULL)
        arn = stream_arn(c, ret->account, name);
    if (arn.p == NULL)
        return;
    ret->resource = arn;
    ret->policy = kinesis_policy(c->state, arn);
    add_tags(c, arn, ret);
}

const struct call_targets kinesis_targets = { .account = account_of_call,
                                              .target = target_of_call };
