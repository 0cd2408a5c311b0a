// SPDX-License-Identifier: Apache-2.0
// The tags in an input, as condition keys: read by the shapes, so that no service does it itself
// (IAM user guide, "AWS global condition context keys").
#include "aws/call.h"

static const struct member *find_member(const struct shape *s, Str name)
{
    for (size_t i = 0; i < s->member_count; i++)
        if (str_eq(s->members[i].name, name))
            return &s->members[i];
    return NULL;
}

static const struct member *find_text(const struct shape *s, Str name, Str other)
{
    const struct member *m = find_member(s, name);
    if (m == NULL)
        m = find_member(s, other);
    return m != NULL && m->shape->kind == SHAPE_STRING ? m : NULL;
}

// All lists and maps lie in memory like this one (aws/shape.h).
typedef struct Many {
    const char *at;
    size_t n;
    bool set;
} Many;

static Str text_at(const char *p, size_t offset)
{
    return *(const Str *)(const void *)(p + offset);
}

// Where key and value lie in one element. False: these are no tags.
static bool tag_places(const struct shape *s, size_t *ret_key, size_t *ret_value)
{
    if (s->kind == SHAPE_MAP) {
        *ret_key = 0;
        *ret_value = s->value_offset;
        return s->member->kind == SHAPE_STRING;
    }
    if (s->kind != SHAPE_LIST || s->member->kind != SHAPE_STRUCT)
        return false;
    const struct member *key = find_text(s->member, S("Key"), S("TagKey"));
    const struct member *value = find_text(s->member, S("Value"), S("TagValue"));
    if (key == NULL || value == NULL)
        return false;
    *ret_key = key->offset;
    *ret_value = value->offset;
    return true;
}

static Many many_at(const struct call *c, const void *in, Str name, const struct shape **ret)
{
    const struct member *m = find_member(c->op->input, name);
    *ret = m != NULL ? m->shape : NULL;
    if (m == NULL || (m->shape->kind != SHAPE_LIST && m->shape->kind != SHAPE_MAP))
        return (Many){ 0 };
    return *(const Many *)(const void *)((const char *)in + m->offset);
}

void call_add_tags(struct call *c, const void *in, AccessTarget *t)
{
    const struct shape *shape, *key_shape;
    size_t key_at = 0, value_at = 0, n = t->context_count;
    Many tags = many_at(c, in, S("Tags"), &shape), keys = many_at(c, in, S("TagKeys"), &key_shape);
    if (shape == NULL || !tag_places(shape, &key_at, &value_at))
        tags.n = 0;
    if (key_shape == NULL || key_shape->kind != SHAPE_LIST ||
        key_shape->member->kind != SHAPE_STRING)
        keys.n = 0;
    if (tags.n + keys.n == 0)
        return;
    AccessValue *values = arena_new(c->arena, AccessValue, n + tags.n + 1);
    Str *names = arena_new(c->arena, Str, tags.n + keys.n);
    size_t name_count = 0;
    for (size_t i = 0; i < n; i++)
        values[i] = t->context[i];
    for (size_t i = 0; i < tags.n; i++, n++) {
        const char *one = tags.at + i * shape->element_bytes;
        Str key = text_at(one, key_at);
        names[name_count++] = key;
        values[n].name = str_cat(c->arena, S("aws:RequestTag/"), key);
        values[n].values = (const Str *)(const void *)(one + value_at);
        values[n].n = text_at(one, value_at).p != NULL;
    }
    for (size_t i = 0; i < keys.n; i++)
        names[name_count++] = text_at(keys.at, i * sizeof(Str));
    values[n] = (AccessValue){ .name = S("aws:TagKeys"), .values = names, .n = name_count };
    n++;
    t->context = values;
    t->context_count = n;
}
