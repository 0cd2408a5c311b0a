// SPDX-License-Identifier: Apache-2.0
// Replies of the REST-XML protocol, and its errors as S3 has them.
#include "aws/bind_priv.h"
#include "aws/rest_priv.h"
#include "aws/write_xml.h"
#include "base/time.h"

#include <inttypes.h>

static const Str declaration = S_INIT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");

// ---- Headers

static Str iso_text(struct arena *a, int64_t ns)
{
    AUTO_BUF(b);
    xml_add_time(&b, ns, true);
    return str_dup(a, buf_str(&b));
}

static Str joined(struct arena *a, const struct shape *list, const struct any_list *values)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < values->n; i++) {
        buf_add(&b, i > 0 ? S(",") : S(""));
        buf_add(&b, rest_value(a, list->member, bind_element(values, list, i)));
    }
    return str_dup(a, buf_str(&b));
}

Str rest_value(struct arena *a, const struct shape *shape, const void *value)
{
    switch (shape->kind) {
    case SHAPE_BOOL:
        return *(const bool *)value ? S("true") : S("false");
    case SHAPE_INT:
        return str_fmt(a, "%" PRId32, *(const int32_t *)value);
    case SHAPE_LONG:
        return str_fmt(a, "%" PRId64, *(const int64_t *)value);
    case SHAPE_TIME:
        return shape->iso ? iso_text(a, *(const int64_t *)value)
                          : time_http(a, *(const int64_t *)value);
    case SHAPE_LIST:
        return joined(a, shape, value);
    default:
        return *(const Str *)value;
    }
}

static const struct any_list *headers_of(const struct member *m, const void *out)
{
    return m->place == PLACE_HEADERS ? bind_value(out, m) : NULL;
}

size_t rest_header_max(const struct api_op *op, const void *out)
{
    size_t n = 0;
    for (size_t i = 0; op->output != NULL && i < op->output->member_count; i++) {
        const struct any_list *more = headers_of(&op->output->members[i], out);
        n += more != NULL ? more->n : 1;
    }
    return n;
}

static void write_headers(const struct member *m, const void *out, struct arena *a, RestReply *ret)
{
    const struct any_list *more = headers_of(m, out);
    if (more == NULL) {
        ret->headers[ret->header_count++] =
            (HttpHeader){ m->called, rest_value(a, m->shape, bind_value(out, m)) };
        return;
    }
    for (size_t i = 0; i < more->n; i++) {
        const char *at = bind_element(more, m->shape, i);
        ret->headers[ret->header_count++] =
            (HttpHeader){ str_cat(a, m->called, *(const Str *)at),
                          *(const Str *)(at + m->shape->value_offset) };
    }
}

// ---- The body

static void open_root(struct buf *body, Str name, Str xml_namespace)
{
    buf_add(body, declaration);
    buf_addf(body, "<%.*s xmlns=\"%.*s\">", FMT(name), FMT(xml_namespace));
}

static void write_payload(const struct api_service *api, const struct member *m, const void *out,
                          RestReply *ret, struct buf *body)
{
    if (m->shape->kind != SHAPE_STRUCT) {
        buf_add(body, *(const Str *)bind_value(out, m));
        return;
    }
    Str root = m->called.p != NULL ? m->called : m->name;
    open_root(body, root, api->xml_namespace);
    xml_write_members(body, m->shape, *(const void *const *)bind_value(out, m));
    xml_close_element(body, root);
    ret->content_type = protocol_rest_xml.content_type;
}

void rest_write_reply(const struct api_service *api, const struct api_op *op, const void *out,
                      struct arena *a, RestReply *ret, struct buf *body)
{
    const struct shape *shape = op->output;
    bool document = false;
    for (size_t i = 0; shape != NULL && i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        document = document || m->place == PLACE_DOCUMENT;
        bool always = m->required && m->shape->kind != SHAPE_STRUCT;
        if (m->place == PLACE_DOCUMENT || (!always && !bind_given(out, m)))
            continue;
        if (m->place == PLACE_PAYLOAD)
            write_payload(api, m, out, ret, body);
        else
            write_headers(m, out, a, ret);
    }
    if (!document)
        return;
    Str root = op->root.p != NULL ? op->root : str_cat(a, op->name, S("Result"));
    open_root(body, root, api->xml_namespace);
    xml_write_members(body, shape, out);
    xml_close_element(body, root);
    ret->content_type = protocol_rest_xml.content_type;
}

// ---- Errors

void rest_write_error(const ErrorReply *e, struct buf *body)
{
    buf_add(body, declaration);
    buf_add(body, S("<Error>"));
    xml_add_element(body, S("Code"), e->code);
    xml_add_element(body, S("Message"), e->message.p != NULL ? e->message : S(""));
    for (const struct call_pair *d = e->details; d != NULL; d = d->next)
        xml_add_element(body, d->name, d->value);
    if (e->details == NULL && e->resource.p != NULL)
        xml_add_element(body, S("Resource"), e->resource);
    xml_add_element(body, S("RequestId"), e->request_id);
    xml_add_element(body, S("HostId"), e->host_id.p != NULL ? e->host_id : S(""));
    buf_add(body, S("</Error>"));
}

#define ERROR(code, number) \
    const struct api_error rest_##code = { .name = S_INIT(#code), .status = (number) }
ERROR(AccessDenied, 403);
ERROR(AuthorizationHeaderMalformed, 400);
ERROR(AuthorizationQueryParametersError, 400);
ERROR(BadDigest, 400);
ERROR(EntityTooLarge, 400);
ERROR(ExpiredToken, 400);
ERROR(IncompleteBody, 400);
ERROR(InternalError, 500);
ERROR(InvalidAccessKeyId, 403);
ERROR(InvalidArgument, 400);
ERROR(InvalidDigest, 400);
ERROR(InvalidRequest, 400);
ERROR(InvalidToken, 400);
ERROR(InvalidURI, 400);
ERROR(MalformedXML, 400);
ERROR(MalformedTrailerError, 400);
ERROR(MethodNotAllowed, 405);
ERROR(MissingContentLength, 411);
ERROR(MissingRequestBodyError, 400);
ERROR(NotImplemented, 501);
ERROR(RequestTimeTooSkewed, 403);
ERROR(RequestTimeout, 400);
ERROR(SignatureDoesNotMatch, 403);
ERROR(SlowDown, 503);
ERROR(ServiceUnavailable, 503);
ERROR(XAmzContentSHA256Mismatch, 400);
ERROR(XAmzContentSHA256Missing, 400);

const struct api_error *rest_common_error(Str type)
{
    static const struct {
        Str type;
        const struct api_error *error;
    } known[] = {
        { S_INIT("AccessDeniedException"), &rest_AccessDenied },
        { S_INIT("InternalFailure"), &rest_InternalError },
        { S_INIT("ServiceUnavailable"), &rest_ServiceUnavailable },
        { S_INIT("ThrottlingException"), &rest_SlowDown },
        { S_INIT("ValidationException"), &rest_InvalidArgument },
        { S_INIT("SerializationException"), &rest_MalformedXML },
        { S_INIT("UnknownOperationException"), &rest_MethodNotAllowed },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].type, type))
            return known[i].error;
    return NULL;
}
