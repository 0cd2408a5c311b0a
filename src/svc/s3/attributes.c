// SPDX-License-Identifier: Apache-2.0
// Headers that belong to objects. The shapes say which of them a request may have and a reply has;
// so what PutObject, CopyObject, forms and uploads share is written once.
#include "aws/rest_out.h"
#include "codec/base64.h"
#include "svc/s3/s3.h"

#include <inttypes.h>

// What is kept of a request's headers, besides x-amz-meta-.
static const Str kept[] = {
    S_INIT("cache-control"),       S_INIT("content-disposition"),
    S_INIT("content-encoding"),    S_INIT("content-language"),
    S_INIT("content-type"),        S_INIT("expires"),
    S_INIT("x-amz-storage-class"), S_INIT("x-amz-website-redirect-location"),
};

void attributes_add(struct attributes *p, Str name, Str value)
{
    if (p->n == p->cap) {
        size_t cap = MAX(p->cap * 2, (size_t)16);
        BlobPair *at = arena_new(p->arena, BlobPair, cap);
        if (p->n > 0)
            memcpy(at, p->at, p->n * sizeof *at);
        p->at = at;
        p->cap = cap;
    }
    p->at[p->n++] = (BlobPair){ name, value };
}

void attributes_set(struct attributes *p, Str name, Str value)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eq(p->at[i].name, name)) {
            p->at[i].value = value;
            return;
        }
    attributes_add(p, name, value);
}

// ---- From requests

// aws-chunked is how it was sent, not what it is.
static Str without_chunked(struct arena *a, Str encoding)
{
    AUTO_BUF(b);
    if (encoding.n > 0 && str_search(encoding, S("aws-chunked")) == encoding.n)
        return encoding;
    for (Str rest = encoding, one; rest.n > 0;) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n == 0 || str_eq_nocase(one, S("aws-chunked")))
            continue;
        buf_add(&b, b.n > 0 ? S(", ") : S(""));
        buf_add(&b, one);
    }
    return b.n > 0 ? str_dup(a, buf_str(&b)) : (Str){ 0 };
}

static bool is_kept(Str name)
{
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        if (str_eq_nocase(kept[i], name))
            return true;
    return false;
}

static Err take_metadata(struct call *c, const s3_Metadata *map, struct attributes *into)
{
    size_t bytes = 0;
    for (size_t i = 0; i < map->n; i++) {
        bytes += map->at[i].key.n + map->at[i].value.n;
        attributes_add(into, str_cat(c->arena, S("x-amz-meta-"), map->at[i].key), map->at[i].value);
    }
    if (bytes <= S3_METADATA_BYTES_MAX)
        return OK;
    call_detail(c, S("Size"), str_fmt(c->arena, "%zu", bytes));
    call_detail(c, S("MaxSizeAllowed"), str_fmt(c->arena, "%d", S3_METADATA_BYTES_MAX));
    return call_fail(c, &s3_MetadataTooLarge,
                     "Your metadata headers exceed the maximum allowed metadata size");
}

Err s3_take_headers(struct call *c, const void *in, struct attributes *into)
{
    const struct shape *shape = c->op->input;
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        const void *value = (const char *)in + m->offset;
        if (m->place == PLACE_HEADERS)
            TRY(take_metadata(c, value, into));
        if (m->place != PLACE_HEADER || m->shape->kind != SHAPE_STRING || !is_kept(m->called))
            continue;
        Str text = *(const Str *)value;
        if (str_eq_nocase(m->called, S("Content-Encoding")))
            text = without_chunked(c->arena, text);
        if (text.p == NULL)
            continue;
        if (str_eq(m->called, S("x-amz-storage-class"))) {
            if (!s3_is_storage_class(text))
                return call_fail(c, &s3_InvalidStorageClass,
                                 "The storage class you specified is not valid");
            if (str_eq(text, S("STANDARD")))
                continue;
        }
        attributes_add(into, str_lower(c->arena, m->called), text);
    }
    return OK;
}

// ---- To replies

static void put_text(const struct member *m, void *out, Str text)
{
    void *place = (char *)out + m->offset;
    int64_t number;
    switch (m->shape->kind) {
    case SHAPE_BOOL:
        *(bool *)place = str_eq(text, S("true"));
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
        if (str_i64(text, &number).kind != ERR_NONE)
            return;
        if (m->shape->kind == SHAPE_INT)
            *(int32_t *)place = (int32_t)number;
        else
            *(int64_t *)place = number;
        break;
    case SHAPE_TIME:
        return;
    default:
        *(Str *)place = text;
        return;
    }
    if (m->has_offset != SIZE_MAX)
        *((bool *)out + m->has_offset) = true;
}

static void put_time(const struct member *m, void *out, int64_t ns)
{
    if (m == NULL)
        return;
    *(int64_t *)((char *)out + m->offset) = ns;
    if (m->has_offset != SIZE_MAX)
        *((bool *)out + m->has_offset) = true;
}

static void put_member(const struct shape *shape, void *out, Str name, Str text)
{
    const struct member *m = s3_member(shape, name);
    if (m != NULL && text.p != NULL)
        put_text(m, out, text);
}

// Text that is not ASCII is mail-safe when it comes back (User Guide, "Working with object
// metadata": RFC 2047, each byte that came taken as a character of ISO 8859-1).
static Str mail_safe(struct arena *a, Str value)
{
    AUTO_BUF(utf8);
    bool plain = true;
    for (size_t i = 0; i < value.n; i++)
        plain = plain && (unsigned char)value.p[i] < 0x80;
    if (plain)
        return value;
    for (size_t i = 0; i < value.n; i++) {
        unsigned char ch = (unsigned char)value.p[i];
        if (ch >= 0x80)
            buf_add_byte(&utf8, (char)(0xc0 | ch >> 6));
        buf_add_byte(&utf8, (char)(ch < 0x80 ? ch : 0x80 | (ch & 0x3f)));
    }
    Str text = s3_checksum_text(a, (const unsigned char *)buf_str(&utf8).p, utf8.n);
    return str_cat3(a, S("=?UTF-8?B?"), text, S("?="));
}

static void give_metadata(struct call *c, const struct member *m, void *out, BlobPairs attributes)
{
    static const Str prefix = S_INIT("x-amz-meta-");
    s3_Metadata *map = (s3_Metadata *)(void *)((char *)out + m->offset);
    map->at = arena_new(c->arena, s3_Metadata_entry, attributes.n + 1);
    for (size_t i = 0; i < attributes.n; i++)
        if (str_starts(attributes.at[i].name, prefix))
            map->at[map->n++] =
                (s3_Metadata_entry){ .key = str_skip(attributes.at[i].name, prefix.n),
                                     .value = mail_safe(c->arena, attributes.at[i].value) };
    map->set = map->n > 0;
}

static void give_retention(struct call *c, void *out, const BlobRetention *r)
{
    const struct shape *shape = c->op->output;
    if (r->mode != BLOB_FREE) {
        put_member(shape, out, S("ObjectLockMode"),
                   r->mode == BLOB_COMPLIANCE ? S("COMPLIANCE") : S("GOVERNANCE"));
        put_time(s3_member(shape, S("ObjectLockRetainUntilDate")), out, r->until_ns);
    }
    if (r->hold)
        put_member(shape, out, S("ObjectLockLegalHoldStatus"), S("ON"));
}

static bool is_checksum(Str header)
{
    return str_starts(header, S("x-amz-checksum-"));
}

static void give_header(const struct shape *shape, void *out, Str name, Str value)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place == PLACE_HEADER && m->called.n == name.n && str_eq_nocase(m->called, name)) {
            put_text(m, out, value);
            return;
        }
    }
}

void s3_give_headers(struct call *c, void *out, const BlobBucket *bucket, const BlobObject *o,
                     bool checksums)
{
    const struct shape *shape = c->op->output;
    struct arena *a = c->arena;
    for (size_t i = 0; i < shape->member_count; i++)
        if (shape->members[i].place == PLACE_HEADERS)
            give_metadata(c, &shape->members[i], out, o->attributes);
    for (size_t i = 0; i < o->attributes.n; i++) { // few, and no two have one name
        const BlobPair *p = &o->attributes.at[i];
        if (!is_checksum(p->name) || checksums)
            give_header(shape, out, p->name, p->value);
    }
    if (o->etag.p != NULL)
        put_member(shape, out, S("ETag"), s3_quoted(a, o->etag));
    put_time(s3_member(shape, S("LastModified")), out, o->modified_ns);
    if (bucket->versioning != BLOB_UNVERSIONED)
        put_member(shape, out, S("VersionId"), s3_version_text(a, o));
    if (s3_member(shape, S("Expiration")) != NULL)
        put_member(shape, out, S("Expiration"), s3_expiration_text(c, bucket, o));
    give_retention(c, out, &o->retention);
    if (o->tags.n > 0)
        put_member(shape, out, S("TagCount"), str_fmt(a, "%zu", o->tags.n));
}

void s3_give_checksums(struct call *c, const struct shape *shape, void *into, BlobPairs attributes)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++)
        if (checksum_header(k).p != NULL)
            put_member(shape, into, str_cat(c->arena, S("Checksum"), checksum_name(k)),
                       blob_pair(attributes, checksum_header(k)));
    put_member(shape, into, S("ChecksumType"), blob_pair(attributes, S("x-amz-checksum-type")));
}

// ---- Tags

static bool is_tag_text(Str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char ch = (unsigned char)text.p[i];
        bool good = ch >= 0x80 || (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') ||
                    (ch >= 'A' && ch <= 'Z') || (ch != 0 && strchr(" +-=._:/@", ch) != NULL);
        if (!good)
            return false;
    }
    return true;
}

Err s3_check_tags(struct call *c, BlobPairs tags, size_t max)
{
    enum { KEY_MAX = 128, VALUE_MAX = 256 };
    if (tags.n > max)
        return call_fail(c, &s3_BadRequest,
                         max == S3_TAGS_MAX ? "Object tags cannot be greater than 10"
                                            : "Bucket tag count cannot be greater than 50");
    for (size_t i = 0; i < tags.n; i++) {
        const BlobPair *t = &tags.at[i];
        size_t chars = str_utf8_count(t->name);
        if (chars == 0 || chars > KEY_MAX || !is_tag_text(t->name) ||
            str_starts(t->name, S("aws:"))) {
            call_detail(c, S("TagKey"), t->name);
            return call_fail(c, &s3_InvalidTag, "The TagKey you have provided is invalid");
        }
        if (str_utf8_count(t->value) > VALUE_MAX || !is_tag_text(t->value)) {
            call_detail(c, S("TagValue"), t->value);
            return call_fail(c, &s3_InvalidTag, "The TagValue you have provided is invalid");
        }
        for (size_t j = 0; j < i; j++)
            if (str_eq(tags.at[j].name, t->name)) {
                call_detail(c, S("TagKey"), t->name);
                return call_fail(c, &s3_InvalidTag,
                                 "Cannot provide multiple Tags with the same key");
            }
    }
    return OK;
}

Err s3_parse_tags(struct call *c, Str header, BlobPairs *ret)
{
    RestRequest r;
    struct http_exchange x = { .method = S("GET"), .path = S("/"), .query = header };
    *ret = (BlobPairs){ 0 };
    if (header.n == 0)
        return OK;
    if (rest_request(c->arena, &x, &r).kind != ERR_NONE)
        return call_fail(c, &s3_InvalidArgument,
                         "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL "
                         "query parameters without tag name duplicates.");
    BlobPair *tags = arena_new(c->arena, BlobPair, r.query_count + 1);
    for (size_t i = 0; i < r.query_count; i++)
        tags[i] =
            (BlobPair){ r.query[i].name, r.query[i].value.p != NULL ? r.query[i].value : S("") };
    *ret = (BlobPairs){ .at = tags, .n = r.query_count };
    return s3_check_tags(c, *ret, S3_TAGS_MAX);
}

Str s3_tag_header(struct arena *a, BlobPairs tags)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < tags.n; i++) {
        buf_add(&b, i > 0 ? S("&") : S(""));
        buf_add(&b, rest_out_encoded(a, tags.at[i].name, false));
        buf_add_byte(&b, '=');
        buf_add(&b, rest_out_encoded(a, tags.at[i].value, false));
    }
    return str_dup(a, buf_str(&b));
}

// ---- Retention and conditions

Err s3_default_retention(struct call *c, const BlobBucket *bucket, BlobRetention *ret)
{
    s3_ObjectLockConfiguration lock = { 0 };
    Str xml;
    TRY(s3_get_document(c, bucket, S("object-lock"), &xml));
    if (xml.p == NULL)
        return OK;
    const struct member *m =
        s3_member(s3_api_op(S("PutObjectLockConfiguration"))->input, S("ObjectLockConfiguration"));
    TRY(s3_decode_document(c, m->shape, xml, &lock));
    const s3_DefaultRetention *d = lock.rule != NULL ? lock.rule->default_retention : NULL;
    if (d == NULL)
        return OK;
    int64_t days = d->has_years ? (int64_t)d->years * 365 : d->days;
    ret->mode = str_eq(d->mode, S("COMPLIANCE")) ? BLOB_COMPLIANCE : BLOB_GOVERNANCE;
    ret->until_ns = c->now_ns + days * 86400 * INT64_C(1000000000);
    return OK;
}

Err s3_take_retention(struct call *c, const BlobBucket *bucket, const void *in, BlobRetention *ret)
{
    const struct shape *shape = c->op->input;
    Str mode = s3_text_of(shape, in, S("ObjectLockMode"));
    Str hold = s3_text_of(shape, in, S("ObjectLockLegalHoldStatus"));
    const struct member *until = s3_member(shape, S("ObjectLockRetainUntilDate"));
    bool dated = until != NULL && *((const bool *)in + until->has_offset);
    *ret = (BlobRetention){ 0 };
    if (!bucket->locks) {
        if (mode.p != NULL || hold.p != NULL || dated)
            return call_fail(c, &s3_InvalidRequest, "Bucket is missing Object Lock Configuration");
        return OK;
    }
    if ((mode.p != NULL) != dated)
        return call_fail(c, &s3_InvalidArgument,
                         "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both "
                         "be supplied");
    TRY(s3_default_retention(c, bucket, ret));
    if (dated) {
        ret->mode = str_eq(mode, S("COMPLIANCE")) ? BLOB_COMPLIANCE : BLOB_GOVERNANCE;
        ret->until_ns = *(const int64_t *)(const void *)((const char *)in + until->offset);
        if (ret->until_ns <= c->now_ns)
            return call_fail(c, &s3_InvalidArgument,
                             "The retain until date must be in the future!");
    }
    ret->hold = str_eq(hold, S("ON"));
    return OK;
}

Err s3_take_condition(struct call *c, Str if_match, Str if_none_match, BlobCondition *ret)
{
    *ret = (BlobCondition){ 0 };
    if (if_none_match.p != NULL && !str_eq(str_trim(if_none_match), S("*"))) {
        call_detail(c, S("Header"), S("If-None-Match"));
        return call_fail(c, &s3_NotImplemented,
                         "A header you provided implies functionality that is not implemented");
    }
    if (if_match.p != NULL && if_none_match.p != NULL)
        return call_fail(c, &s3_InvalidRequest,
                         "If-Match and If-None-Match cannot be used together");
    ret->if_absent = if_none_match.p != NULL;
    if (if_match.p != NULL)
        ret->if_etag = s3_unquoted(if_match);
    return OK;
}

// What a write says whose condition does not hold.
Err s3_condition_failed(struct call *c, Err e, Str key, const BlobCondition *condition)
{
    bool conditional = condition->if_absent || condition->if_etag.p != NULL;
    if (conditional && e.kind == ERR_NOT_FOUND)
        return s3_no_such_key(c, key);
    if (!conditional || (e.kind != ERR_EXISTS && e.kind != ERR_BUSY))
        return e;
    call_detail(c, S("Condition"), condition->if_absent ? S("If-None-Match") : S("If-Match"));
    return call_fail(c, &s3_PreconditionFailed,
                     "At least one of the pre-conditions you specified did not hold");
}
