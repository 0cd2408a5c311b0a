// SPDX-License-Identifier: Apache-2.0
#include "aws/scan_check.h"
#include "aws/bind_priv.h"

#include <stdlib.h>
#include <string.h>

const struct shape *scan_check_shape(const struct api_service *api, Str op)
{
    CHECK(api_prepare(api).kind == ERR_NONE);
    for (size_t i = 0; i < api->op_count; i++)
        if (str_eq(api->ops[i].name, op) && api->ops[i].scan)
            return api->ops[i].input;
    CHECK(false);
    return NULL;
}

// Decodes what the scan left as it came, where a Str may stand as well.
static void decode_late(const struct shape *shape, struct arena *a, void *value)
{
    Blob *blob = value;
    const struct any_list *list = value;
    if (shape->kind == SHAPE_BLOB && shape->base64)
        *blob = blob_of(blob_bytes(a, *blob));
    for (size_t i = 0; shape->kind == SHAPE_LIST && i < list->n; i++)
        decode_late(shape->member, a, (char *)list->at + i * shape->element_bytes);
    for (size_t i = 0; shape->kind == SHAPE_STRUCT && i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        void *place = bind_place(value, m);
        if (bind_given(value, m))
            decode_late(m->shape, a, m->shape->kind == SHAPE_STRUCT ? *(void **)place : place);
    }
}

// All of a struct's values in bytes, so that two can be compared.
static void write_out(const struct shape *shape, const void *in, struct buf *out)
{
    struct protocol_writer w;
    protocol_cbor_1_1.writer_init(&w, out);
    bind_encode(&w, shape, in);
    CHECK(buf_err(out).kind == ERR_NONE);
}

static void compare(const struct protocol *p, const struct shape *shape, struct arena *a, Str body,
                    void *fast)
{
    Str fault = { 0 };
    void *full = arena_alloc(a, shape->struct_bytes, _Alignof(max_align_t));
    struct protocol_reader r;
    p->reader_init(&r, a, body);
    CHECK(bind_decode(&r, shape, a, full, &fault).kind == ERR_NONE && fault.p == NULL);
    CHECK(bind_validate(shape, full, a).p == NULL && bind_validate(shape, fast, a).p == NULL);

    decode_late(shape, a, fast);
    AUTO_BUF(of_scan);
    AUTO_BUF(of_binder);
    write_out(shape, fast, &of_scan);
    write_out(shape, full, &of_binder);
    CHECK(str_eq(buf_str(&of_scan), buf_str(&of_binder)));
}

bool scan_check(const struct protocol *p, const struct shape *shape, Str body)
{
    AUTO(arena) a = arena_open();
    char *exact =
        malloc(MAX(body.n, (size_t)1)); // a block of its own: reading past the end is seen
    CHECK(exact != NULL);
    if (body.n > 0)
        memcpy(exact, body.p, body.n);
    body.p = exact;
    void *fast = arena_alloc(a, shape->struct_bytes, _Alignof(max_align_t));
    bool taken = p->scan(shape, a, body, fast);
    if (taken)
        compare(p, shape, a, body, fast);
    free(exact);
    return taken;
}

void scan_check_changed(const struct protocol *p, const struct shape *shape, Str body)
{
    static const char replacing[] = "\"\\{}[],: =A/a0\x01\x7f\xc3\xff\n";
    for (size_t at = 0; at < body.n; at++) {
        AUTO(arena) a = arena_open();
        Str head = str_head(body, at), tail = str_skip(body, at + 1);
        CHECK(!scan_check(p, shape, head));
        scan_check(p, shape, str_cat(a, head, tail));
        for (size_t i = 0; i < sizeof replacing; i++)
            scan_check(p, shape, str_cat3(a, head, str_from(&replacing[i], 1), tail));
    }
}
