// SPDX-License-Identifier: Apache-2.0
#include "aws/rest_out.h"
#include "aws/bind_priv.h"
#include "aws/rest_priv.h"
#include "aws/write_xml.h"
#include "codec/xml.h"

// ---- Encoding (RFC 3986; Amazon S3 API Reference, "Signature calculations": UriEncode)

static void add_encoded(struct buf *b, Str text, bool path)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char ch = (unsigned char)text.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                     (ch >= '0' && ch <= '9') || (ch != 0 && strchr("-_.~", ch) != NULL) ||
                     (path && ch == '/');
        buf_add_byte(b, plain ? (char)ch : '%');
        if (!plain) {
            buf_add_byte(b, hex[ch >> 4]);
            buf_add_byte(b, hex[ch & 15]);
        }
    }
}

Str rest_out_encoded(struct arena *a, Str text, bool path)
{
    AUTO_BUF(b);
    add_encoded(&b, text, path);
    return str_dup(a, buf_str(&b));
}

// ---- Requests

static Str label_of(const struct api_op *op, const void *in, Str name)
{
    for (size_t i = 0; i < op->input->member_count; i++) {
        const struct member *m = &op->input->members[i];
        if (m->place == PLACE_PATH && str_eq(m->name, name))
            return *(const Str *)bind_value(in, m);
    }
    return S("");
}

// "/{Bucket}/{Key+}": labels are texts.
static void write_path(const struct api_op *op, const void *in, struct buf *b)
{
    for (Str rest = op->path; rest.n > 0;) {
        size_t open = str_find(rest, '{');
        buf_add(b, str_head(rest, open));
        rest = str_skip(rest, open);
        if (rest.n == 0)
            break;
        size_t close = str_find(rest, '}');
        Str name = str_from(rest.p + 1, close - 1);
        bool greedy = str_ends(name, S("+"));
        name = str_head(name, name.n - greedy);
        add_encoded(b, label_of(op, in, name), greedy);
        rest = str_skip(rest, close + 1);
    }
}

static void write_query(const struct api_op *op, const void *in, struct arena *a, struct buf *b)
{
    buf_add(b, op->query);
    for (size_t i = 0; i < op->input->member_count; i++) {
        const struct member *m = &op->input->members[i];
        if (m->place != PLACE_QUERY || !bind_given(in, m))
            continue;
        if (b->n > 0)
            buf_add_byte(b, '&');
        add_encoded(b, m->called, false);
        buf_add_byte(b, '=');
        add_encoded(b, rest_value(a, m->shape, bind_value(in, m)), false);
    }
}

static size_t count_headers(const struct shape *shape, const void *in)
{
    size_t n = 0;
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        n += m->place == PLACE_HEADERS ? ((const struct any_list *)bind_value(in, m))->n : 1;
    }
    return n;
}

static void write_headers(const struct shape *shape, const void *in, struct arena *a, RestOut *ret)
{
    ret->headers = arena_new(a, HttpHeader, count_headers(shape, in));
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place == PLACE_HEADER && bind_given(in, m)) {
            ret->headers[ret->header_count++] =
                (HttpHeader){ str_lower(a, m->called), rest_value(a, m->shape, bind_value(in, m)) };
        } else if (m->place == PLACE_HEADERS) {
            const struct any_list *all = bind_value(in, m);
            for (size_t k = 0; k < all->n; k++) {
                const char *at = bind_element(all, m->shape, k);
                ret->headers[ret->header_count++] =
                    (HttpHeader){ str_lower(a, str_cat(a, m->called, *(const Str *)at)),
                                  *(const Str *)(at + m->shape->value_offset) };
            }
        }
    }
}

static Err write_body(const struct api_service *api, const struct api_op *op, const void *in,
                      struct arena *a, Str *ret)
{
    for (size_t i = 0; i < op->input->member_count; i++) {
        const struct member *m = &op->input->members[i];
        if (m->place != PLACE_PAYLOAD || m->shape->kind != SHAPE_STRUCT || !bind_given(in, m))
            continue;
        AUTO_BUF(b);
        Str root = m->called.p != NULL ? m->called : m->name;
        buf_addf(&b, "<%.*s xmlns=\"%.*s\">", FMT(root), FMT(api->xml_namespace));
        xml_write_members(&b, m->shape, *(const void *const *)bind_value(in, m));
        xml_close_element(&b, root);
        TRY(buf_err(&b));
        return str_dup_try(a, buf_str(&b), ret);
    }
    return OK;
}

Err rest_out_request(const struct api_service *api, const struct api_op *op, const void *in,
                     struct arena *a, RestOut *ret)
{
    AUTO_BUF(path);
    AUTO_BUF(query);
    *ret = (RestOut){ .method = op->method };
    write_path(op, in, &path);
    write_query(op, in, a, &query);
    TRY(buf_err(&path));
    TRY(buf_err(&query));
    ret->path = str_dup(a, buf_str(&path));
    if (query.n > 0)
        ret->query = str_dup(a, buf_str(&query));
    write_headers(op->input, in, a, ret);
    return write_body(api, op, in, a, &ret->body);
}

// ---- Replies

static bool has_document(const struct shape *shape)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place == PLACE_DOCUMENT ||
            (m->place == PLACE_PAYLOAD && m->shape->kind == SHAPE_STRUCT))
            return true;
    }
    return false;
}

Err rest_out_reply(const struct api_op *op, const HttpHeader *headers, size_t n, Str body,
                   struct arena *a, void *out)
{
    if (op->output == NULL)
        return OK;
    // A reply is read as a request is whose members it has.
    struct api_op as = { .input = op->output, .streams = !has_document(op->output) };
    RestRequest r = { .a = a, .headers = headers, .header_count = n, .body = body, .op = &as };
    struct protocol_reader reader;
    Str fault = { 0 };
    rest_reader(&reader, &r);
    return bind_decode(&reader, op->output, a, out, &fault);
}

static Str child_text(const struct xml_node *n, Str name)
{
    for (const struct xml_node *c = n->first; c != NULL; c = c->next)
        if (str_eq(c->name, name))
            return c->text;
    return S("");
}

bool rest_out_error(Str body, struct arena *a, RestOutError *ret)
{
    struct xml_node *root = NULL;
    *ret = (RestOutError){ .code = S(""), .message = S("") };
    if (body.n == 0 || xml_parse(a, body, &root).kind != ERR_NONE ||
        !str_eq(root->name, S("Error")))
        return false;
    ret->code = child_text(root, S("Code"));
    ret->message = child_text(root, S("Message"));
    ret->all = root->first;
    return true;
}
