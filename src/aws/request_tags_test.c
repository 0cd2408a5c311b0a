// SPDX-License-Identifier: Apache-2.0
#include "aws/call.h"
#include "base/test.h"

#include <stddef.h>

// The three forms in which services take tags.
typedef struct Pair {
    Str key, value;
} Pair;

typedef struct Pairs {
    Pair *at;
    size_t n;
    bool set;
} Pairs;

typedef struct Keys {
    Str *at;
    size_t n;
    bool set;
} Keys;

struct input {
    Pairs tags;
    Keys keys;
};

static const struct shape text = { .kind = SHAPE_STRING };
static const struct member pair_members[] = {
    { .name = S_INIT("TagKey"), .shape = &text, .offset = offsetof(Pair, key) },
    { .name = S_INIT("TagValue"), .shape = &text, .offset = offsetof(Pair, value) },
};
static const struct shape pair = {
    .kind = SHAPE_STRUCT, .members = pair_members, .member_count = 2, .struct_bytes = sizeof(Pair)
};
static const struct shape list = { .kind = SHAPE_LIST,
                                   .member = &pair,
                                   .element_bytes = sizeof(Pair) };
static const struct shape map = { .kind = SHAPE_MAP,
                                  .key = &text,
                                  .member = &text,
                                  .element_bytes = sizeof(Pair),
                                  .value_offset = offsetof(Pair, value) };
static const struct shape names = { .kind = SHAPE_LIST,
                                    .member = &text,
                                    .element_bytes = sizeof(Str) };

static const AccessValue *find(const AccessTarget *t, Str name)
{
    for (size_t i = 0; i < t->context_count; i++)
        if (str_eq(t->context[i].name, name))
            return &t->context[i];
    return NULL;
}

static AccessTarget tags_of(struct arena *a, const struct shape *tags, const struct shape *keys,
                            const struct input *in)
{
    struct member members[] = {
        { .name = S("Tags"), .shape = tags, .offset = offsetof(struct input, tags) },
        { .name = S("TagKeys"), .shape = keys, .offset = offsetof(struct input, keys) },
    };
    const struct shape input = { .kind = SHAPE_STRUCT, .members = members, .member_count = 2 };
    const struct api_op op = { .input = &input };
    struct call c = { .arena = a, .op = &op };
    static const Str own = S_INIT("there");
    static const AccessValue before = { S_INIT("x:Own"), &own, 1 };
    AccessTarget t = { .context = &before, .context_count = 1 };
    call_add_tags(&c, in, &t);
    EXPECT(find(&t, S("x:Own")) != NULL); // what the service said stays
    return t;
}

TEST(tags_of_a_list_or_a_map_are_keys_of_the_request)
{
    Pair pairs[] = { { S("team"), S("a") }, { S("cost"), S("") } };
    const struct input in = { .tags = { .at = pairs, .n = 2, .set = true } };
    const struct shape *const forms[] = { &list, &map };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        AccessTarget t = tags_of(a, forms[i], &names, &in);
        EXPECT_STR(S("a"), find(&t, S("aws:RequestTag/team"))->values[0]);
        EXPECT_STR(S(""), find(&t, S("aws:RequestTag/cost"))->values[0]);
        const AccessValue *keys = find(&t, S("aws:TagKeys"));
        EXPECT_INT(2, keys->n);
        EXPECT_STR(S("team"), keys->values[0]);
        EXPECT_STR(S("cost"), keys->values[1]);
    }
}

TEST(tags_to_be_removed_are_keys_alone)
{
    Str given[] = { S_INIT("team"), S_INIT("cost") };
    const struct input in = { .keys = { .at = given, .n = 2, .set = true } };
    AccessTarget t = tags_of(a, &map, &names, &in);
    EXPECT_INT(2, t.context_count);
    EXPECT_INT(2, find(&t, S("aws:TagKeys"))->n);
}

TEST(without_tags_there_are_no_keys_and_what_is_no_tag_is_none)
{
    static const struct shape number = { .kind = SHAPE_INT };
    static const struct shape numbers = { .kind = SHAPE_LIST,
                                          .member = &number,
                                          .element_bytes = 4 };
    static const struct shape boxes = { .kind = SHAPE_MAP, .member = &pair, .element_bytes = 32 };
    Pair pairs[] = { { S("team"), S("a") } };
    const struct input none = { 0 }, in = { .tags = { .at = pairs, .n = 1, .set = true } };
    EXPECT_INT(1, tags_of(a, &list, &names, &none).context_count);
    EXPECT_INT(1, tags_of(a, &numbers, &numbers, &in).context_count);
    EXPECT_INT(1, tags_of(a, &boxes, &text, &in).context_count);
    EXPECT_INT(1, tags_of(a, &text, &text, &in).context_count);
}
