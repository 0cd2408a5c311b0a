// SPDX-License-Identifier: Apache-2.0
// Records that are encrypted at rest, for every service that puts records into the log. The log
// stores bytes and knows nothing of it: a record's data is sealed before it is appended, and opened
// after it was read. How a data key is made and kept is its service's.
//
// An encrypted record is as long as it was. What else is needed to open it stands where a record
// has its explicit hash key, which is all digits and of no use any more once a record is stored:
//
//     "k" base64( number of the data key (8 bytes), count (4 bytes), tag (16 bytes) ) without "=="
//
// The nonce is number and count, of which no two are the same: numbers are never given twice, and a
// data key counts its records in memory, so it is never used again by another process. A data key
// that hides partition keys seals a record's key and data as one text, of which each then has its
// part in its own place; with any other, as versions before had them, the key stays plain, bound to
// the data.
#pragma once
#include "hub/keys.h"
#include "store/log.h"

enum {
    DATA_KEY_MARK_CHARS = 39,
    DATA_KEYS_CACHED = 64, // for reads, of one owner
};
#define DATA_KEY_MANY UINT64_MAX
#define DATA_KEY_LIFE_NS (INT64_C(3600) * 1000000000) // as long as it encrypts

struct data_key;

// Wipe `plain` afterwards: it is copied. `arn`: of the key it is wrapped with. `hides_keys`: the
// same whenever the key of this number is made.
struct data_key *data_key_new(uint64_t number, Str arn, const unsigned char plain[HUB_KEY_BYTES],
                              int64_t made_ns, bool hides_keys);
struct data_key *data_key_ref(struct data_key *key);
void data_key_close(struct data_key *key); // gives a reference back; NULL is fine
AUTO_CLOSE(data_key)
Str data_key_arn(const struct data_key *key);
// Whether it may go on encrypting under that key, at that time of the monotonic clock.
bool data_key_is_good(const struct data_key *key, Str arn, int64_t now_ns);

// The keys of one owner of records (a stream). Thread safe.
struct data_keys;
struct data_keys *data_keys_open(void);
void data_keys_close(struct data_keys *d); // NULL is fine
// References, or NULL.
struct data_key *data_keys_current(struct data_keys *d);
struct data_key *data_keys_find(struct data_keys *d, uint64_t number);
// Takes a reference of its own. `for_puts`: it is the current one from now on.
void data_keys_put(struct data_keys *d, struct data_key *key, bool for_puts);

// Seals all records, in the arena. ERR_MEMORY.
Err data_key_seal(struct arena *a, struct data_key *key, LogRecord *records, size_t n);

// Whether a stored record is encrypted.
bool data_key_has_sealed(const LogEntry *e);

// The number of the data key of all those that are encrypted. 0: none is. DATA_KEY_MANY: they have
// several, or one cannot be told.
uint64_t data_key_number(const LogEntry *entries, size_t n);

// Gives the key of a number, a reference.
typedef Err DataKeyFind(void *self, uint64_t number, struct data_key **ret);
// Opens those of the entries that are encrypted, in the arena; their hash keys stay marks. What
// `find` says; ERR_MEMORY; ERR_CORRUPT.
Err data_key_open_entries(struct arena *a, LogEntry *entries, size_t n, DataKeyFind *find,
                          void *self);
