// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "columnar/dictionary.h"
#include "columnar/parquet_priv.h"

#include <stdlib.h>

static size_t count_leaves(const struct type *t)
{
    size_t n = !type_is_nested(t->kind);
    for (size_t i = 0; i < t->child_count; i++)
        n += count_leaves(&t->children[i]);
    return n;
}

static void init_leaves(struct parquet *p, const struct type *t, bool required, unsigned def,
                        unsigned rep)
{
    bool list = t->kind == TYPE_LIST || t->kind == TYPE_MAP;
    def += !required;
    if (!type_is_nested(t->kind)) {
        leaf_init(&p->leaves[p->leaf_count++], p, t, (uint8_t)def, (uint8_t)rep);
        return;
    }
    for (size_t i = 0; i < t->child_count; i++)
        init_leaves(p, &t->children[i], t->kind == TYPE_MAP && i == 0, def + list, rep + list);
}

Err parquet_open(const ColumnarParquet *o, const struct columnar_schema *s, struct out *out,
                 struct parquet **ret)
{
    static const PackKind kinds[] = { [COLUMNAR_UNCOMPRESSED] = PACK_NONE,
                                      [COLUMNAR_GZIP] = PACK_GZIP,
                                      [COLUMNAR_SNAPPY] = PACK_SNAPPY };
    AUTO(parquet) p = xalloc(sizeof *p);
    p->o = *o;
    p->schema = s;
    p->out = out;
    p->notes = arena_open();
    p->groups_end = &p->groups;
    p->leaves = xalloc(mul_checked(count_leaves(&s->root), sizeof *p->leaves));
    for (size_t i = 0; i < s->root.child_count; i++)
        init_leaves(p, &s->root.children[i], false, 0, 0);
    TRY(pack_open(kinds[o->compression], &p->pack));
    TRY(out_add(out, S("PAR1")));
    *ret = p;
    p = NULL;
    return OK;
}

void parquet_close(struct parquet *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->leaf_count; i++)
        leaf_done(&p->leaves[i]);
    free(p->leaves);
    for (size_t i = 0; i < COUNT_OF(p->levels); i++) {
        free(p->levels[i].def);
        free(p->levels[i].rep);
    }
    buf_done(&p->raw);
    buf_done(&p->packed);
    buf_done(&p->head);
    pack_close(p->pack);
    arena_close(p->notes);
    free(p);
}

// With padding, a row group that would begin shortly before the end of a block begins behind it.
static Err pad(struct parquet *p)
{
    uint64_t left = p->o.block_bytes - p->out->written % p->o.block_bytes;
    return left <= p->o.padding_bytes_max ? out_zeros(p->out, left) : OK;
}

static Err write_group(struct parquet *p)
{
    if (p->group_rows == 0)
        return OK;
    for (size_t i = 0; i < p->leaf_count; i++)
        TRY(leaf_close_chunk(p, &p->leaves[i]));
    TRY(pad(p));
    struct group *g = arena_try_new(p->notes, struct group, 1);
    struct chunk *chunks = arena_try_new(p->notes, struct chunk, p->leaf_count);
    if (g == NULL || chunks == NULL)
        return fail(ERR_MEMORY, "no memory for a row group");
    *g = (struct group){ .chunks = chunks, .rows = p->group_rows, .at = p->out->written };
    for (size_t i = 0; i < p->leaf_count; i++) {
        struct leaf *l = &p->leaves[i];
        TRY(leaf_write(p, l));
        chunks[i] = l->chunk;
        g->raw_bytes += l->chunk.raw_bytes;
        g->bytes += l->chunk.bytes;
        l->chunk = (struct chunk){ 0 };
    }
    *p->groups_end = g;
    p->groups_end = &g->next;
    p->group_count++;
    p->group_rows = 0;
    return OK;
}

Err parquet_add(struct parquet *p, const struct column *root)
{
    struct leaf *leaf = p->leaves;
    for (size_t i = 0; i < root->type->child_count; i++)
        TRY(levels_add(p, &root->children[i], &leaf));
    p->rows += root->n;
    p->group_rows += root->n;
    size_t held = 0;
    for (size_t i = 0; i < p->leaf_count; i++)
        held += leaf_held(&p->leaves[i]);
    return held >= p->o.block_bytes ? write_group(p) : OK;
}

Err parquet_finish(struct parquet *p)
{
    TRY(write_group(p));
    return parquet_footer(p);
}

size_t parquet_bytes(const struct parquet *p)
{
    size_t sum = sizeof *p + p->leaf_count * sizeof *p->leaves + p->raw.cap + p->packed.cap +
                 p->head.cap + pack_bytes(p->pack) + arena_bytes(p->notes);
    for (size_t i = 0; i < COUNT_OF(p->levels); i++)
        sum += 2 * p->levels[i].cap;
    for (size_t i = 0; i < p->leaf_count; i++) {
        const struct leaf *l = &p->leaves[i];
        sum += l->chunk.bytes + l->values.cap + l->fixed.cap + l->def.done.cap + l->def.open.cap +
               l->rep.done.cap + l->rep.open.cap + l->note_cap * sizeof *l->notes;
        if (l->dictionary != NULL)
            sum += sizeof *l->dictionary + dictionary_bytes(l->dictionary);
    }
    return sum;
}
