// SPDX-License-Identifier: Apache-2.0
// Delivery streams: AWS's own texts call one a hose. What one is lies in a state that never
// changes; a change makes another and puts it in place. Whoever works with a state holds a
// reference.
//
//     table firehose.streams    key = account / region / name     value = JSON (hose_row.c)
//
// The row is committed before its log shard is declared and before its delivery begins, and it is
// marked DELETING before both end. So a crash in between leaves a row without data, which recovery
// carries on from, never data without a row.
#pragma once
#include "base/buf.h"
#include "codec/gcm.h"
#include "hub/metrics.h"
#include "store/kv.h"
#include "svc/firehose/limit.h"
#include "svc/firehose/meters.h"

#include <pthread.h>

enum {
    HOSE_TAGS_MAX = 50,
    HOSE_TURNS_MAX = 25, // starts and stops of encryption in 24 hours, together
};
#define HOSE_RETENTION_NS (INT64_C(24) * 3600 * 1000000000) // of DirectPut

typedef enum HoseStatus {
    HOSE_CREATING,
    HOSE_ACTIVE,
    HOSE_DELETING,
    HOSE_GONE, // out of the table; a reference may still be held
} HoseStatus;

typedef enum HoseKeyKind {
    HOSE_KEY_NONE, // records are stored as they are
    HOSE_KEY_OWNED,
    HOSE_KEY_CUSTOMER,
} HoseKeyKind;

typedef struct HoseTag {
    Str key, value; // absent value: it has none
} HoseTag;

typedef struct HoseFields {
    bool deleting;
    int64_t created_ms;
    int64_t updated_ms; // 0: never
    int64_t active_ms;  // CREATING until then
    int64_t due_ms;     // when it is forgotten, of one that is being deleted
    uint64_t version;   // of the destination: 1, 2, ...
    int64_t hint_mibps; // ThroughputHintInMBs; 0: none
    Str source_arn;     // KinesisStreamAsSource; absent: DirectPut
    Str source_role;
    // JSON: one member of the API's DestinationDescription, complete with its defaults, but for
    // secrets; those in a map of their own: "HECToken", "AccessKey", "Password",
    // "User" (of an endpoint, with its password).
    Str destination, secrets;
    HoseTag *tags; // by key
    size_t tag_count;
    HoseKeyKind key_kind;
    Str key_arn;          // of a customer's key
    int64_t key_since_ms; // ENABLING or DISABLING until then; 0: encryption was never begun
    int64_t turns_ms[HOSE_TURNS_MAX]; // the oldest first
    size_t turn_count;
} HoseFields;

struct hose_state {
    unsigned refs; // atomic
    struct arena *arena;
    bool logs_only; // its records are unpacked as those of CloudWatch Logs
    HoseFields f;
};

struct hose_keys;
struct delivery;

struct hose {
    unsigned refs; // atomic
    Str account, region, name, arn;
    uint64_t id; // never given twice: of the delivery's positions, and of its shard in the log
    // Under the lock of struct firehose:
    struct hose_state *state;
    struct delivery *delivery; // NULL: ended, or its row could not be followed at the start
    bool ending;               // its delivery has ended or is about to, and its records and row go
    bool gone;
    pthread_mutex_t limit_lock; // a leaf
    HoseLimits limits;
    struct hose_keys *keys; // crypt.h
    struct hose_meters meters;
    struct metric *put_records, *put_bytes, *put_throttled;
};

struct hose *hose_new(Str account, Str region, Str name, uint64_t id);
struct hose *hose_ref(struct hose *h);
void hose_unref(struct hose *h); // NULL is fine
static inline void hose_close(struct hose *h)
{
    hose_unref(h);
}
AUTO_CLOSE(hose)

// A state with a copy of everything.
struct hose_state *hose_state_new(const HoseFields *f);
struct hose_state *hose_state_ref(struct hose_state *s);
void hose_state_unref(struct hose_state *s); // NULL is fine; secrets are wiped with the last one
static inline void hose_state_close(struct hose_state *s)
{
    hose_state_unref(s);
}
AUTO_CLOSE(hose_state)

HoseStatus hose_status(const HoseFields *f, int64_t now_ms);
Str hose_status_name(HoseStatus s);

// The value of a tag, or absent.
const HoseTag *hose_tag(const HoseFields *f, Str key);

// Takes one of the turns that encryption may be started or stopped in 24 hours; false: none is
// left.
bool hose_take_turn(HoseFields *f, int64_t now_ms);

// Rows. The master key seals the secrets; NULL is fine where there are none.
Str hose_row_key(struct arena *a, Str account, Str region, Str name);
void hose_row_write(struct buf *b, struct io *io, const unsigned char *master, const struct hose *h,
                    const HoseFields *f);
bool hose_row_has_secrets(Str row);
// ERR_CORRUPT, ERR_FORMAT.
Err hose_row_read(struct arena *tmp, const unsigned char *master, Str key, Str row,
                  struct hose **ret);
