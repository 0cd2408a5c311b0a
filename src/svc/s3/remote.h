// SPDX-License-Identifier: Apache-2.0
// Buckets that lie at another S3 endpoint (docs/design/017): their operations go there, signed with
// the keys of that endpoint, and what it answers comes back. A place has threads, connections and a
// memory of being down of its own, so that nobody else waits for it.
#pragma once
#include "aws/rest_out.h"
#include "http/client.h"
#include "hub/remote_bucket.h"
#include "svc/s3/s3.h"

enum {
    REMOTE_THREADS = 16,
    REMOTE_QUEUE_MAX = 1024,      // calls and pieces that wait for one of them; over it: SlowDown
    REMOTE_TRIES = 4,             // of a request that may be sent again
    REMOTE_WHOLE_BYTES = 1 << 20, // bodies up to here are gathered, and sent again if need be
    REMOTE_REPLY_BYTES_MAX = 32 << 20, // of a document: a list of 1,000 keys of 1,024 bytes
};
#define REMOTE_CONNECT_NS (INT64_C(5) * 1000000000)
#define REMOTE_BACKOFF_NS (INT64_C(100) * 1000000) // before the second try; then twice as long
#define REMOTE_DOWN_NS (INT64_C(1) * 1000000000) // calls fail at once after nobody could be reached
#define REMOTE_KEYS_NS (INT64_C(60) * 1000000000) // after which a file of keys is read again

struct remote {
    RemoteBucket is;
    Str url, authority; // of the endpoint, with the bucket in front where the host names it
    struct io *io;
    struct call_elsewhere elsewhere;
    struct pool *pool;
    atomic_bool over;     // the service closes: nobody waits any more
    pthread_mutex_t lock; // of what follows
    struct http_client **idle;
    size_t idle_count, open; // connections; idle ones are open
    int64_t down_until_ns, told_ns;
    const char *told;   // what the log was told last, at told_ns
    struct arena *keys; // what the next three lie in
    Str access_key, secret_key, session_token;
    int64_t keys_read_ns; // 0: not yet
};

// ---- remote.c
// All places of the configuration, and their buckets. ERR_EXISTS: one of these has objects here.
Err s3_remotes_open(struct s3 *s);
void s3_remotes_stop(struct s3 *s);
void s3_remotes_close(struct s3 *s);

typedef struct RemoteReply {
    struct http_client *client; // the body is still to be read; NULL: it is in head.body
    HttpReply head;
    uint64_t bytes; // of the body
    bool failed;    // `error` says why
    RestOutError error;
} RemoteReply;
Str s3_remote_header(const HttpReply *reply, Str name); // absent if there is none

typedef struct RemoteAsk {
    const RestOut *request;
    Str body;
    bool again;  // it may be sent again after it may have been carried out
    bool stream; // the body of a good reply is read by the caller
} RemoteAsk;
// One request, sent again as often as is sensible. OK: there is an answer, maybe an error. Else
// nobody has answered: ERR_BUSY: too many ask; others as http_client_call.
Err s3_remote_ask(struct remote *r, struct arena *a, const RemoteAsk *ask, RemoteReply *ret);
void s3_remote_done(struct remote *r, RemoteReply *reply); // gives its connection back

// A request whose body is sent in pieces: `payload` stands for its hash. The head has been sent.
Err s3_remote_begin(struct remote *r, struct arena *a, const RestOut *request, Str payload,
                    uint64_t body_bytes, struct http_client **ret, Sigv4Payload *ret_payload);
// What is said to it.
Err s3_remote_end(struct remote *r, struct arena *a, struct http_client *client, RemoteReply *ret);
void s3_remote_give(struct remote *r, struct http_client *client); // back; NULL is fine

// What the client of a call hears. ERR_FAULT.
Err s3_remote_unreached(struct call *c, struct remote *r, Err e); // nobody has answered
Err s3_remote_refused(struct call *c, struct remote *r, const RemoteReply *reply, Str key);

// ---- remote_keys.c
// The keys of a section of a shared credentials file. ERR_NOT_FOUND: it has none.
Err s3_remote_keys_read(Str content, Str section, Str *ret_access_key, Str *ret_secret_key,
                        Str *ret_session_token);

// ServiceUnavailable: nobody says any more where it is.
Err s3_remote_adrift(struct call *c);

// ---- remote_ops.c
// Whether a call is about a bucket that is elsewhere, and for the other side (hub/service.h).
const struct call_elsewhere *s3_elsewhere(struct call *c, const void *in);
Err s3_remote_run(struct call *c, const void *in, void *out);
// The request of a call, as it is for the other side; `in` is not changed.
Err s3_remote_request(struct call *c, struct remote *r, const void *in, RestOut *ret);
void s3_remote_add_header(struct arena *a, RestOut *to, Str name, Str value);
Str s3_remote_key(struct arena *a, const struct remote *r, Str key);
Str s3_remote_local(const struct remote *r, Str key); // without the prefix
// What has happened there, for notifications.
void s3_remote_tell(struct call *c, struct remote *r, const char *event, Str key, Str etag,
                    uint64_t bytes, Str version);

// A request, its answer into the output.
Err s3_remote_pass(struct call *c, struct remote *r, const RestOut *q, Str key, void *out);
// The output, and headers that no shape has, of a good answer.
Err s3_remote_take_reply(struct call *c, struct remote *r, const HttpReply *reply, void *out);

// ---- remote_offer.c: for other services (offer.c). Errors but ERR_FAULT: try again later.
struct s3_remote_put;
Err s3_remote_put_open(struct s3 *s, struct remote *r, struct s3_remote_put **ret);
Err s3_remote_put_write(struct s3_remote_put *p, Str bytes);
void s3_remote_put_close(struct s3_remote_put *p); // NULL is fine
// The digests are those of the bytes that were written; c->op is PutObject. Absent version: there
// is none.
Err s3_remote_put_finish(struct call *c, struct s3_remote_put *p, Str key, BlobPairs attributes,
                         Str md5, Str sha256_hex, const char *event, BlobObject *ret,
                         Str *ret_version);
Err s3_remote_read_piece(struct call *c, struct remote *r, Str key, uint64_t at, size_t max,
                         Str *ret);
Err s3_remote_list_some(struct call *c, struct remote *r, Str prefix, Str after, BlobPage *ret);
Err s3_remote_remove_one(struct call *c, struct remote *r, Str key);

// ---- remote_get.c
Err s3_remote_get(struct call *c, struct remote *r, const struct s3_GetObject_in *in,
                  struct s3_GetObject_out *out);
// What the source of a copy is, of which key and version are known; then its bytes.
Err s3_remote_look(struct call *c, struct remote *r, struct s3_source *s);
void s3_remote_read_on(struct s3_source *s); // s->left bytes from s->at on
Err s3_remote_tags(struct call *c, const struct s3_source *s, BlobPairs *ret);

// ---- remote_put.c
Err s3_remote_put(struct call *c, struct remote *r, const void *in, void *out);
// A body that this side reads from elsewhere: a put of an object or a part, of known length.
struct s3_remote_body;
// What is said of it is in `q`; `kind`: it has a checksum of that kind behind it; else NULL.
Err s3_remote_body_open(struct call *c, struct remote *r, const RestOut *q, Str key, uint64_t bytes,
                        const ChecksumKind *kind, struct s3_remote_body **ret);
Err s3_remote_body_add(struct call *c, struct s3_remote_body *b, Str piece);
// ERR_FAULT: it is refused. Absent texts: they are not said; `sum` is there if there is a kind.
Err s3_remote_body_end(struct call *c, struct s3_remote_body *b, Str md5, Str sum,
                       RemoteReply *ret);
void s3_remote_body_close(struct s3_remote_body *b); // NULL is fine; without an end nothing is made

// ---- remote_copy.c
Err s3_remote_copy(struct call *c, struct remote *r, const void *in, void *out);

// ---- remote_settings.c: settings of buckets that are the other side's
// What a place with a prefix says of objects whose writer says nothing, as if he had said it; `in`
// is the input of c->op, and changed.
Err s3_remote_defaults(struct call *c, struct remote *r, void *in);
Err s3_remote_put_encryption(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_delete_encryption(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_put_lock(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_put_ownership(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_get_setting(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_put_setting(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_get_lifecycle(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_put_lifecycle(struct call *c, struct remote *r, const void *in, void *out);
Err s3_remote_delete_lifecycle(struct call *c, struct remote *r, const void *in, void *out);
