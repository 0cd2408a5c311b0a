// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/tags.h"
#include "svc/kinesis/queues.h"

#include <string.h>

static bool is_tag_text(Str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool letter_or_digit =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
        if (!letter_or_digit && (c == 0 || strchr(" \t\n\r_.:/=+-%@", c) == NULL))
            return false;
    }
    return true;
}

Err tags_check(struct call *c, kinesis_TagMap tags)
{
    for (size_t i = 0; i < tags.n; i++)
        if (!is_tag_text(tags.at[i].key) || !is_tag_text(tags.at[i].value))
            return call_fail(c, &kinesis_InvalidArgumentException,
                             "Some tags contain invalid characters. Valid characters: Unicode "
                             "letters, digits, white space, _ . / = + - %% @.");
    return OK;
}

Err tags_check_count(struct call *c, Str stream_name, size_t count)
{
    if (count <= STREAM_TAGS_MAX)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "Failed to add tags to stream %.*s under account %.*s because a given stream "
                     "cannot have more than %d tags associated with it.",
                     FMT(stream_name), FMT(c->account), STREAM_TAGS_MAX);
}

static void add_tags(struct stream *copy, const void *arg)
{
    const kinesis_TagMap *tags = arg;
    for (size_t i = 0; i < tags->n; i++)
        stream_set_tag(copy, tags->at[i].key, tags->at[i].value);
}

static void drop_tags(struct stream *copy, const void *arg)
{
    const kinesis_TagKeyList *keys = arg;
    for (size_t i = 0; i < keys->n; i++)
        stream_drop_tag(copy, keys->at[i]);
}

static Err add_locked(struct call *c, struct stream *s, kinesis_TagMap tags)
{
    if (s->status == STREAM_GONE)
        return kinesis_not_found(c, s->name);
    size_t count = s->tag_count;
    for (size_t i = 0; i < tags.n; i++)
        count += stream_tag(s, tags.at[i].key).p == NULL;
    TRY(tags_check_count(c, s->name, count));
    return kinesis_change(c->state, s, add_tags, &tags);
}

static Err add(struct call *c, struct stream *s, kinesis_TagMap tags)
{
    TRY(tags_check(c, tags));
    TRY(kinesis_change_begin(c, s->name));
    Err e = add_locked(c, s, tags);
    kinesis_change_end(c->state);
    return e;
}

static Err drop(struct call *c, struct stream *s, kinesis_TagKeyList keys)
{
    struct kinesis *k = c->state;
    TRY(kinesis_change_begin(c, s->name));
    Err e = s->status == STREAM_GONE ? kinesis_not_found(c, s->name)
                                     : kinesis_change(k, s, drop_tags, &keys);
    kinesis_change_end(k);
    return e;
}

Err kinesis_AddTagsToStream(struct call *c, const struct kinesis_AddTagsToStream_in *in)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    return add(c, s, in->tags);
}

Err kinesis_RemoveTagsFromStream(struct call *c, const struct kinesis_RemoveTagsFromStream_in *in)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    return drop(c, s, in->tag_keys);
}

Err kinesis_TagResource(struct call *c, const struct kinesis_TagResource_in *in)
{
    if (queues_is_arn(in->resource_arn))
        return queues_tag(c, in->resource_arn, &in->tags);
    AUTO(stream) s = NULL;
    TRY(kinesis_find_arn(c, in->resource_arn, &s));
    return add(c, s, in->tags);
}

Err kinesis_UntagResource(struct call *c, const struct kinesis_UntagResource_in *in)
{
    if (queues_is_arn(in->resource_arn))
        return queues_untag(c, in->resource_arn, &in->tag_keys);
    AUTO(stream) s = NULL;
    TRY(kinesis_find_arn(c, in->resource_arn, &s));
    return drop(c, s, in->tag_keys);
}

// The tags after `after`, `max` at most; true if others follow.
static bool copy_tags(struct call *c, struct stream *s, Str after, size_t max, kinesis_TagList *ret)
{
    struct kinesis *k = c->state;
    kinesis_TagList list = { .set = true };
    bool more = false;
    pthread_rwlock_rdlock(&k->lock);
    list.at = arena_new(c->arena, kinesis_Tag, s->tag_count);
    for (size_t i = 0; i < s->tag_count && !more; i++) {
        if (after.p != NULL && str_cmp(s->tags[i].key, after) <= 0)
            continue;
        more = list.n == max;
        if (!more)
            list.at[list.n++] = (kinesis_Tag){ .key = str_dup(c->arena, s->tags[i].key),
                                               .value = str_dup(c->arena, s->tags[i].value) };
    }
    pthread_rwlock_unlock(&k->lock);
    *ret = list;
    return more;
}

Err kinesis_ListTagsForStream(struct call *c, const struct kinesis_ListTagsForStream_in *in,
                              struct kinesis_ListTagsForStream_out *out)
{
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    size_t max = (size_t)in->limit;
    out->has_more_tags = copy_tags(c, s, in->exclusive_start_tag_key, max, &out->tags);
    return OK;
}

Err kinesis_ListTagsForResource(struct call *c, const struct kinesis_ListTagsForResource_in *in,
                                struct kinesis_ListTagsForResource_out *out)
{
    if (queues_is_arn(in->resource_arn))
        return queues_list_tags(c, in->resource_arn, &out->tags);
    AUTO(stream) s = NULL;
    TRY(kinesis_find_arn(c, in->resource_arn, &s));
    copy_tags(c, s, (Str){ 0 }, STREAM_TAGS_MAX, &out->tags);
    return OK;
}
