// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/tags.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/channels.h"
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

Err tags_check_count(struct call *c, const char *kind, Str name, size_t count)
{
    if (count <= STREAM_TAGS_MAX)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "Failed to add tags to %s %.*s under account %.*s because a given %s cannot "
                     "have more than %d tags associated with it.",
                     kind, FMT(name), FMT(c->account), kind, STREAM_TAGS_MAX);
}

// ---- Changing

typedef void TagEdit(TagSet *tags, const void *arg);

static void add_tags(TagSet *tags, const void *arg)
{
    const kinesis_TagMap *add = arg;
    for (size_t i = 0; i < add->n; i++)
        tag_set_put(tags, add->at[i].key, add->at[i].value);
}

static void drop_tags(TagSet *tags, const void *arg)
{
    const kinesis_TagKeyList *keys = arg;
    for (size_t i = 0; i < keys->n; i++)
        tag_set_drop(tags, keys->at[i]);
}

static size_t count_with(const TagSet *tags, kinesis_TagMap add)
{
    size_t count = tags->n;
    for (size_t i = 0; i < add.n; i++)
        count += tag_set_find(tags, add.at[i].key).p == NULL;
    return count;
}

struct stream_edit {
    TagEdit *edit;
    const void *arg;
};

static void edit_stream(struct stream *copy, const void *arg)
{
    const struct stream_edit *e = arg;
    e->edit(&copy->tags, e->arg);
}

// What is tagged: a stream, or one of its consumers.
struct tagged {
    struct stream *s;
    struct consumer *x; // NULL: the stream itself
};

static void tagged_done(struct tagged *t)
{
    stream_unref(t->s);
    consumer_unref(t->x);
}

static Err find_tagged(struct call *c, Str resource_arn, struct tagged *ret)
{
    *ret = (struct tagged){ 0 };
    if (consumers_is_arn(resource_arn))
        return consumers_find(c, (ConsumerRef){ .arn = resource_arn }, &ret->s, &ret->x);
    return kinesis_find_arn(c, resource_arn, &ret->s);
}

static Err change_locked(struct call *c, const struct tagged *t, TagEdit *edit, const void *arg)
{
    if (t->x != NULL)
        return consumers_change_tags(c, t->s, t->x, edit, arg);
    if (t->s->status == STREAM_GONE)
        return kinesis_not_found(c, t->s->name);
    TRY(kinesis_require_active(c, t->s)); // the API reference's rule
    return kinesis_change(c->state, t->s, edit_stream, &(struct stream_edit){ edit, arg });
}

static Err add_locked(struct call *c, const struct tagged *t, kinesis_TagMap tags)
{
    const TagSet *have = t->x != NULL ? &t->x->tags : &t->s->tags;
    TRY(tags_check_count(c, t->x != NULL ? "consumer" : "stream",
                         t->x != NULL ? t->x->name : t->s->name, count_with(have, tags)));
    return change_locked(c, t, add_tags, &tags);
}

static Err add(struct call *c, struct tagged t, kinesis_TagMap tags)
{
    Err e = tags_check(c, tags);
    if (e.kind == ERR_NONE)
        e = kinesis_change_begin(c, t.s->name);
    if (e.kind == ERR_NONE) {
        e = add_locked(c, &t, tags);
        kinesis_change_end(c->state);
    }
    tagged_done(&t);
    return e;
}

static Err drop(struct call *c, struct tagged t, kinesis_TagKeyList keys)
{
    Err e = kinesis_change_begin(c, t.s->name);
    if (e.kind == ERR_NONE) {
        e = change_locked(c, &t, drop_tags, &keys);
        kinesis_change_end(c->state);
    }
    tagged_done(&t);
    return e;
}

Err kinesis_AddTagsToStream(struct call *c, const struct kinesis_AddTagsToStream_in *in)
{
    struct tagged t = { 0 };
    TRY(kinesis_find(c, STREAM_REF(in), &t.s));
    return add(c, t, in->tags);
}

Err kinesis_RemoveTagsFromStream(struct call *c, const struct kinesis_RemoveTagsFromStream_in *in)
{
    struct tagged t = { 0 };
    TRY(kinesis_find(c, STREAM_REF(in), &t.s));
    return drop(c, t, in->tag_keys);
}

Err kinesis_TagResource(struct call *c, const struct kinesis_TagResource_in *in)
{
    if (queues_is_arn(in->resource_arn))
        return queues_tag(c, in->resource_arn, &in->tags);
    if (channels_is_arn(in->resource_arn))
        return channels_tag(c, in->resource_arn, &in->tags);
    struct tagged t;
    TRY(find_tagged(c, in->resource_arn, &t));
    return add(c, t, in->tags);
}

Err kinesis_UntagResource(struct call *c, const struct kinesis_UntagResource_in *in)
{
    if (queues_is_arn(in->resource_arn))
        return queues_untag(c, in->resource_arn, &in->tag_keys);
    if (channels_is_arn(in->resource_arn))
        return channels_untag(c, in->resource_arn, &in->tag_keys);
    struct tagged t;
    TRY(find_tagged(c, in->resource_arn, &t));
    return drop(c, t, in->tag_keys);
}

// ---- Listing

// The tags after `after`, `max` at most; true if others follow.
static bool copy_tags(struct call *c, const TagSet *tags, Str after, size_t max,
                      kinesis_TagList *ret)
{
    struct kinesis *k = c->state;
    kinesis_TagList list = { .set = true };
    bool more = false;
    pthread_rwlock_rdlock(&k->lock);
    list.at = arena_new(c->arena, kinesis_Tag, tags->n);
    for (size_t i = 0; i < tags->n && !more; i++) {
        if (after.p != NULL && str_cmp(tags->at[i].key, after) <= 0)
            continue;
        more = list.n == max;
        if (!more)
            list.at[list.n++] = (kinesis_Tag){ .key = str_dup(c->arena, tags->at[i].key),
                                               .value = str_dup(c->arena, tags->at[i].value) };
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
    out->has_more_tags = copy_tags(c, &s->tags, in->exclusive_start_tag_key, max, &out->tags);
    return OK;
}

Err kinesis_ListTagsForResource(struct call *c, const struct kinesis_ListTagsForResource_in *in,
                                struct kinesis_ListTagsForResource_out *out)
{
    if (queues_is_arn(in->resource_arn))
        return queues_list_tags(c, in->resource_arn, &out->tags);
    if (channels_is_arn(in->resource_arn))
        return channels_list_tags(c, in->resource_arn, &out->tags);
    struct tagged t;
    TRY(find_tagged(c, in->resource_arn, &t));
    const TagSet *tags = t.x != NULL ? &t.x->tags : &t.s->tags;
    copy_tags(c, tags, (Str){ 0 }, STREAM_TAGS_MAX, &out->tags);
    tagged_done(&t);
    return OK;
}
