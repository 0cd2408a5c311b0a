// SPDX-License-Identifier: Apache-2.0
// Replies of the Query protocol: XML in a frame, and its errors.
#include "aws/query.h"
#include "aws/write_xml.h"

// ---- Replies

void query_write_reply(const ReplyFrame *f, const void *out, struct buf *body)
{
    Str op = f->op->name;
    buf_addf(body, "<%.*sResponse xmlns=\"%.*s\">", FMT(op), FMT(f->api->xml_namespace));
    if (f->op->output != NULL) {
        buf_addf(body, "<%.*sResult>", FMT(op));
        xml_write_members(body, f->op->output, out);
        buf_addf(body, "</%.*sResult>", FMT(op));
    }
    buf_add(body, S("<ResponseMetadata>"));
    xml_add_element(body, S("RequestId"), f->request_id);
    buf_addf(body, "</ResponseMetadata></%.*sResponse>", FMT(op));
}

void query_write_error(const ErrorReply *e, struct buf *body)
{
    buf_add(body, S("<ErrorResponse"));
    if (e->xml_namespace.p != NULL)
        buf_addf(body, " xmlns=\"%.*s\"", FMT(e->xml_namespace));
    buf_add(body, S("><Error>"));
    xml_add_element(body, S("Type"), e->ours ? S("Receiver") : S("Sender"));
    xml_add_element(body, S("Code"), e->code);
    if (e->message.p != NULL)
        xml_add_element(body, S("Message"), e->message);
    buf_add(body, S("</Error>"));
    xml_add_element(body, S("RequestId"), e->request_id);
    buf_add(body, S("</ErrorResponse>"));
}

// ---- Errors that every service has

const struct api_error *query_common_error(Str type)
{
    static const struct api_error known[] = {
        { S_INIT("AccessDeniedException"), 403, S_INIT("AccessDenied") },
        { S_INIT("ExpiredTokenException"), 403, S_INIT("ExpiredToken") },
        { S_INIT("IncompleteSignatureException"), 400, S_INIT("IncompleteSignature") },
        { S_INIT("InternalFailure"), 500, S_INIT("InternalFailure") },
        { S_INIT("InvalidSignatureException"), 403, S_INIT("SignatureDoesNotMatch") },
        { S_INIT("MissingAuthenticationTokenException"), 403,
          S_INIT("MissingAuthenticationToken") },
        { S_INIT("SerializationException"), 400, S_INIT("MalformedInput") },
        { S_INIT("ServiceUnavailable"), 503, S_INIT("ServiceUnavailable") },
        { S_INIT("ThrottlingException"), 400, S_INIT("Throttling") },
        { S_INIT("UnknownOperationException"), 400, S_INIT("InvalidAction") },
        { S_INIT("UnrecognizedClientException"), 403, S_INIT("InvalidClientTokenId") },
        { S_INIT("ValidationException"), 400, S_INIT("ValidationError") },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].name, type))
            return &known[i];
    return NULL;
}
