// SPDX-License-Identifier: Apache-2.0
// How C values lie in the structs that tools/apigen.py makes; inside the binder only.
#pragma once
#include "aws/bind.h"

// Every list and every map begins like this, whatever its element.
struct any_list {
    void *at;
    size_t n;
    bool set;
};

static inline void *bind_place(void *base, const struct member *m)
{
    return (char *)base + m->offset;
}

static inline const void *bind_value(const void *base, const struct member *m)
{
    return (const char *)base + m->offset;
}

static inline const void *bind_element(const struct any_list *list, const struct shape *shape,
                                       size_t i)
{
    return (const char *)list->at + i * shape->element_bytes;
}

// Whether a member was given (or has its default).
bool bind_given(const void *base, const struct member *m);
void bind_fill_default(void *base, const struct member *m);

// Whether one value is within its own constraints; of a list, its number of elements. A text or
// blob that is absent is not.
bool bind_is_within(const struct shape *shape, const void *value);

// The elements of a list or map while it is read.
struct growth {
    char *at;
    size_t n, cap;
};

// Room for one more element, zeroed, which counts when the caller raises n; NULL: no memory.
void *bind_growth_next(struct arena *a, struct growth *g, const struct shape *shape);
