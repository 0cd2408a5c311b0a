// SPDX-License-Identifier: Apache-2.0
#include "os/loop.h"
#include "base/arena.h"
#include "os/io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

// Events fetched by one epoll_wait: enough that a busy loop pays for few calls, few enough that
// loop_unwatch may look through them all.
enum { LOOP_EVENTS_MAX = 128, LOOP_SLEEP_MS_MAX = 60000 };

struct loop {
    struct io *io;
    int epoll_fd;
    int wake_fd;
    int64_t now_ns;
    uint64_t turns; // begun

    pthread_mutex_t lock; // of the next four; a leaf
    struct task *first;
    struct task **last;
    bool stopping;
    bool sleeping; // nobody has written to wake_fd since the loop went to sleep

    struct timer **heap; // the earliest first: heap[i] is due no later than heap[2i+1], heap[2i+2]
    size_t timers, heap_cap;

    struct epoll_event events[LOOP_EVENTS_MAX];
    int event_at, event_count; // the next one to be handled, and how many this turn has brought
};

static _Thread_local const struct loop *current;

Err loop_open(struct loop **ret)
{
    return loop_open_with(io_real(), ret);
}

Err loop_open_with(struct io *io, struct loop **ret)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        return fail_os(errno, "no epoll descriptor for a loop");
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = NULL };
    if (wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &wake) != 0) {
        Err e = fail_os(errno, "no event descriptor for a loop");
        if (wake_fd >= 0)
            close(wake_fd);
        close(epoll_fd);
        return e;
    }
    struct loop *l = xalloc(sizeof *l);
    l->io = io;
    l->epoll_fd = epoll_fd;
    l->wake_fd = wake_fd;
    l->last = &l->first;
    l->now_ns = io->mono_ns(io);
    CHECK(pthread_mutex_init(&l->lock, NULL) == 0);
    *ret = l;
    return OK;
}

void loop_close(struct loop *l)
{
    if (l == NULL)
        return;
    CHECK(l->first == NULL);
    close(l->epoll_fd);
    close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
}

bool loop_is_current(const struct loop *l)
{
    return current == l;
}

int64_t loop_now_ns(const struct loop *l)
{
    return l->now_ns;
}

int64_t loop_read_ns(const struct loop *l)
{
    return l->io->mono_ns(l->io);
}

uint64_t loop_turns(const struct loop *l)
{
    return l->turns;
}

// ---- Tasks from other threads.

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    CHECK(n == (ssize_t)sizeof one || errno == EAGAIN); // EAGAIN: it is awake already
}

void loop_post(struct loop *l, struct task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->last = t;
    l->last = &t->next;
    bool asleep = l->sleeping && current != l; // its own thread is awake
    l->sleeping = false;
    pthread_mutex_unlock(&l->lock);
    if (asleep)
        wake(l);
}

void loop_stop(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    bool asleep = l->sleeping && current != l; // its own thread is awake
    l->sleeping = false;
    pthread_mutex_unlock(&l->lock);
    if (asleep)
        wake(l);
}

// Runs what was posted until now; what these tasks post runs in the next turn, so that descriptors
// and timers get their share. Says whether the loop was told to stop before.
static bool run_posted(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct task *t = l->first;
    l->first = NULL;
    l->last = &l->first;
    bool stopping = l->stopping;
    if (stopping)
        l->stopping = false; // so that the loop may be run again
    pthread_mutex_unlock(&l->lock);
    while (t != NULL) {
        struct task *next = t->next; // the task may free its owner or post itself again
        t->run(t);
        t = next;
    }
    return stopping;
}

// A loop that stops runs on until no task is left: what was begun before it may take several, each
// posting the next.
static bool run_tasks(struct loop *l)
{
    if (!run_posted(l))
        return false;
    for (bool more = true; more;) {
        pthread_mutex_lock(&l->lock);
        more = l->first != NULL;
        pthread_mutex_unlock(&l->lock);
        if (more)
            run_posted(l);
    }
    return true;
}

// ---- Timers: a binary heap; each timer knows its place, so that moving and disarming are cheap.

static void heap_set(struct loop *l, size_t i, struct timer *t)
{
    l->heap[i] = t;
    t->heap_at = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct timer *t)
{
    while (i > 0 && l->heap[(i - 1) / 2]->due_ns > t->due_ns) {
        heap_set(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->timers)
            break;
        if (child + 1 < l->timers && l->heap[child + 1]->due_ns < l->heap[child]->due_ns)
            child++;
        if (l->heap[child]->due_ns >= t->due_ns)
            break;
        heap_set(l, i, l->heap[child]);
        i = child;
    }
    heap_set(l, i, t);
}

void loop_arm(struct loop *l, struct timer *t, int64_t due_ns)
{
    if (t->heap_at != 0) {
        size_t i = t->heap_at - 1;
        bool earlier = due_ns < t->due_ns;
        t->due_ns = due_ns;
        if (earlier)
            heap_up(l, i, t);
        else
            heap_down(l, i, t);
        return;
    }
    if (l->timers == l->heap_cap) {
        l->heap_cap = MAX(l->heap_cap * 2, (size_t)64);
        l->heap = xrealloc(l->heap, mul_checked(l->heap_cap, sizeof(struct timer *)));
    }
    t->due_ns = due_ns;
    l->timers++;
    heap_up(l, l->timers - 1, t);
}

void loop_disarm(struct loop *l, struct timer *t)
{
    if (t->heap_at == 0)
        return;
    size_t i = t->heap_at - 1;
    t->heap_at = 0;
    struct timer *moved = l->heap[--l->timers];
    if (moved == t)
        return;
    if (i > 0 && l->heap[(i - 1) / 2]->due_ns > moved->due_ns)
        heap_up(l, i, moved);
    else
        heap_down(l, i, moved);
}

// A timer that is armed again while timers fire waits for the next turn, even if it is due.
static void fire_timers(struct loop *l)
{
    for (size_t left = l->timers; left > 0 && l->timers > 0; left--) {
        struct timer *t = l->heap[0];
        if (t->due_ns > l->now_ns)
            break;
        loop_disarm(l, t);
        t->fire(t);
    }
}

// ---- Descriptors.

static uint32_t to_epoll(unsigned events)
{
    return ((events & LOOP_READ) != 0 ? (uint32_t)EPOLLIN : 0) |
           ((events & LOOP_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0);
}

Err loop_watch(struct loop *l, struct watch *w, int fd, unsigned events)
{
    struct epoll_event e = { .events = to_epoll(events), .data.ptr = w };
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
        return fail_os(errno, "the descriptor cannot be watched");
    w->fd = fd;
    w->events = events;
    return OK;
}

void loop_rewatch(struct loop *l, struct watch *w, unsigned events)
{
    if (w->events == events)
        return;
    struct epoll_event e = { .events = to_epoll(events), .data.ptr = w };
    CHECK(epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0);
    w->events = events;
}

void loop_unwatch(struct loop *l, struct watch *w)
{
    CHECK(epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL) == 0);
    w->events = 0;
    for (int i = l->event_at; i < l->event_count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].events = 0; // already fetched, no longer wanted
}

static void handle_events(struct loop *l)
{
    for (l->event_at = 0; l->event_at < l->event_count;) {
        struct epoll_event *e = &l->events[l->event_at++];
        struct watch *w = e->data.ptr;
        if (e->events == 0)
            continue;
        if (w == NULL) {
            uint64_t count = 0;
            ssize_t n = read(l->wake_fd, &count, sizeof count);
            CHECK(n == (ssize_t)sizeof count || errno == EAGAIN);
            continue;
        }
        bool broken = (e->events & (EPOLLERR | EPOLLHUP)) != 0;
        unsigned ready = (broken || (e->events & EPOLLIN) != 0 ? (unsigned)LOOP_READ : 0) |
                         (broken || (e->events & EPOLLOUT) != 0 ? (unsigned)LOOP_WRITE : 0);
        w->ready(w, ready);
    }
}

// ---- The turn.

static int sleep_ms(const struct loop *l)
{
    if (l->timers == 0)
        return LOOP_SLEEP_MS_MAX;
    int64_t ns = l->heap[0]->due_ns - l->now_ns;
    if (ns <= 0)
        return 0;
    // Rounded up, so that the timer is due when the sleep is over.
    return (int)MIN((ns + 999999) / 1000000, (int64_t)LOOP_SLEEP_MS_MAX);
}

// Whether the loop may sleep; from here on a post writes to the event descriptor.
static bool may_sleep(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->sleeping = l->first == NULL && !l->stopping;
    bool ret = l->sleeping;
    pthread_mutex_unlock(&l->lock);
    return ret;
}

void loop_run(struct loop *l)
{
    CHECK(current == NULL);
    current = l;
    for (;;) {
        l->now_ns = l->io->mono_ns(l->io);
        l->turns++;
        int timeout_ms = may_sleep(l) ? sleep_ms(l) : 0;
        int n = epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS_MAX, timeout_ms);
        CHECK(n >= 0 || errno == EINTR);
        l->now_ns = l->io->mono_ns(l->io);
        l->event_count = MAX(n, 0);
        handle_events(l);
        fire_timers(l);
        if (run_tasks(l))
            break;
    }
    current = NULL;
}
