// SPDX-License-Identifier: Apache-2.0
#include "hub/commits.h"
#include "base/arena.h"
#include "store/log.h"

#include <sched.h>
#include <stdlib.h>

enum {
    SMALL_BYTES = 64 << 10,
    HOLD_PUTS_MAX = 16,    // more in one commit save little
    SPENT_SHARE = 8,       // of the newest commit in the mean
    SKIPPED_MAX = 15,      // commits that do not wait, after several that did so in vain
    HOLD_TURNS_MAX = 4000, // if the time stands still
};
#define SPENT_NS_MAX INT64_C(1000000) // a longer commit counts as this: the disk has paused

// One loop's, and touched by its thread alone.
struct committer {
    struct task task;
    struct log *log;
    struct loop *loop;
    bool is_posted, is_committing;
    struct task *first, **last; // to be run when the commit under way is over

    unsigned waiting;     // puts that the next commit has so far
    int64_t since_ns;     // when the first of them came
    unsigned held_turns;  // how often it was put off since
    unsigned had, beside; // puts of the last commit, and those that came while it was made
    uint64_t turn;        // the loop's, in which it was made
    int64_t spent_ns;     // how long commits take, about
    unsigned skipped, to_be_skipped; // commits that do not wait: at the next failure, and now
};

struct commits {
    size_t n;
    struct committer at[];
};

// Clients that put one record after the other come back soon after they have been answered: as many
// as the last commit had and found waiting behind it. A commit with all of them costs as much as
// one with the first few, so it is worth waiting for them, but no longer than it takes itself.
static bool is_worth_waiting(struct committer *c)
{
    unsigned expected = MIN(c->had + c->beside, (unsigned)HOLD_PUTS_MAX);
    if (c->waiting >= expected) {
        if (c->held_turns > 0)
            c->skipped = 0;
        return false;
    }
    if (c->to_be_skipped > 0) {
        c->to_be_skipped--;
        return false;
    }
    bool is_soon = loop_read_ns(c->loop) - c->since_ns < c->spent_ns;
    if (is_soon && c->held_turns++ < HOLD_TURNS_MAX)
        return true;
    if (c->held_turns > 0 && c->waiting < expected - expected / 4) { // these have other habits
        c->skipped = MIN(2 * c->skipped + 1, (unsigned)SKIPPED_MAX);
        c->to_be_skipped = c->skipped;
    }
    return false;
}

static void note_time(struct committer *c, int64_t spent_ns)
{
    int64_t spent = MIN(spent_ns, SPENT_NS_MAX);
    c->spent_ns = c->spent_ns == 0 ? spent : c->spent_ns + (spent - c->spent_ns) / SPENT_SHARE;
}

static void commit(struct task *t)
{
    struct committer *c = (struct committer *)t;
    if (is_worth_waiting(c)) {
        sched_yield(); // perhaps it is the clients who have no processor
        loop_post(c->loop, t);
        return;
    }
    c->is_posted = false;
    c->had = c->waiting;
    c->waiting = c->beside = c->held_turns = 0;
    c->is_committing = true;
    int64_t before = loop_read_ns(c->loop);
    log_commit(c->log);
    note_time(c, loop_read_ns(c->loop) - before);
    c->turn = loop_turns(c->loop);
    c->is_committing = false;
    struct task *list = c->first;
    c->first = NULL;
    c->last = &c->first;
    for (struct task *next; list != NULL; list = next) {
        next = list->next;
        list->run(list);
    }
}

void commits_open(struct log *log, struct loop *const *loops, size_t n, struct commits **ret)
{
    struct commits *c = xalloc(sizeof *c + mul_checked(n, sizeof(struct committer)));
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        c->at[i] = (struct committer){ .task.run = commit, .log = log, .loop = loops[i] };
        c->at[i].last = &c->at[i].first;
    }
    *ret = c;
}

void commits_close(struct commits *c)
{
    free(c);
}

// NULL: this is not its thread.
static struct committer *find(struct commits *c, const struct loop *l)
{
    if (!loop_is_current(l))
        return NULL;
    for (size_t i = 0; i < c->n; i++)
        if (c->at[i].loop == l)
            return &c->at[i];
    return NULL;
}

// What is large is written by the log's threads anyway, and they may as well begin at once.
static bool is_small(const struct log_append *a)
{
    size_t bytes = 0;
    for (size_t i = 0; i < a->n && bytes <= SMALL_BYTES; i++)
        bytes += a->records[i].data.n;
    return bytes <= SMALL_BYTES;
}

bool commits_soon(struct commits *c, struct loop *l, const struct log_append *a)
{
    struct committer *at = find(c, l);
    if (at == NULL || !is_small(a))
        return false;
    if (!at->is_posted) {
        at->is_posted = true;
        at->since_ns = loop_read_ns(l);
        loop_post(l, &at->task);
    }
    at->waiting++;
    at->beside += loop_turns(l) == at->turn + 1; // before its client could have an answer
    return true;
}

void commits_then(struct commits *c, struct loop *l, struct task *t)
{
    struct committer *at = find(c, l);
    if (at == NULL || !at->is_committing) {
        loop_post(l, t);
        return;
    }
    t->next = NULL;
    *at->last = t;
    at->last = &t->next;
}
