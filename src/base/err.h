// SPDX-License-Identifier: Apache-2.0
// Errors as values: sixteen bytes, returned in registers, never ignored by accident.
//
// A function that can fail returns Err. The caller handles it or passes it up with TRY(). The text
// is a static string that says what went wrong; `os` is the errno that caused it, or zero.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ErrKind {
    ERR_NONE,      // success
    ERR_INVALID,   // the input breaks its own format or a rule
    ERR_LIMIT,     // a named limit would be exceeded
    ERR_NOT_FOUND, // the thing does not exist
    ERR_EXISTS,    // the thing exists already
    ERR_CLOSED,    // the peer, shard or owner has ended
    ERR_BUSY,      // somebody else holds it
    ERR_TIMEOUT,   // the deadline passed
    ERR_DENIED,    // not permitted
    ERR_FULL,      // no space is left on the device
    ERR_MEMORY,    // no memory for a request (base/memory.h)
    ERR_IO,        // the operating system failed to do it
    ERR_CORRUPT,   // stored bytes are not what was written
    ERR_FORMAT,    // written by a newer format than this program reads
    ERR_FAULT,     // an AWS error that is already recorded in the call (aws/call.h)
    ERR_WAIT,      // no error: the answer comes later (aws/call.h)
} ErrKind;

typedef struct [[nodiscard]] Err {
    ErrKind kind;
    int os;           // errno, or 0
    const char *text; // static; NULL on success
} Err;

#define OK ((Err){ 0 })

static inline Err fail(ErrKind kind, const char *text)
{
    return (Err){ .kind = kind, .text = text };
}

// An error of the operating system: ENOSPC and EDQUOT become ERR_FULL, ENOENT ERR_NOT_FOUND, EEXIST
// ERR_EXISTS, EACCES, EPERM and EROFS ERR_DENIED, anything else ERR_IO.
Err fail_os(int error_number, const char *text);

// The name of a kind as logs show it: "io", "corrupt", ...
const char *err_kind_name(ErrKind kind);

// Passes an error up. The only macro of this house with hidden control flow.
#define TRY(expression)                \
    do {                               \
        Err try_err_ = (expression);   \
        if (try_err_.kind != ERR_NONE) \
            return try_err_;           \
    } while (0)

// Says on purpose that an error does not matter here; a comment beside it says why.
static inline void err_ignore(Err e)
{
    (void)e;
}

// AUTO(log) l = NULL; closes l with log_close() on every way out of the block.
// A header that declares `void log_close(struct log *)` follows it with AUTO_CLOSE(log).
#define AUTO(type) __attribute__((cleanup(type##_auto_close))) struct type *
#define AUTO_CLOSE(type)                                  \
    static inline void type##_auto_close(struct type **p) \
    {                                                     \
        type##_close(*p);                                 \
    }

// Asserts stay on in release builds. They state what we promise each other; what a client or a disk
// sent is checked with an Err.
_Noreturn void check_failed(const char *file, int line, const char *what);
#define CHECK(condition)                                  \
    do {                                                  \
        if (__builtin_expect(!(condition), 0))            \
            check_failed(__FILE__, __LINE__, #condition); \
    } while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
