// SPDX-License-Identifier: Apache-2.0
// What goes wrong, and when: a few rules, each of which waits for operations of its kind. Not
// thread safe: ops.c holds one lock.
#pragma once
#include "disk.h"

// Kinds of operations. A write with O_DSYNC (RWF_DSYNC) is OP_WRITE, when its bytes have come, and
// then OP_DSYNC, when they are made durable; each may fail by itself.
enum {
    OP_OPEN = 1 << 0,
    OP_CREATE = 1 << 1,
    OP_READ = 1 << 2,
    OP_WRITE = 1 << 3,
    OP_DSYNC = 1 << 4,
    OP_FSYNC = 1 << 5,
    OP_FSYNCDIR = 1 << 6,
    OP_TRUNCATE = 1 << 7,
    OP_ALLOCATE = 1 << 8,
    OP_RENAME = 1 << 9,
    OP_REMOVE = 1 << 10,
    OP_MKDIR = 1 << 11,
    OP_KINDS = 12,
    OP_SYNC = OP_DSYNC | OP_FSYNC | OP_FSYNCDIR, // what makes anything durable
    OP_CHANGE = OP_SYNC | OP_CREATE | OP_WRITE | OP_TRUNCATE | OP_ALLOCATE | OP_RENAME | OP_REMOVE |
                OP_MKDIR,
    OP_ANY = (1 << OP_KINDS) - 1,
};
unsigned op_of_name(const char *name); // "fsync", "sync", "any" ...; 0: there is none
const char *op_name(unsigned kind);    // of the kind with this number, below OP_KINDS

enum rule_kind {
    RULE_FAIL,  // the operation fails with `error`
    RULE_DELAY, // it takes `delay_ns` longer
    RULE_LIE,   // a sync is answered well and nothing has become durable
    RULE_CUT,   // the power goes while it is carried out: it may have happened, in parts
};

enum { RULES_MAX = 16, RULE_PATH_MAX = 128 };

typedef struct Rule {
    enum rule_kind kind;
    unsigned ops;
    char path[RULE_PATH_MAX]; // only on paths that contain it; "": on all
    uint64_t after;           // operations that pass before
    uint64_t times;           // then it strikes so often
    int error;
    bool forgets; // a failing sync loses what it should have made durable, as Linux does
    bool tears;   // a failing write has written some of its sectors
    int64_t delay_ns;
    DiskCut cut;
    uint64_t seen, struck;
} Rule;

struct rules {
    Rule at[RULES_MAX];
    size_t n;
    uint64_t counts[OP_KINDS];         // operations
    uint64_t failed, lied, delayed_ns; // by rules
};

// How an operation ends.
typedef struct Verdict {
    int error; // 0: as it is
    bool forgets, tears, lies, cuts;
    int64_t delay_ns;
    DiskCut cut;
} Verdict;

bool rules_add(struct rules *r, const Rule *rule); // false: there are RULES_MAX already
void rules_clear(struct rules *r);                 // all of them; the counts stay

// Counts one operation of one kind on a path, and says what becomes of it.
Verdict rules_meet(struct rules *r, unsigned op, const char *path);
