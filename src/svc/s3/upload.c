// SPDX-License-Identifier: Apache-2.0
// Objects in parts. What the object will be is said when its upload begins and kept with it; parts
// are sealed with the same data key; completing checks numbers, etags and checksums and joins
// nothing but lists.
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/s3/s3.h"

#include <inttypes.h>

// ---- Names of uploads: a number, twice, as names of versions (common.c)

Str s3_upload_text(struct arena *a, uint64_t id)
{
    return str_fmt(a, "%016" PRIx64 "%016" PRIx64, ~id, id);
}

bool s3_upload_number(Str text, uint64_t *ret)
{
    unsigned char bytes[16];
    uint64_t first = 0, second = 0;
    if (text.n != 2 * sizeof bytes || !hex_decode(bytes, text))
        return false;
    for (size_t i = 0; i < 8; i++) {
        first = first << 8 | bytes[i];
        second = second << 8 | bytes[i + 8];
    }
    *ret = second;
    return first == ~second;
}

Err s3_no_such_upload(struct call *c, Str upload_id)
{
    call_detail(c, S("UploadId"), upload_id);
    return call_fail(c, &s3_NoSuchUpload,
                     "The specified upload does not exist. The upload ID may be invalid, or the "
                     "upload may have been aborted or completed.");
}

static Err find_upload(struct call *c, const BlobBucket *b, Str key, Str upload_id, BlobUpload *ret)
{
    uint64_t id;
    if (!s3_upload_number(upload_id, &id))
        return s3_no_such_upload(c, upload_id);
    Err e = blob_upload_find(s3_of(c)->blob, c->arena, b, key, id, ret);
    return e.kind == ERR_NOT_FOUND ? s3_no_such_upload(c, upload_id) : s3_store_error(c, b, e);
}

// Each part comes with the key with which its upload was begun, or all without one.
static Err part_key(struct call *c, BlobPairs attributes, bool customers,
                    unsigned char ret_key[BLOB_SEAL_BYTES])
{
    unsigned char ignored[BLOB_SEAL_BYTES];
    bool given;
    TRY(s3_customer_key(c, false, ignored, &given));
    explicit_bzero(ignored, sizeof ignored);
    if (given && !customers)
        return call_fail(c, &s3_InvalidRequest,
                         "The multipart upload initiate requested no encryption with a customer "
                         "provided key. Part requests must not include encryption parameters.");
    if (!given && customers)
        return call_fail(c, &s3_InvalidRequest,
                         "The multipart upload initiate requested encryption. Subsequent part "
                         "requests must include the appropriate encryption parameters.");
    return customers ? s3_customer_check(c, attributes, false, ret_key) : OK;
}

Err s3_part_target(struct call *c, const BlobBucket *bucket, Str key, Str upload_id, int32_t number,
                   BlobUpload *ret, unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed)
{
    if (number < 1 || number > BLOB_PARTS_MAX) {
        call_detail(c, S("ArgumentName"), S("partNumber"));
        call_detail(c, S("ArgumentValue"), str_fmt(c->arena, "%" PRId32, number));
        return call_fail(c, &s3_InvalidArgument,
                         "Part number must be an integer between 1 and 10000, inclusive");
    }
    TRY(find_upload(c, bucket, key, upload_id, ret));
    bool customers = s3_is_customers(ret->attributes);
    *ret_sealed = customers || blob_pair(ret->attributes, S("s3-wrapped")).p != NULL;
    if (*ret_sealed && !customers)
        return s3_unseal(c, ret->attributes, false, ret_key);
    return part_key(c, ret->attributes, customers, ret_key);
}

// ---- Beginning

// An account by its canonical id, a user or a role's session by its ARN.
const s3_Initiator *s3_initiator(struct call *c, const BlobBucket *bucket, BlobPairs attributes)
{
    s3_Initiator *who = arena_new(c->arena, s3_Initiator, 1);
    Str principal = blob_pair(attributes, S("s3-initiator")), account = bucket->owner;
    if (principal.p != NULL && !str_ends(principal, S(":root")))
        who->id = principal;
    if (blob_pair(attributes, S("s3-owner")).p != NULL)
        account = blob_pair(attributes, S("s3-owner"));
    if (who->id.p == NULL)
        who->id = s3_canonical_id(c->arena, account);
    return who;
}

static bool kind_called(Str name, ChecksumKind *ret)
{
    for (ChecksumKind k = 0; k < CHECKSUM_KINDS; k++)
        if (checksum_header(k).p != NULL && str_eq(checksum_name(k), name)) {
            *ret = k;
            return true;
        }
    return false;
}

// Which checksum the object will have, and whether of all its bytes or of its parts' checksums.
static Err choose_checksum(struct call *c, const struct s3_CreateMultipartUpload_in *in,
                           struct attributes *into, struct s3_CreateMultipartUpload_out *out)
{
    ChecksumKind kind;
    Str algorithm = in->checksum_algorithm, type = in->checksum_type;
    if (algorithm.p == NULL && type.p == NULL)
        return OK;
    if (algorithm.p == NULL)
        return call_fail(c, &s3_InvalidRequest,
                         "The x-amz-checksum-type header can only be used with the "
                         "x-amz-checksum-algorithm header.");
    if (!kind_called(algorithm, &kind))
        return call_fail(c, &s3_InvalidRequest,
                         "Checksum algorithm provided is unsupported. "
                         "Please try again with any of the valid types: "
                         "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
    if (type.p == NULL)
        type = kind == CHECKSUM_CRC64NVME ? S("FULL_OBJECT") : S("COMPOSITE");
    bool full = str_eq(type, S("FULL_OBJECT"));
    if ((!full && !str_eq(type, S("COMPOSITE"))) || (full && !checksum_is_crc(kind)) ||
        (!full && kind == CHECKSUM_CRC64NVME))
        return call_fail(c, &s3_InvalidRequest,
                         "The %.*s checksum type cannot be used with the %.*s checksum algorithm.",
                         FMT(type), FMT(algorithm));
    attributes_add(into, S("s3-checksum"), algorithm);
    attributes_add(into, S("x-amz-checksum-type"), type);
    out->checksum_algorithm = algorithm;
    out->checksum_type = type;
    return OK;
}

Err s3_CreateMultipartUpload(struct call *c, const struct s3_CreateMultipartUpload_in *in,
                             struct s3_CreateMultipartUpload_out *out)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed;
    BlobBucket b;
    struct attributes attributes = { .arena = c->arena };
    BlobUpload make = { .key = in->key }, made = { 0 };
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(s3_check_key(c, in->key));
    TRY(s3_take_headers(c, in, &attributes));
    TRY(s3_take_acl(c, in, &attributes));
    TRY(choose_checksum(c, in, &attributes, out));
    TRY(s3_parse_tags(c, in->tagging, &make.tags));
    TRY(s3_take_retention(c, &b, in, &make.retention));
    TRY(s3_seal_new(c, &b, in, &attributes, seal, &sealed));
    explicit_bzero(seal, sizeof seal);
    if (c->access_key.n > 0 && !str_ends(c->principal, S(":root")))
        attributes_add(&attributes, S("s3-initiator"), c->principal);
    make.attributes = attributes_pairs(&attributes);
    TRY(s3_store_error(c, &b, blob_upload_create(s3_of(c)->blob, c->arena, &b, &make, &made)));
    out->bucket = in->bucket;
    out->key = in->key;
    out->upload_id = s3_upload_text(c->arena, made.id);
    made.key = in->key;
    out->abort_rule_id = s3_abort_rule(c, &b, &made, &out->abort_date);
    out->has_abort_date = out->abort_rule_id.p != NULL;
    out->server_side_encryption = blob_pair(make.attributes, S("x-amz-server-side-encryption"));
    out->ssekms_key_id =
        blob_pair(make.attributes, S("x-amz-server-side-encryption-aws-kms-key-id"));
    return OK;
}

Err s3_AbortMultipartUpload(struct call *c, const struct s3_AbortMultipartUpload_in *in,
                            struct s3_AbortMultipartUpload_out *out)
{
    BlobBucket b;
    uint64_t id;
    (void)out;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    if (!s3_upload_number(in->upload_id, &id))
        return s3_no_such_upload(c, in->upload_id);
    Err e = blob_upload_abort(s3_of(c)->blob, &b, in->key, id);
    return e.kind == ERR_NOT_FOUND ? s3_no_such_upload(c, in->upload_id) : s3_store_error(c, &b, e);
}

// ---- Parts

// Some of its parts. ERR_NOT_FOUND: it has been completed or aborted meanwhile.
static Err list_parts(struct call *c, const BlobBucket *b, const BlobUpload *u, uint32_t after,
                      size_t max, BlobPart **ret, size_t *ret_n, bool *ret_more)
{
    Err e = blob_part_list(s3_of(c)->blob, c->arena, b, u->key, u->id, after, max, ret, ret_n,
                           ret_more);
    return e.kind == ERR_NOT_FOUND ? e : s3_store_error(c, b, e);
}

Err s3_ListParts(struct call *c, const struct s3_ListParts_in *in, struct s3_ListParts_out *out)
{
    BlobBucket b;
    BlobUpload upload;
    BlobPart *parts = NULL;
    size_t n = 0;
    bool more = false;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &b));
    TRY(find_upload(c, &b, in->key, in->upload_id, &upload));
    int32_t max = in->has_max_parts ? in->max_parts : S3_PARTS_PAGE;
    int32_t after = in->has_part_number_marker ? in->part_number_marker : 0;
    if (max < 0 || after < 0)
        return call_fail(c, &s3_InvalidArgument,
                         "Argument %s must be an integer between 0 and 2147483647",
                         max < 0 ? "max-parts" : "part-number-marker");
    max = MIN(max, S3_PARTS_PAGE);
    Err e =
        max > 0 ? list_parts(c, &b, &upload, (uint32_t)after, (size_t)max, &parts, &n, &more) : OK;
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_upload(c, in->upload_id);
    TRY(e);
    out->bucket = in->bucket;
    out->key = in->key;
    out->upload_id = in->upload_id;
    out->abort_rule_id = s3_abort_rule(c, &b, &upload, &out->abort_date);
    out->has_abort_date = out->abort_rule_id.p != NULL;
    out->part_number_marker = after;
    out->next_part_number_marker = n > 0 ? (int32_t)parts[n - 1].number : 0;
    out->max_parts = max;
    out->is_truncated = more;
    out->has_part_number_marker = out->has_next_part_number_marker = out->has_max_parts =
        out->has_is_truncated = true;
    out->storage_class = s3_storage_class(upload.attributes);
    out->checksum_algorithm = blob_pair(upload.attributes, S("s3-checksum"));
    out->checksum_type = blob_pair(upload.attributes, S("x-amz-checksum-type"));
    s3_Owner *owner = arena_new(c->arena, s3_Owner, 1);
    AUTO(bucket) known = s3_bucket_ref(s3_of(c), in->bucket);
    owner->id = s3_canonical_id(c->arena, known != NULL ? s3_object_owner(known, upload.attributes)
                                                        : b.owner);
    out->owner = owner;
    out->initiator = s3_initiator(c, &b, upload.attributes);
    const struct shape *shape = s3_member(c->op->output, S("Parts"))->shape->member;
    out->parts.at = arena_new(c->arena, s3_Part, n);
    out->parts.n = n;
    out->parts.set = n > 0;
    for (size_t i = 0; i < n; i++) {
        s3_Part *p = &out->parts.at[i];
        p->part_number = (int32_t)parts[i].number;
        p->last_modified = parts[i].modified_ns;
        p->size = (int64_t)parts[i].bytes;
        p->has_part_number = p->has_last_modified = p->has_size = true;
        p->e_tag = s3_quoted(c->arena, parts[i].etag);
        s3_give_checksums(c, shape, p, parts[i].attributes);
    }
    return OK;
}

// ---- Completing

struct completing {
    BlobBucket b;
    BlobUpload upload;
    const s3_CompletedPartList *list;
    BlobPartRef *refs;
    BlobPart *parts; // beside refs: what is there
    bool has_checksum;
    ChecksumKind kind;
};

static Err invalid_part(struct call *c, Str upload_id, uint32_t number, Str etag)
{
    call_detail(c, S("UploadId"), upload_id);
    call_detail(c, S("PartNumber"), str_fmt(c->arena, "%" PRIu32, number));
    call_detail(c, S("ETag"), etag);
    return call_fail(c, &s3_InvalidPart,
                     "One or more of the specified parts could not be found.  The part may not "
                     "have been uploaded, or the specified entity tag may not match the part's "
                     "entity tag.");
}

static Err take_list(struct call *c, Str upload_id, struct completing *k)
{
    const s3_CompletedPartList *list = k->list;
    if (list == NULL || list->n == 0 || list->n > BLOB_PARTS_MAX)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    k->refs = arena_new(c->arena, BlobPartRef, list->n);
    for (size_t i = 0; i < list->n; i++) {
        const s3_CompletedPart *p = &list->at[i];
        if (!p->has_part_number || p->e_tag.p == NULL)
            return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
        if (p->part_number < 1 || p->part_number > BLOB_PARTS_MAX)
            return call_fail(c, &s3_InvalidArgument,
                             "Part number must be an integer between 1 and 10000, inclusive");
        if (i > 0 && p->part_number <= list->at[i - 1].part_number) {
            call_detail(c, S("UploadId"), upload_id);
            return call_fail(c, &s3_InvalidPartOrder,
                             "The list of parts was not in ascending order. Parts must be ordered "
                             "by part number.");
        }
        k->refs[i] = (BlobPartRef){ (uint32_t)p->part_number, s3_unquoted(p->e_tag) };
    }
    return OK;
}

// What is there of the parts that are named; the store compares again when it completes.
// ERR_NOT_FOUND: the upload is over.
static Err find_parts(struct call *c, Str upload_id, struct completing *k)
{
    size_t want = 0;
    uint32_t after = 0;
    k->parts = arena_new(c->arena, BlobPart, k->list->n);
    for (bool more = true; more && want < k->list->n;) {
        BlobPart *at;
        size_t n;
        TRY(list_parts(c, &k->b, &k->upload, after, BLOB_LIST_MAX, &at, &n, &more));
        for (size_t i = 0; i < n && want < k->list->n; i++) {
            after = at[i].number;
            if (at[i].number > k->refs[want].number)
                break;
            if (at[i].number == k->refs[want].number)
                k->parts[want++] = at[i];
        }
        if (n == 0 || after > k->refs[want < k->list->n ? want : want - 1].number)
            break;
    }
    if (want < k->list->n)
        return invalid_part(c, upload_id, k->refs[want].number, k->refs[want].etag);
    return OK;
}

// Parts are there only with the etags by which they are named.
static Str etag_of_refs(struct call *c, const struct completing *k)
{
    unsigned char digest[CHECKSUM_BYTES_MAX], one[MD5_BYTES];
    AUTO(checksum) all = NULL;
    checksum_open(CHECKSUM_MD5, &all);
    for (size_t i = 0; i < k->list->n; i++)
        if (k->refs[i].etag.n == 2 * sizeof one && hex_decode(one, k->refs[i].etag))
            checksum_add(all, one, sizeof one);
    checksum_end(all, digest);
    return str_fmt(c->arena, "%.*s-%zu", FMT(hex_str(c->arena, digest, MD5_BYTES)), k->list->n);
}

static bool part_sum(const BlobPart *p, ChecksumKind kind, unsigned char out[CHECKSUM_BYTES_MAX])
{
    char bytes[2 * CHECKSUM_BYTES_MAX];
    Str text = blob_pair(p->attributes, checksum_header(kind));
    if (text.n == 0 || base64_decoded_max(text.n) > sizeof bytes)
        return false;
    Base64Result r = base64_decode(bytes, text.p, text.n);
    if (r.fault != BASE64_GOOD || r.n != checksum_bytes(kind))
        return false;
    memcpy(out, bytes, r.n);
    return true;
}

// ---- Completing again
//
// An answer may be lost, and SDKs ask again: the object knows the upload that has made it. Whoever
// names the same upload and the same parts is told the same, as long as that version is there.

static bool is_made_by(const BlobObject *o, Str upload_id, Str etag)
{
    return str_eq(blob_pair(o->attributes, S("s3-upload")), upload_id) && str_eq(o->etag, etag);
}

// Among the versions of the key, of which as many as one list has are looked at.
static Err find_made(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                     const struct completing *k, BlobObject *ret, bool *ret_found)
{
    BlobListing l = { .prefix = in->key, .max = BLOB_LIST_MAX };
    BlobPage page = { 0 };
    Str etag = etag_of_refs(c, k);
    *ret_found = false;
    Err e = blob_find(s3_of(c)->blob, c->arena, &k->b, in->key,
                      (BlobSelect){ .which = BLOB_LATEST }, ret);
    if (e.kind != ERR_NOT_FOUND)
        TRY(s3_store_error(c, &k->b, e));
    *ret_found = e.kind == ERR_NONE && is_made_by(ret, in->upload_id, etag);
    if (*ret_found || k->b.versioning == BLOB_UNVERSIONED)
        return OK;
    TRY(s3_store_error(c, &k->b, blob_list_versions(s3_of(c)->blob, c->arena, &k->b, &l, &page)));
    for (size_t i = 0; i < page.object_count && !*ret_found; i++) {
        *ret = page.objects[i];
        *ret_found = str_eq(ret->key, in->key) && is_made_by(ret, in->upload_id, etag);
    }
    return OK;
}

// The object's checksum from those of its parts; absent: a part has none of that kind.
static Str sum_of_parts(struct call *c, const struct completing *k, bool full)
{
    unsigned char sum[CHECKSUM_BYTES_MAX], one[CHECKSUM_BYTES_MAX];
    AUTO(checksum) all = NULL;
    size_t bytes = checksum_bytes(k->kind);
    checksum_open(k->kind, &all);
    for (size_t i = 0; i < k->list->n; i++) {
        if (!part_sum(&k->parts[i], k->kind, one))
            return (Str){ 0 };
        if (!full)
            checksum_add(all, one, bytes);
        else if (i == 0)
            memcpy(sum, one, sizeof sum);
        else
            checksum_join(k->kind, sum, one, k->parts[i].bytes);
    }
    if (full)
        return s3_checksum_text(c->arena, sum, bytes);
    checksum_end(all, sum);
    return str_fmt(c->arena, "%.*s-%zu", FMT(s3_checksum_text(c->arena, sum, bytes)), k->list->n);
}

static Err check_part_sums(struct call *c, Str upload_id, const struct completing *k)
{
    const struct shape *shape =
        s3_member(s3_member(c->op->input, S("MultipartUpload"))->shape, S("Parts"))->shape->member;
    for (size_t i = 0; i < k->list->n; i++)
        for (ChecksumKind kind = 0; kind < CHECKSUM_KINDS; kind++) {
            if (checksum_header(kind).p == NULL)
                continue;
            Str said = s3_text_of(shape, &k->list->at[i],
                                  str_cat(c->arena, S("Checksum"), checksum_name(kind)));
            Str is = blob_pair(k->parts[i].attributes, checksum_header(kind));
            if (said.p != NULL && !str_eq(said, is))
                return invalid_part(c, upload_id, k->refs[i].number, k->refs[i].etag);
        }
    return OK;
}

// What the object keeps of its upload's attributes, and its checksum.
static Err object_attributes(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                             struct completing *k, struct attributes *into)
{
    BlobPairs from = k->upload.attributes;
    Str algorithm = blob_pair(from, S("s3-checksum")),
        type = blob_pair(from, S("x-amz-checksum-type"));
    for (size_t i = 0; i < from.n; i++)
        if (!str_eq(from.at[i].name, S("s3-checksum")) &&
            !str_eq(from.at[i].name, S("x-amz-checksum-type")))
            attributes_add(into, from.at[i].name, from.at[i].value);
    k->kind = CHECKSUM_CRC64NVME; // of uploads that have said nothing
    if (algorithm.p != NULL)
        kind_called(algorithm, &k->kind);
    else
        type = S("FULL_OBJECT");
    if (in->checksum_type.p != NULL && !str_eq(in->checksum_type, type))
        return call_fail(c, &s3_InvalidRequest,
                         "The upload was created using the %.*s checksum mode. The complete "
                         "request must use the same checksum mode.",
                         FMT(type));
    Str sum = sum_of_parts(c, k, str_eq(type, S("FULL_OBJECT")));
    Str said =
        s3_text_of(c->op->input, in, str_cat(c->arena, S("Checksum"), checksum_name(k->kind)));
    if (said.p != NULL && sum.p != NULL && !str_eq(said, sum))
        return call_fail(c, &s3_BadDigest,
                         "The %.*s you specified did not match the calculated checksum.",
                         FMT(checksum_name(k->kind)));
    if (sum.p != NULL) {
        attributes_add(into, checksum_header(k->kind), sum);
        attributes_add(into, S("x-amz-checksum-type"), type);
    }
    return OK;
}

static Err check_size(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                      const struct completing *k)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < k->list->n; i++)
        bytes += k->parts[i].bytes;
    if (bytes > S3_OBJECT_BYTES_MAX)
        return call_fail(c, &s3_EntityTooLarge,
                         "Your proposed upload exceeds the maximum allowed object size.");
    if (in->has_mpu_object_size && (uint64_t)in->mpu_object_size != bytes)
        return call_fail(c, &s3_InvalidRequest,
                         "The provided 'x-amz-mp-object-size' header does not match what was "
                         "computed.");
    return OK;
}

// *ret_again: somebody else has completed it meanwhile.
static Err complete(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                    struct completing *k, const BlobNew *object, BlobObject *ret, bool *ret_again)
{
    Str upload_id = in->upload_id;
    size_t wrong = 0;
    Err e = blob_upload_complete(s3_of(c)->blob, c->arena, &k->b, k->upload.id, k->refs, k->list->n,
                                 S3_PART_BYTES_MIN, object, ret, &wrong);
    if (e.kind == ERR_INVALID)
        return invalid_part(c, upload_id, k->refs[wrong].number, k->refs[wrong].etag);
    if (e.kind == ERR_LIMIT) {
        call_detail(c, S("ETag"), k->refs[wrong].etag);
        call_detail(c, S("MinSizeAllowed"), str_fmt(c->arena, "%" PRIu64, S3_PART_BYTES_MIN));
        call_detail(c, S("ProposedSize"), str_fmt(c->arena, "%" PRIu64, k->parts[wrong].bytes));
        call_detail(c, S("PartNumber"), str_fmt(c->arena, "%" PRIu32, k->refs[wrong].number));
        return call_fail(c, &s3_EntityTooSmall,
                         "Your proposed upload is smaller than the minimum allowed size");
    }
    if (e.kind == ERR_NOT_FOUND) {
        TRY(find_made(c, in, k, ret, ret_again));
        if (*ret_again)
            return OK;
    }
    if (e.kind == ERR_NOT_FOUND && object->condition.if_etag.p == NULL)
        return s3_no_such_upload(c, upload_id);
    return s3_store_error(c, &k->b, s3_condition_failed(c, e, object->key, &object->condition));
}

// The upload; or what it has made before.
static Err find_open(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                     struct completing *k, BlobObject *ret_made, bool *ret_again)
{
    uint64_t id;
    *ret_again = false;
    if (!s3_upload_number(in->upload_id, &id))
        return s3_no_such_upload(c, in->upload_id);
    Err e = blob_upload_find(s3_of(c)->blob, c->arena, &k->b, in->key, id, &k->upload);
    if (e.kind != ERR_NOT_FOUND)
        return s3_store_error(c, &k->b, e);
    TRY(find_made(c, in, k, ret_made, ret_again));
    return *ret_again ? OK : s3_no_such_upload(c, in->upload_id);
}

static void answer_completed(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                             const struct completing *k, const BlobObject *made,
                             struct s3_CompleteMultipartUpload_out *out)
{
    Str host = c->exchange != NULL ? http_header(c->exchange, S("host")) : S("");
    s3_give_headers(c, out, &k->b, made, true);
    s3_give_checksums(c, c->op->output, out, made->attributes);
    out->location = str_fmt(c->arena, "http://%.*s/%.*s/%.*s", FMT(host), FMT(in->bucket),
                            FMT(s3_url_encoded(c->arena, in->key)));
    out->bucket = in->bucket;
    out->key = in->key;
    out->e_tag = s3_quoted(c->arena, made->etag);
}

Err s3_CompleteMultipartUpload(struct call *c, const struct s3_CompleteMultipartUpload_in *in,
                               struct s3_CompleteMultipartUpload_out *out)
{
    struct completing k = { .list = in->multipart_upload != NULL ? &in->multipart_upload->parts
                                                                 : NULL };
    struct attributes attributes = { .arena = c->arena };
    BlobNew object = { .key = in->key };
    BlobObject made = { 0 };
    bool again;
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, &k.b));
    TRY(take_list(c, in->upload_id, &k));
    TRY(find_open(c, in, &k, &made, &again));
    Err e = again ? OK : find_parts(c, in->upload_id, &k);
    if (e.kind == ERR_NOT_FOUND) { // perhaps somebody else has completed it meanwhile
        TRY(find_open(c, in, &k, &made, &again));
        e = again ? OK : s3_no_such_upload(c, in->upload_id);
    }
    TRY(e);
    if (again) {
        answer_completed(c, in, &k, &made, out);
        return OK;
    }
    TRY(check_part_sums(c, in->upload_id, &k));
    TRY(check_size(c, in, &k));
    TRY(object_attributes(c, in, &k, &attributes));
    TRY(s3_take_condition(c, in->if_match, in->if_none_match, &object.condition));
    object.etag = etag_of_refs(c, &k);
    object.tags = k.upload.tags;
    object.retention = k.upload.retention;
    attributes_set(&attributes, S("s3-upload"), in->upload_id);
    object.attributes = attributes_pairs(&attributes);
    TRY(complete(c, in, &k, &object, &made, &again));
    answer_completed(c, in, &k, &made, out);
    if (!again)
        s3_notify(c, &k.b, "ObjectCreated:CompleteMultipartUpload", &made);
    return OK;
}
