// SPDX-License-Identifier: Apache-2.0
// Virtual MFA devices: secrets that user and server share, of which both make
// the same six digits every thirty seconds (RFC 6238, HMAC-SHA-1).
//
//     table iam.mfa   key    the serial number:
//     arn:aws:iam::account:mfa/path/name
//                     value  JSON {version, account, name, path, sealed: the
//                     secret (store/master.h),
//                                  user, user_id: whose it is; empty: nobody's,
//                                  enabled_ms, drift: how many steps its clock
//                                  is ahead, last_step: of the newest code that
//                                  counted}
//
// A code counts once. A device is never changed: a copy takes its place.
#pragma once
#include "svc/iam/iam.h"

enum {
    MFA_SEED_BYTES = 40, // 64 letters of base32, as AWS's
    MFA_STEP_S = 30,
    MFA_DEVICES_MAX = 8, // of a user (IAM quotas)
};
// The account's root has the device of this name from when it makes it: AWS enables it on a page of
// its console alone.
#define MFA_ROOT_DEVICE S("root-account-mfa-device")

struct mfa_device {
    unsigned refs; // atomic
    struct arena *arena;
    Str account, name, path, serial;
    Str seed; // wiped with the device
    Str user, user_id;
    int64_t enabled_ms, drift, last_step, created_ms;
};

struct mfa_device *mfa_ref(struct mfa_device *d);
void mfa_unref(struct mfa_device *d); // NULL is fine
static inline void mfa_device_close(struct mfa_device *d)
{
    mfa_unref(d);
}
AUTO_CLOSE(mfa_device)

// The code of a step, six digits of ret and no end.
void mfa_code(Str seed, int64_t step, char ret[6]);
// The step whose code it is now, after the one that counted last; -1: of none
// near.
int64_t mfa_match(const struct mfa_device *d, Str code, int64_t now_ms);
// Two codes that follow each other, at most so many steps from now: the step of
// the second; -1.
int64_t mfa_match_two(Str seed, Str first, Str second, int64_t now_ms, int64_t steps_max);

Err iam_load_mfa(struct iam *s);
void iam_close_mfa(struct iam *s);
bool iam_has_mfa(struct iam *s, const struct entity *user);
// Whether it is a good code of a device of the caller, a user or the account's root. `use`: it
// counts from then on and is on disk when this returns.
Err iam_check_mfa(struct iam *s, struct call *c, Str serial, Str code, bool use, bool *ret);
