// SPDX-License-Identifier: Apache-2.0
// Whatever the XML reader accepts can be written from its tree and is read as the same tree.
#include "base/buf.h"
#include "codec/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_escaped(struct buf *b, Str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (strchr("<>&\"\r\n\t", text.p[i]) != NULL)
            buf_addf(b, "&#%d;", text.p[i]);
        else
            buf_add_byte(b, text.p[i]);
}

static void write_node(struct buf *b, const struct xml_node *n)
{
    buf_addf(b, "<%.*s", FMT(n->name));
    size_t number = 0; // of prefixes, without which names may repeat
    for (const struct xml_attribute *at = n->attributes; at != NULL; at = at->next) {
        buf_addf(b, " p%zu:%.*s=\"", number++, FMT(at->name));
        add_escaped(b, at->value);
        buf_add_byte(b, '"');
    }
    buf_add_byte(b, '>');
    add_escaped(b, n->text);
    for (const struct xml_node *child = n->first; child != NULL; child = child->next)
        write_node(b, child);
    buf_addf(b, "</%.*s>", FMT(n->name));
}

static void same(const struct xml_node *x, const struct xml_node *y)
{
    CHECK(str_eq(x->name, y->name) && str_eq(x->text, y->text));
    const struct xml_node *p = x->first, *q = y->first;
    for (; p != NULL && q != NULL; p = p->next, q = q->next)
        same(p, q);
    CHECK(p == NULL && q == NULL);
}

// Names that begin with what only follows a prefix cannot be written again.
static bool is_plain(const struct xml_node *n)
{
    bool plain = n->name.n > 0 && str_find(n->name, ':') == n->name.n &&
                 strchr("0123456789-.", n->name.p[0]) == NULL;
    for (const struct xml_attribute *at = n->attributes; at != NULL; at = at->next)
        plain = plain && at->name.n > 0 && str_find(at->name, ':') == at->name.n;
    for (const struct xml_node *child = n->first; child != NULL; child = child->next)
        plain = plain && is_plain(child);
    return plain;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { INPUT_BYTES_MAX = 4096 };
    AUTO(arena) a = arena_open();
    AUTO_BUF(again);
    struct xml_node *root = NULL, *second = NULL;
    if (xml_parse(a, str_from(data, MIN(size, (size_t)INPUT_BYTES_MAX)), &root).kind != ERR_NONE)
        return 0;
    if (!is_plain(root))
        return 0;
    write_node(&again, root);
    CHECK(xml_parse(a, buf_str(&again), &second).kind == ERR_NONE);
    same(root, second);
    return 0;
}
