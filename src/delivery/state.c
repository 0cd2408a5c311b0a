// SPDX-License-Identifier: Apache-2.0
// What a delivery is doing, for operators.
#include "delivery/delivery_priv.h"

#include <stdlib.h>

// In memory of its own: a delivery may be one of thousands.
void note_add(struct delivery *v, const DeliveryObjectNote *n)
{
    Note note = { .place = xalloc(n->place.n + 1), .is = *n };
    memcpy(note.place, n->place.p, n->place.n);
    note.is.place = str_from(note.place, n->place.n);
    pthread_mutex_lock(&v->d->lock);
    Note *to = &v->notes[v->note_next++ % NOTES_KEPT];
    char *old = to->place;
    *to = note;
    pthread_mutex_unlock(&v->d->lock);
    free(old);
}

void error_set(struct delivery *v, Str code, Str text)
{
    char *p = NULL;
    if (code.p != NULL) {
        p = xalloc(code.n + text.n + 1);
        memcpy(p, code.p, code.n);
        if (text.n > 0)
            memcpy(p + code.n, text.p, text.n);
    }
    int64_t now_ms = delivery_now_ms(v->d);
    pthread_mutex_lock(&v->d->lock);
    char *old = v->error_text;
    v->error_text = p;
    v->last_code = p != NULL ? str_from(p, code.n) : (Str){ 0 };
    v->last_error = p != NULL ? str_from(p + code.n, text.n) : (Str){ 0 };
    v->last_error_ms = now_ms;
    pthread_mutex_unlock(&v->d->lock);
    free(old);
}

void notes_done(struct delivery *v)
{
    for (size_t i = 0; i < NOTES_KEPT; i++)
        free(v->notes[i].place);
    free(v->error_text);
}

static void give_notes(struct delivery *v, struct arena *a, DeliveryState *ret)
{
    size_t n = MIN(v->note_next, (size_t)NOTES_KEPT);
    DeliveryObjectNote *notes = arena_new(a, DeliveryObjectNote, n + 1);
    for (size_t i = 0; i < n; i++) {
        notes[i] = v->notes[(v->note_next - 1 - i) % NOTES_KEPT].is;
        notes[i].place = str_dup(a, notes[i].place);
    }
    ret->notes = notes;
    ret->note_count = n;
}

static uint64_t at_least_0(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

// What is read goes from the first to the second, and back when it must be read again: seen on its
// way it counts twice, never not at all, for 0 says that all was delivered.
static uint64_t backlog_of(_Atomic int64_t *pending, _Atomic int64_t *held)
{
    int64_t before = atomic_load(pending), read = atomic_load(held), after = atomic_load(pending);
    return at_least_0(MAX(before, after) + read);
}

void delivery_state(struct delivery *v, struct arena *a, DeliveryState *ret)
{
    struct lane *l = &v->main;
    *ret = (DeliveryState){ 0 };
    ret->backlog_records = backlog_of(&l->pending_records, &l->held_records);
    ret->backlog_bytes = backlog_of(&l->pending_bytes, &l->held_bytes);
    int64_t kept_ms = atomic_load(&l->kept_ms);
    ret->oldest_ms = ret->backlog_records > 0 ? atomic_load(&l->oldest_ms) : 0;
    if (kept_ms > 0 && (ret->oldest_ms == 0 || kept_ms < ret->oldest_ms))
        ret->oldest_ms = kept_ms;
    ret->size_bytes = atomic_load(&l->size_bytes);
    ret->attempts = atomic_load(&l->attempts);
    pthread_mutex_lock(&v->d->lock);
    ret->due_ms = l->heap_at != 0 ? l->due_ms : 0;
    if (v->last_code.p != NULL) {
        ret->last_code = str_dup(a, v->last_code);
        ret->last_error = str_dup(a, v->last_error);
        ret->last_error_ms = v->last_error_ms;
    }
    give_notes(v, a, ret);
    pthread_mutex_unlock(&v->d->lock);
}

struct delivery_meters *delivery_meters(struct delivery *v)
{
    return &v->meters;
}
