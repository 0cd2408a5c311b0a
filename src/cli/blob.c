// SPDX-License-Identifier: Apache-2.0
#include "cli/blob.h"
#include "aws/rest.h"
#include "codec/xml.h"

ExitCode blob_place(Str text, bool object, BlobPlace *ret)
{
    Str rest = { 0 };
    if (str_starts(text, S("s3://")))
        text = str_skip(text, 5);
    *ret = (BlobPlace){ .bucket = text };
    if (str_cut(text, '/', &ret->bucket, &rest) && rest.n > 0)
        ret->key = rest;
    if (ret->bucket.n == 0)
        return complain(EXIT_USAGE, "name a bucket, as in bucket/key");
    if (object && ret->key.p == NULL)
        return complain(EXIT_USAGE, "name an object, as in %.*s/key", FMT(ret->bucket));
    return EXIT_GOOD;
}

ExitCode blob_call(const struct invocation *in, struct client *c, const S3OutCall *call,
                   S3OutReply *ret)
{
    Err e = client_s3(c, in->a, call, ret);
    if (e.kind != ERR_NONE)
        return remote_unreachable(in, e);
    if (ret->code.p != NULL)
        return remote_complain(
            &(ClientReply){ .status = ret->status, .error = ret->code, .message = ret->message });
    return EXIT_GOOD;
}

// ---- Lists

static Str text_of(const struct xml_node *n, Str name)
{
    for (const struct xml_node *child = n->first; child != NULL; child = child->next)
        if (str_eq(child->name, name))
            return child->text;
    return S("");
}

// Keys come URL-encoded, with a plus sign for a space.
static ExitCode decoded(struct arena *a, Str text, Str *ret)
{
    char *plain = arena_alloc(a, text.n + 1, 1);
    for (size_t i = 0; i < text.n; i++)
        plain[i] = text.p[i];
    AUTO_BUF(b);
    for (size_t i = 0; i < text.n; i++)
        buf_add(&b, plain[i] == '+' ? S("%20") : str_from(&plain[i], 1));
    if (rest_decode_path(a, str_dup(a, buf_str(&b)), ret).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server's list has a key that cannot be read");
    return EXIT_GOOD;
}

static Str list_query(struct arena *a, const BlobPlace *place, bool flat, Str token)
{
    AUTO_BUF(b);
    buf_add(&b, S("list-type=2&encoding-type=url"));
    if (token.n > 0) {
        buf_add(&b, S("&continuation-token="));
        buf_add(&b, s3_out_encoded(a, token));
    }
    if (!flat)
        buf_add(&b, S("&delimiter=%2F"));
    if (place->key.n > 0) {
        buf_add(&b, S("&prefix="));
        buf_add(&b, s3_out_encoded(a, place->key));
    }
    return str_dup(a, buf_str(&b));
}

static ExitCode take_entry(struct arena *a, const struct xml_node *n, BlobEntry *ret)
{
    ret->is_prefix = str_eq(n->name, S("CommonPrefixes"));
    ret->bytes = text_of(n, S("Size"));
    ret->modified = text_of(n, S("LastModified"));
    return decoded(a, text_of(n, ret->is_prefix ? S("Prefix") : S("Key")), &ret->key);
}

ExitCode blob_entries(const struct invocation *in, struct client *c, const BlobPlace *place,
                      bool flat, Str *token, BlobEntry **ret, size_t *ret_n)
{
    enum { ENTRIES_MAX = 1000 };
    S3OutReply reply;
    struct xml_node *root = NULL;
    ExitCode code = blob_call(in, c,
                              &(S3OutCall){ .method = S("GET"),
                                            .bucket = place->bucket,
                                            .query = list_query(in->a, place, flat, *token) },
                              &reply);
    if (code != EXIT_GOOD)
        return code;
    if (xml_parse(in->a, reply.http.body, &root).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server's list is not XML");
    *ret = arena_new(in->a, BlobEntry, ENTRIES_MAX);
    *ret_n = 0;
    for (const struct xml_node *n = root->first; n != NULL && code == EXIT_GOOD; n = n->next)
        if (*ret_n < ENTRIES_MAX &&
            (str_eq(n->name, S("Contents")) || str_eq(n->name, S("CommonPrefixes"))))
            code = take_entry(in->a, n, &(*ret)[(*ret_n)++]);
    *token = text_of(root, S("NextContinuationToken"));
    return code;
}
