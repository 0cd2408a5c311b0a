// SPDX-License-Identifier: Apache-2.0
#include "columnar/column.h"
#include "base/memory.h"

#include <stdlib.h>

enum { ENTRIES_FIRST = 64, BYTES_FIRST = 1024 };

static size_t value_bytes(TypeKind k)
{
    switch (k) {
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        return sizeof(double);
    case TYPE_DECIMAL:
        return sizeof(Decimal);
    case TYPE_TIMESTAMP:
        return sizeof(Moment);
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
    case TYPE_BINARY:
    case TYPE_LIST:
    case TYPE_MAP:
        return sizeof(uint32_t);
    case TYPE_STRUCT:
        return 0;
    default:
        return sizeof(int64_t);
    }
}

void column_init(struct column *c, const struct type *t)
{
    *c = (struct column){ .type = t };
    if (t->child_count == 0)
        return;
    c->children = xalloc(mul_checked(t->child_count, sizeof *c->children));
    for (size_t i = 0; i < t->child_count; i++)
        column_init(&c->children[i], &t->children[i]);
}

void column_done(struct column *c)
{
    if (c->type == NULL)
        return;
    for (size_t i = 0; i < c->type->child_count; i++)
        column_done(&c->children[i]);
    free(c->children);
    free(c->present);
    free(c->values);
    free(c->bytes);
    *c = (struct column){ 0 };
}

void column_clear(struct column *c)
{
    c->n = c->dense = c->bytes_n = c->elements = 0;
    for (size_t i = 0; i < c->type->child_count; i++)
        column_clear(&c->children[i]);
}

void column_shrink(struct column *c, size_t bytes_max)
{
    CHECK(c->n == 0);
    if (c->cap + c->dense_cap * value_bytes(c->type->kind) > bytes_max) {
        free(c->present);
        free(c->values);
        c->present = NULL;
        c->values = NULL;
        c->cap = c->dense_cap = 0;
    }
    if (c->bytes_cap > bytes_max) {
        free(c->bytes);
        c->bytes = NULL;
        c->bytes_cap = 0;
    }
    for (size_t i = 0; i < c->type->child_count; i++)
        column_shrink(&c->children[i], bytes_max);
}

void column_truncate(struct column *c, size_t n)
{
    for (; c->n > n; c->n--) {
        if (!c->present[c->n - 1])
            continue;
        c->dense--;
        if (type_is_text(c->type->kind))
            c->bytes_n -= c->lengths[c->dense];
        else if (c->type->kind == TYPE_LIST || c->type->kind == TYPE_MAP)
            c->elements -= c->lengths[c->dense];
    }
    size_t inner = c->type->kind == TYPE_STRUCT ? c->dense : c->elements;
    for (size_t i = 0; i < c->type->child_count; i++)
        column_truncate(&c->children[i], inner);
}

size_t column_bytes(const struct column *c)
{
    size_t sum = sizeof *c + c->cap + c->dense_cap * value_bytes(c->type->kind) + c->bytes_cap;
    for (size_t i = 0; i < c->type->child_count; i++)
        sum += column_bytes(&c->children[i]);
    return sum;
}

size_t column_filled(const struct column *c)
{
    size_t sum = c->n + c->dense * value_bytes(c->type->kind) + c->bytes_n;
    for (size_t i = 0; i < c->type->child_count; i++)
        sum += column_filled(&c->children[i]);
    return sum;
}

bool column_grow_entries(struct column *c)
{
    size_t cap = MAX(c->cap * 2, (size_t)ENTRIES_FIRST);
    uint8_t *p = memory_try_resize(c->present, cap);
    if (p == NULL)
        return false;
    c->present = p;
    c->cap = cap;
    return true;
}

bool column_grow_values(struct column *c)
{
    size_t cap = MAX(c->dense_cap * 2, (size_t)ENTRIES_FIRST);
    if (c->type->kind != TYPE_STRUCT) {
        void *p = memory_try_resize(c->values, mul_checked(cap, value_bytes(c->type->kind)));
        if (p == NULL)
            return false;
        c->values = p;
    }
    c->dense_cap = cap;
    return true;
}

bool column_grow_bytes(struct column *c, size_t more)
{
    size_t cap = MAX(c->bytes_cap * 2, (size_t)BYTES_FIRST);
    cap = MAX(cap, c->bytes_n + more + COLUMN_SLACK_BYTES);
    char *p = memory_try_resize(c->bytes, cap);
    if (p == NULL)
        return false;
    c->bytes = p;
    c->bytes_cap = cap;
    return true;
}
