// SPDX-License-Identifier: Apache-2.0
// What the parts of the room share. The object store (store/blob.h) keeps everything; what is
// needed to decide about a call without asking the disk - which buckets there are, whose they are,
// their policies - is held in memory beside it (struct bucket).
//
// Attributes of an object are headers, by their names in lower case: what a request has said and a
// reply says again. Beside them the room keeps what begins with "s3-":
//
//     s3-acl       the ACL (acl.c), if it is another than private
//     s3-key       the ARN of the key that its data key is wrapped with
//     s3-wrapped   the data key, wrapped
//     s3-context   the encryption context as it was given
//     s3-owner     the account that has written it, if it belongs to that and not to the bucket's
//     s3-initiator the principal that has begun its upload, if it is not the account's root
//     s3-upload    the upload that has made it
//     s3-customer  the data key, wrapped with a key that only the customer has
//     s3-restore   from when to when an archived object can be read (archive.c)
#pragma once
#include "access/policy.h"
#include "aws/body.h"
#include "aws/rest.h"
#include "codec/checksum.h"
#include "gen/s3_api.h"
#include "hub/objects.h"
#include "hub/service.h"
#include "store/blob_expire.h"
#include "store/blob_upload.h"

#include <pthread.h>
#include <stdatomic.h>

struct attributes;
struct map;
struct remote;
struct kv_txn;

enum {
    S3_BUCKETS_MAX = 10000, // of an account, as S3 has it since 2024
    S3_KEYS_PAGE = 1000,    // results of a list
    S3_PARTS_PAGE = 1000,
    S3_DELETE_MAX = 1000, // keys of one DeleteObjects
    S3_TAGS_MAX = 10,     // of an object
    S3_BUCKET_TAGS_MAX = 50,
    S3_METADATA_BYTES_MAX = 2048,
    S3_PIECE_BYTES = 256 << 10, // read and written at once
};
#define S3_OBJECT_BYTES_MAX (UINT64_C(5) << 40)
#define S3_PUT_BYTES_MAX (UINT64_C(5) << 30) // of one PutObject, part or copy
#define S3_PART_BYTES_MIN (UINT64_C(5) << 20)

// What is known of a bucket without asking the disk. Never changed: replaced, and counted.
struct bucket {
    atomic_int refs;
    struct arena *arena;
    BlobBucket is;
    struct policy *policy;                                       // NULL: none
    bool block_acls, ignore_acls, block_policy, restrict_public; // PublicAccessBlock
    bool acls;      // they count: the ownership is not BucketOwnerEnforced
    bool preferred; // it is BucketOwnerPreferred
    bool requester_pays;
    bool asks_tags; // its policy speaks of tags that objects have
    Str acl;        // as acl.c keeps them
    bool public_policy;
    Str notification, cors; // documents; absent: none
    BlobRule *rules;        // lifecycle rules that are enabled
    size_t rule_count;
    Str mfa_delete;        // Enabled or Disabled; absent: it never was enabled
    struct remote *remote; // where its objects are; NULL: here
    bool adrift;           // its objects are elsewhere, and the configuration says no more where
};

struct s3 {
    struct service_env env;
    struct blob *blob;
    pthread_rwlock_t lock;
    struct map *buckets; // name to struct bucket
    struct lifecycle *lifecycle;
    struct s3_events *events;
    struct s3_restored *restored;
    struct hub_objects offer;
    struct remote *remotes; // buckets at other endpoints (remote.h)
    size_t remote_count;
    struct arena *remote_arena;
};

static inline struct s3 *s3_of(const struct call *c)
{
    return c->state;
}

// ---- table.c
Err s3_table_open(struct s3 *s);
void s3_table_close(struct s3 *s);
struct bucket *s3_bucket_ref(struct s3 *s, Str name); // NULL: there is none
void bucket_unref(struct bucket *b);                  // NULL is fine
size_t s3_buckets_of(struct s3 *s, Str account);      // how many; looks at all there are
static inline void bucket_close(struct bucket *b)
{
    bucket_unref(b);
}
AUTO_CLOSE(bucket)
// Reads what is known of it anew, after a change; one that is gone is forgotten.
Err s3_bucket_reload(struct s3 *s, Str name);

// ---- remote.c
struct remote *s3_remote_of(struct s3 *s, Str bucket); // where it is; NULL: here

// ---- copy.c
// The source of a copy, here or elsewhere. Zeroed at first; done at the end, whatever has happened.
struct s3_source {
    BlobBucket bucket;
    Str key, version_id;        // as the request names them
    BlobObject object;          // its attributes are headers, wherever it is
    Str version;                // of a bucket that keeps versions
    struct blob_reader *reader; // here
    struct remote *remote;      // elsewhere; NULL: here
    struct call_source *bytes;
    int64_t tag_count;
    bool restored;     // elsewhere: it can be read whatever its storage class
    uint64_t at, left; // of what is read
};
// "/bucket/key?versionId=V", percent-encoded; the first slash may be missing. False: it is none.
bool s3_copy_source(struct arena *a, Str header, Str *ret_bucket, Str *ret_key, Str *ret_version);
// Which it is, and whether it may be read; then what it is.
Err s3_source_find(struct call *c, Str header, Str owner, struct s3_source *s);
Err s3_source_open(struct call *c, Str header, Str owner, struct s3_source *s);
// So many of its bytes, from there on, in pieces: at least one byte each.
void s3_source_begin(struct s3_source *s, uint64_t from, uint64_t n);
Err s3_source_read(struct call *c, struct s3_source *s, char *p, size_t max, size_t *ret_n);
void s3_source_done(struct s3_source *s);
// Whether it may become what the request wants, and what the copy gets from it or the request; or
// which bytes of it.
Err s3_copy_object_from(struct call *c, const struct s3_CopyObject_in *in,
                        const struct s3_source *s, struct attributes *into, BlobPairs *ret_tags);
Err s3_copy_part_from(struct call *c, const struct s3_UploadPartCopy_in *in,
                      const struct s3_source *s, uint64_t *ret_from, uint64_t *ret_n);

// ---- common.c
const struct api_op *s3_api_op(Str name); // which exists
// The bucket that a call is about. ERR_FAULT: NoSuchBucket; or another's than is expected.
Err s3_bucket(struct call *c, Str name, Str expected_owner, BlobBucket *ret);
// What the store's error means for the client; ERR_CLOSED: the bucket has gone meanwhile.
Err s3_store_error(struct call *c, const BlobBucket *bucket, Err e);
Err s3_no_such_key(struct call *c, Str key);
Err s3_check_key(struct call *c, Str key); // KeyTooLongError
// Of a PUT that is not of a part: that it does not look like half of one.
Err s3_check_no_part(struct call *c);
Err s3_check_no_attributes(struct call *c); // of a GET
Str s3_quoted(struct arena *a, Str etag);
Str s3_unquoted(Str etag);
Str s3_version_text(struct arena *a, const BlobObject *o); // "null" or a number's text
// What versionId names; absent: the latest. ERR_FAULT: no version has such a name.
Err s3_select(struct call *c, Str version_id, BlobSelect *ret);
Str s3_url_encoded(struct arena *a, Str text);     // as encoding-type=url has it
Str s3_canonical_id(struct arena *a, Str account); // 64 hexadecimal digits
Str s3_checksum_text(struct arena *a, const unsigned char *bytes, size_t n);
// The member of an input or output of that name on the wire; NULL: it has none.
const struct member *s3_member(const struct shape *shape, Str name);
Str s3_text_of(const struct shape *shape, const void *in, Str member); // absent: none

// ---- attributes.c
// What of a request's headers belongs to the object; `from` are those of a source whose metadata is
// kept. ERR_FAULT: MetadataTooLarge.
struct attributes {
    BlobPair *at;
    size_t n, cap;
    struct arena *arena;
};
void attributes_add(struct attributes *p, Str name, Str value);
void attributes_set(struct attributes *p, Str name, Str value); // in place of what there was
static inline BlobPairs attributes_pairs(const struct attributes *p)
{
    return (BlobPairs){ .at = p->at, .n = p->n };
}
Err s3_take_headers(struct call *c, const void *in, struct attributes *into);
// Writes the attributes of an object into the members of the output that are headers, with its
// etag, version, size, retention and tags.
void s3_give_headers(struct call *c, void *out, const BlobBucket *bucket, const BlobObject *o,
                     bool checksums);
// Writes the checksums of attributes into members ChecksumCRC32 ... and ChecksumType of a struct.
void s3_give_checksums(struct call *c, const struct shape *shape, void *into, BlobPairs attributes);
Err s3_parse_tags(struct call *c, Str header, BlobPairs *ret); // a=b&c=d
Str s3_tag_header(struct arena *a, BlobPairs tags);            // the same again
Err s3_check_tags(struct call *c, BlobPairs tags, size_t max);
Err s3_take_retention(struct call *c, const BlobBucket *bucket, const void *in, BlobRetention *ret);
Err s3_default_retention(struct call *c, const BlobBucket *bucket, BlobRetention *ret); // if any
// The condition of If-Match and If-None-Match of a write. ERR_FAULT: it is none that S3 knows.
Err s3_take_condition(struct call *c, Str if_match, Str if_none_match, BlobCondition *ret);
Err s3_condition_failed(struct call *c, Err e, Str key, const BlobCondition *condition);

// ---- seal.c
// What the bucket says of objects whose writer says nothing of it; left alone: nothing.
Err s3_default_encryption(struct call *c, const BlobBucket *bucket, Str *ret_algorithm,
                          Str *ret_key);
// The data key of a new object by its request and the bucket's default; *ret_sealed: it is to be
// encrypted. What belongs to the object is added to the attributes.
Err s3_seal_new(struct call *c, const BlobBucket *bucket, const void *in, struct attributes *into,
                unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed);
// Takes the data key of a source in place of the one that s3_seal_new has made, if both are wrapped
// with the same key, so that a copy can share the source's bytes.
Err s3_seal_as(struct call *c, BlobPairs source, struct attributes *into,
               unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_same);
// The same for what was said of it: absent algorithm: the bucket decides.
Err s3_seal_with(struct call *c, const BlobBucket *bucket, Str algorithm, Str key, Str context,
                 struct attributes *into, unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed);
// The data key of what has these attributes; `of_source`: it is the source of a copy, for which a
// request names another key.
Err s3_unseal(struct call *c, BlobPairs attributes, bool of_source,
              unsigned char ret_key[BLOB_SEAL_BYTES]);
// Opens an object for reading, unsealed. ERR_FAULT: NoSuchKey and its like.
Err s3_open_reader(struct call *c, const BlobBucket *bucket, Str key, Str version_id,
                   bool of_source, BlobObject *ret, struct blob_reader **ret_reader);
// What a find or open of the store has answered: *o counts if e is OK.
Err s3_found(struct call *c, const BlobBucket *bucket, Str key, Str version_id, Err e,
             const BlobObject *o);

// ---- customer.c: keys that come with requests (SSE-C)
// The key that a request gives. ERR_FAULT: it gives a wrong one.
Err s3_customer_key(struct call *c, bool of_source, unsigned char ret_key[BLOB_SEAL_BYTES],
                    bool *ret_given);
// Makes a data key and keeps it with the object, wrapped with that key.
Err s3_customer_wrap(struct call *c, const unsigned char key[BLOB_SEAL_BYTES],
                     struct attributes *into, unsigned char ret_data_key[BLOB_SEAL_BYTES]);
bool s3_is_customers(BlobPairs attributes);
// Whether the request gives the key that the object needs, and none if it needs none: its data key.
Err s3_customer_check(struct call *c, BlobPairs attributes, bool of_source,
                      unsigned char ret_data_key[BLOB_SEAL_BYTES]);

// ---- get.c
// Whether it is the GET of an object that is in memory, which is then kept for the call.
bool s3_is_quick(struct call *c, const void *in);

// ---- upload.c
Str s3_upload_text(struct arena *a, uint64_t id);
Err s3_no_such_upload(struct call *c, Str upload_id);
const s3_Initiator *s3_initiator(struct call *c, const BlobBucket *bucket, BlobPairs attributes);
bool s3_upload_number(Str text, uint64_t *ret); // false: no upload's name
// The upload that a part is for, and what the part is to be sealed with.
Err s3_part_target(struct call *c, const BlobBucket *bucket, Str key, Str upload_id, int32_t number,
                   BlobUpload *ret, unsigned char ret_key[BLOB_SEAL_BYTES], bool *ret_sealed);

// ---- acl.c
// The canned ACL of a request, if the bucket takes any. ERR_FAULT: it does not.
Err s3_take_acl(struct call *c, const void *in, struct attributes *into);
Err s3_take_acl_called(struct call *c, Str bucket, Str name, struct attributes *into); // of a form
// That of a bucket that is being made; absent: none. `acls`: it will take some.
Err s3_first_acl(struct call *c, Str name, bool acls, Str *ret);
// Whether a list of that bucket, or of an object in it, grants the caller a permission; what it
// grants to everybody does not count where public lists are ignored. Of the owner's full control it
// knows nothing.
bool s3_acl_permits(struct call *c, const struct bucket *b, Str acl, Str permission);
bool s3_acl_is_private(Str acl); // it grants nobody but the owner anything
Str s3_object_owner(const struct bucket *b, BlobPairs attributes); // an account; borrowed

// ---- restored.c: restored copies end
#define S3_RESTORE S("s3-restore")
Err s3_restored_open(struct s3 *s);
void s3_restored_close(struct s3 *s);
// Within the transaction that restores it: so that its end is told. Once that is committed, wait.
Err s3_restored_note(struct s3 *s, struct kv_txn *tx, Str bucket, const BlobObject *o,
                     int64_t until_ns);
void s3_restored_wait(struct s3 *s, int64_t until_ns);
bool s3_restored_is_due(struct s3 *s, int64_t now_ns); // cheap
// Ends the copies whose time has come, and tells of it.
void s3_restored_end(struct s3 *s, int64_t now_ns, bool (*is_ending)(void *self), void *self);

// ---- archive.c: storage classes, and objects that have to be restored to be read
bool s3_is_storage_class(Str text);
Str s3_storage_class(BlobPairs attributes); // STANDARD if nothing is said
bool s3_may_move(Str from, Str to);         // as rules do
bool s3_is_archive(Str class);
typedef struct S3Restore {
    enum { S3_RESTORE_NONE, S3_RESTORE_ONGOING, S3_RESTORE_READY } state;
    int64_t until_ns; // when it ends
} S3Restore;
S3Restore s3_restore_of(BlobPairs attributes, int64_t now_ns);
Str s3_restore_text(struct call *c, BlobPairs attributes); // x-amz-restore; absent: none
// ERR_FAULT: InvalidObjectState, it is archived.
Err s3_check_readable(struct call *c, BlobPairs attributes, bool of_source);

// ---- post_policy.c
// Whether a form with these fields is permitted by its policy, a JSON document. ERR_FAULT: it is
// not, or has ended. The sizes of a file that it takes.
Err s3_check_policy(struct call *c, Str policy, BlobPairs fields, uint64_t *ret_min,
                    uint64_t *ret_max);

// ---- conditions.c
typedef struct S3Conditions {
    Str if_match, if_none_match;
    bool has_modified, has_unmodified;
    int64_t modified_since_ns, unmodified_since_ns;
} S3Conditions;
// ERR_FAULT: PreconditionFailed; or NotModified, where `reading`.
Err s3_check_conditions(struct call *c, const S3Conditions *want, const BlobObject *o,
                        bool reading);
// "bytes=0-9". False: not a range, or none that S3 takes: all is given. ERR_FAULT: InvalidRange.
Err s3_range(struct call *c, Str header, uint64_t bytes, bool *ret_is, uint64_t *ret_from,
             uint64_t *ret_n);

// ---- notify.c
// Something has happened to an object: "ObjectCreated:Put".
void s3_notify(struct call *c, const BlobBucket *bucket, const char *event, const BlobObject *o);
// The same for an object that another server keeps, whose version has a name there; absent: none.
void s3_notify_version(struct call *c, const BlobBucket *bucket, const char *event,
                       const BlobObject *o, Str version);

typedef struct S3Event {
    const char *name;
    const BlobObject *object;
    bool elsewhere;    // its version has a name of another server:
    Str version;       // absent: none
    Str moved_to;      // the storage class of a transition
    Str restored_from; // the storage class of a restore, and when it ends
    int64_t restored_until_ns;
    int64_t at_ns; // when it will happen; 0: it has
} S3Event;
void s3_notify_event(struct call *c, const BlobBucket *bucket, const S3Event *e);
struct s3_noted;
// The same as a part of the transaction that makes it happen. An error: of the transaction.
Err s3_notify_within(struct kv_txn *tx, struct s3_noted *noted, struct call *c,
                     const BlobBucket *bucket, const S3Event *e);

Err s3_check_destinations(struct call *c, const BlobBucket *b,
                          const s3_NotificationConfiguration *n);

// ---- events.c: events on their way to their destinations
Err s3_events_open(struct s3 *s);
void s3_events_stop(struct s3 *s);
void s3_events_close(struct s3 *s); // after stop, or without it
typedef struct S3Message {
    Str account, region, arn; // who sends it, and to whom
    Str text;
    int64_t at_ns; // when it is sent, by the wall clock; 0: now
} S3Message;
// Durable when it returns. ERR_LIMIT: too many wait.
Err s3_events_add(struct s3 *s, const S3Message *m);
// Messages whose rows are in a transaction; s3_events_send once that is committed, else they are no
// more.
struct s3_noted {
    struct s3_waiting *at;
    size_t n, cap;
};
Err s3_events_note(struct s3 *s, struct kv_txn *tx, const S3Message *m, struct s3_noted *to);
void s3_events_send(struct s3 *s, struct s3_noted *noted); // leaves it empty
void s3_noted_close(struct s3_noted *noted);
#define AUTO_NOTED(name) __attribute__((cleanup(s3_noted_close))) struct s3_noted name = { 0 }
// How long to wait after so many tries, the first of which is so old: the destination was away, or
// has failed. -1: it is given up.
int64_t s3_event_pause_ms(unsigned tries, int64_t age_ms, bool away);

// ---- offer.c: objects for other services (hub/objects.h)
void s3_offer_init(struct s3 *s);

// ---- cors.c
// The headers that let a page of another origin read this reply, if the bucket's rules do.
void s3_allow_origin(struct call *c, Str document);

// ---- mfa.c
bool s3_has_mfa_delete(struct call *c, Str bucket);
// Whether the request has a good code of the root's device, which has counted then. ERR_FAULT.
Err s3_check_mfa(struct call *c, const BlobBucket *bucket);
// The same for a change of the versioning, if it needs one. Absent: MFA delete stays as it is.
Err s3_check_mfa_setting(struct call *c, const BlobBucket *bucket, Str wanted);

// ---- buckets.c
bool s3_is_bucket_name(Str name);

// ---- lifecycle.c: a thread that removes what has reached its end
// The rules of a document that are enabled. ERR_INVALID: it is none.
Err s3_lifecycle_rules(struct arena *a, Str document, BlobRule **ret, size_t *ret_n);
// x-amz-expiration: when an object ends, and by which rule; absent: it does not.
Str s3_expiration_text(struct call *c, const BlobBucket *bucket, const BlobObject *o);
// When an upload is given up, and by which rule; absent: it is not.
Str s3_abort_rule(struct call *c, const BlobBucket *bucket, const BlobUpload *u, int64_t *ret_ns);
// Which objects a rule is about.
void s3_lifecycle_filter(struct arena *a, const s3_LifecycleRule *r, BlobRule *ret);
// What an operation finds in a call, for what rules do in a bucket.
struct call *s3_lifecycle_call(struct s3 *s, struct arena *a, const BlobBucket *bucket);
void s3_lifecycle_open(struct s3 *s);
void s3_lifecycle_stop(struct s3 *s);
void s3_lifecycle_close(struct s3 *s); // after stop, or without it

// ---- transitions.c: rules that move objects to other storage classes
typedef struct S3Move {
    BlobRule rule; // which objects: only its prefix, tags and sizes
    Str to;        // the storage class
    int64_t days;  // -1: on a date
    int64_t at_ns;
    bool any_size;   // also small objects
    bool noncurrent; // versions that have been replaced, except so many of the newest of them
    uint32_t kept;
} S3Move;
// How small objects may be that rules move: 128 KiB, or of any size into an archive.
#define S3_MOVES_128K S("all_storage_classes_128K")
#define S3_MOVES_VARY S("varies_by_storage_class")
// Those of a document whose rules are enabled. ERR_INVALID: it is none. `least`: one of these;
// absent: the first.
Err s3_lifecycle_moves(struct arena *a, Str document, Str least, S3Move **ret, size_t *ret_n);
// The storage class that an object is to have; absent: the one that it has. `since_ns`: when it was
// replaced, or made, if it is the latest; `newer`: noncurrent versions that are newer.
Str s3_moves_to(const S3Move *moves, size_t n, const BlobObject *o, int64_t since_ns, size_t newer,
                int64_t now_ns);
// Moves everything in a bucket whose time has come.
Err s3_lifecycle_move(struct s3 *s, const BlobBucket *bucket, const S3Move *moves, size_t n,
                      int64_t now_ns, bool (*is_ending)(void *self), void *self);

// ---- documents.c
Err s3_get_document(struct call *c, const BlobBucket *bucket, Str name, Str *ret); // absent: none
Err s3_decode_document(struct call *c, const struct shape *shape, Str xml, void *into);
// The default retention of a bucket whose objects another server retains.
Err s3_keep_lock(struct call *c, const struct s3_PutObjectLockConfiguration_in *in);
Str s3_xml_document(struct call *c, Str root, const struct shape *shape, const void *value);

// ---- access.c
extern const struct call_targets s3_targets;
// Whether the caller may do something else in the course of a call: the key of a source, each key
// of many. On a refusal the text.
bool s3_may(struct call *c, Str action, Str bucket, Str key, Str *ret_text);
bool s3_policy_is_public(Str document);
// Where ACLs count, or a policy speaks of tags of objects: whether the object's list, or anything
// else, lets the caller do that to it. The permission of lists; absent: none grants it.
Err s3_check_acl(struct call *c, const BlobBucket *bucket, const BlobObject *o, Str action,
                 Str permission);
// Whether who reads an object there is asked only when that is known.
bool s3_asks_later(const struct bucket *b);
