// SPDX-License-Identifier: Apache-2.0
// TagDeliveryStream, UntagDeliveryStream, ListTagsForDeliveryStream.
#include "base/time.h"
#include "svc/firehose/tags.h"

#include <string.h>

// With this tag, in its place by key; the array has room.
static void put_tag(HoseFields *x, HoseTag tag)
{
    size_t at = 0;
    while (at < x->tag_count && str_cmp(x->tags[at].key, tag.key) < 0)
        at++;
    if (at == x->tag_count || !str_eq(x->tags[at].key, tag.key)) {
        memmove(&x->tags[at + 1], &x->tags[at], (x->tag_count - at) * sizeof *x->tags);
        x->tag_count++;
    }
    x->tags[at] = tag;
}

static void drop_tag(HoseFields *x, Str key)
{
    for (size_t i = 0; i < x->tag_count; i++)
        if (str_eq(x->tags[i].key, key)) {
            memmove(&x->tags[i], &x->tags[i + 1], (x->tag_count - i - 1) * sizeof *x->tags);
            x->tag_count--;
            return;
        }
}

// An array of its own with room for more.
static void own_tags(struct call *c, HoseFields *x, size_t more)
{
    HoseTag *tags = arena_new(c->arena, HoseTag, x->tag_count + more);
    if (x->tag_count > 0)
        memcpy(tags, x->tags, x->tag_count * sizeof *tags);
    x->tags = tags;
}

static Err put_tags(struct call *c, Str name, firehose_TagDeliveryStreamInputTagList tags,
                    HoseFields *x)
{
    own_tags(c, x, tags.n);
    for (size_t i = 0; i < tags.n; i++)
        put_tag(x, (HoseTag){ tags.at[i].key, tags.at[i].value });
    if (x->tag_count <= HOSE_TAGS_MAX)
        return OK;
    return call_fail(c, &firehose_LimitExceededException,
                     "Failed to add tags to delivery stream '%.*s' under account '%.*s' because a "
                     "given delivery stream cannot have more than %d tags associated with it.",
                     FMT(name), FMT(c->account), HOSE_TAGS_MAX);
}

Err hose_tags_of_input(struct call *c, Str name, firehose_TagDeliveryStreamInputTagList tags,
                       HoseFields *ret)
{
    return put_tags(c, name, tags, ret);
}

// ---- Operations

// A key is given once.
static Err check_keys(struct call *c, const firehose_TagDeliveryStreamInputTagList *put,
                      const firehose_TagKeyList *drop)
{
    size_t n = put != NULL ? put->n : drop->n;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) {
            Str one = put != NULL ? put->at[i].key : drop->at[i];
            if (str_eq(one, put != NULL ? put->at[k].key : drop->at[k]))
                return call_fail(c, &firehose_InvalidArgumentException,
                                 "Tag key %.*s is specified more than once.", FMT(one));
        }
    return OK;
}

static Err check_state(struct call *c, const HoseView *v)
{
    HoseStatus status = hose_status(v->f, c->now_ns / NS_PER_MS);
    if (v->hose->gone)
        return firehose_not_found(c, v->hose->name);
    if (status == HOSE_ACTIVE)
        return OK;
    return call_fail(c, &firehose_ResourceInUseException,
                     "Firehose %.*s under account %.*s is in status %.*s and its tags cannot be "
                     "changed.",
                     FMT(v->hose->name), FMT(c->account), FMT(hose_status_name(status)));
}

static Err change_tags(struct call *c, HoseView *v,
                       const firehose_TagDeliveryStreamInputTagList *put,
                       const firehose_TagKeyList *drop)
{
    firehose_renew(c->state, v);
    TRY(check_state(c, v));
    HoseFields fields = *v->f;
    if (put != NULL)
        TRY(put_tags(c, v->hose->name, *put, &fields));
    else
        own_tags(c, &fields, 0);
    for (size_t i = 0; drop != NULL && i < drop->n; i++)
        drop_tag(&fields, drop->at[i]);
    return firehose_change(c->state, v->hose, &fields);
}

static Err change(struct call *c, Str name, const firehose_TagDeliveryStreamInputTagList *put,
                  const firehose_TagKeyList *drop)
{
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(check_keys(c, put, drop));
    TRY(firehose_find(c, name, &v));
    TRY(firehose_change_begin(c));
    Err e = change_tags(c, &v, put, drop);
    firehose_change_end(c->state);
    return e;
}

Err firehose_TagDeliveryStream(struct call *c, const struct firehose_TagDeliveryStream_in *in,
                               struct firehose_TagDeliveryStream_out *out)
{
    (void)out;
    return change(c, in->delivery_stream_name, &in->tags, NULL);
}

Err firehose_UntagDeliveryStream(struct call *c, const struct firehose_UntagDeliveryStream_in *in,
                                 struct firehose_UntagDeliveryStream_out *out)
{
    (void)out;
    return change(c, in->delivery_stream_name, NULL, &in->tag_keys);
}

Err firehose_ListTagsForDeliveryStream(struct call *c,
                                       const struct firehose_ListTagsForDeliveryStream_in *in,
                                       struct firehose_ListTagsForDeliveryStream_out *out)
{
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    firehose_ListTagsForDeliveryStreamOutputTagList list = { .set = true };
    list.at = arena_new(c->arena, firehose_Tag, v.f->tag_count);
    for (size_t i = 0; i < v.f->tag_count && !out->has_more_tags; i++) {
        const HoseTag *t = &v.f->tags[i];
        if (in->exclusive_start_tag_key.p != NULL &&
            str_cmp(t->key, in->exclusive_start_tag_key) <= 0)
            continue;
        out->has_more_tags = list.n == (size_t)in->limit;
        if (!out->has_more_tags)
            list.at[list.n++] = (firehose_Tag){
                .key = str_dup(c->arena, t->key),
                .value = t->value.p != NULL ? str_dup(c->arena, t->value) : t->value,
            };
    }
    out->tags = list;
    return OK;
}
