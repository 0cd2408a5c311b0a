// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/pages.h"
#include "base/slabs.h"
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, RESERVE = 2 * MIB };

static void set_up(void)
{
    EXPECT_OK(memory_setup(MEMORY_REQUESTS_BYTES_MIN, RESERVE));
}

static void tear_down(void)
{
    memory_fault_set(MEMORY_REQUEST, 0, 0);
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 0);
    memory_fault_set(MEMORY_RESERVE, 0, 0);
    EXPECT_OK(memory_setup(0, 0));
}

static size_t taken(void)
{
    MemoryStats s;
    memory_stats(&s);
    return s.requests_bytes;
}

TEST(large_requests_leave_the_last_of_the_budget_to_small_ones)
{
    set_up();
    size_t max = MEMORY_REQUESTS_BYTES_MIN, large = max - max / 8;
    EXPECT(memory_take(large, large));
    EXPECT(!memory_has_room(MIB) && memory_has_room(1000));
    EXPECT(!memory_take(1, MIB));
    EXPECT(memory_take(max / 8 - 1, 1000));
    EXPECT(!memory_take(2, 1000));
    memory_give(large);
    EXPECT(!memory_take(large, large)); // not beside what the small ones hold
    memory_give(max / 8 - 1);
    EXPECT(memory_take(large, large));
    memory_give(large);
    EXPECT_INT(0, taken());
    tear_down();
}

TEST(being_refused_is_remembered_until_half_of_the_budget_is_free)
{
    MemoryStats s;
    set_up();
    EXPECT(memory_take(40 * MIB, 40 * MIB) && !memory_take(40 * MIB, 40 * MIB));
    memory_stats(&s);
    EXPECT(s.refusing);
    memory_give(MIB);
    memory_stats(&s);
    EXPECT(s.refusing);
    memory_give(39 * MIB);
    memory_stats(&s);
    EXPECT(!s.refusing);
    tear_down();
}

TEST(an_arena_of_a_request_counts_all_but_its_first_block)
{
    set_up();
    struct arena *r = arena_open_request();
    EXPECT(r != NULL);
    arena_alloc(r, 100, 8);
    EXPECT_INT(0, taken());
    EXPECT(arena_try(r, 3 * MIB, 8) != NULL);
    EXPECT(taken() >= 3 * MIB && taken() == arena_bytes(r) - 8192);
    EXPECT(arena_try(r, 60 * MIB, 8) == NULL);
    EXPECT(arena_alloc(r, 64 * MIB - 4096, 8) != NULL); // not asked: counted all the same
    EXPECT(arena_try(r, MIB, 8) == NULL);
    EXPECT_INT(taken(), arena_bytes(r) - 8192);
    arena_reset(r);
    EXPECT_INT(0, taken());
    EXPECT(arena_try(r, MIB, 8) != NULL);
    arena_close(r);
    EXPECT_INT(0, taken());
    tear_down();
}

TEST(an_arena_that_was_refused_goes_on_as_before)
{
    set_up();
    struct arena *r = arena_open_request();
    char *before = arena_alloc(r, 10, 1);
    before[9] = 'x';
    memory_fault_set(MEMORY_REQUEST, 0, UINT64_MAX);
    EXPECT(arena_try(r, 20000, 8) == NULL);
    EXPECT(arena_try(r, 100, 8) != NULL);     // there is room in its block
    EXPECT(arena_alloc(r, 20000, 8) != NULL); // may not be refused
    memory_fault_set(MEMORY_REQUEST, 0, 0);
    EXPECT(arena_try(r, 20000, 8) != NULL && before[9] == 'x');
    arena_close(r);
    EXPECT_INT(0, taken());
    memory_fault_set(MEMORY_REQUEST, 0, 1);
    EXPECT(arena_open_request() == NULL);
    memory_fault_set(MEMORY_REQUEST, 1, 1);
    EXPECT(arena_open_request() == NULL);
    tear_down();
}

TEST(a_buffer_that_finds_no_memory_keeps_what_it_has_and_says_so)
{
    set_up();
    struct buf b;
    buf_init_request(&b, 0);
    buf_add(&b, S("begun"));
    EXPECT(!buf_reserve(&b, 60 * MIB));
    buf_add(&b, S(" and lost"));
    EXPECT_ERR(ERR_MEMORY, buf_err(&b));
    EXPECT_STR(S("begun"), buf_str(&b));
    buf_clear(&b);
    EXPECT(buf_reserve(&b, 30 * MIB));
    EXPECT_OK(buf_err(&b));
    EXPECT(taken() >= 30 * MIB);
    buf_done(&b);
    EXPECT_INT(0, taken());
    memory_fault_set(MEMORY_REQUEST, 0, UINT64_MAX);
    EXPECT(buf_reserve(&b, 1000)); // small ones are not asked
    EXPECT(!buf_reserve(&b, MIB));
    EXPECT_INT(0, taken());
    buf_done(&b);
    tear_down();
}

TEST(pieces_of_pages_have_few_sizes_and_are_used_again)
{
    size_t before = 0;
    for (size_t pages = 1; pages <= 3000; pages++) {
        size_t bytes = pages * MEMORY_PAGE_BYTES, room = pages_room(bytes);
        EXPECT(room >= bytes && room <= bytes + bytes / 4 && room % MEMORY_PAGE_BYTES == 0);
        EXPECT(room >= before && pages_room(room) == room && pages_room(bytes - 1) <= room);
        before = room;
    }
    struct pages_kept k = { .bytes_max = 16 << 20 };
    uint8_t *first = pages_get(9 << 12);
    EXPECT(pages_take(&k, 9 << 12) == NULL);
    pages_give(&k, first, 9 << 12);
    EXPECT_INT(pages_room(9 << 12), k.bytes);
    EXPECT(pages_take(&k, 11 << 12) == NULL);  // of another size
    EXPECT(pages_take(&k, 10 << 12) == first); // of the same
    pages_give(&k, first, 9 << 12);
    size_t near = 0;
    EXPECT(pages_take_near(&k, 11 << 12, &near) == NULL); // none is smaller
    EXPECT(pages_take_near(&k, 5 << 12, &near) == NULL);  // nor much larger
    EXPECT(pages_take_near(&k, 7 << 12, &near) == first);
    EXPECT_INT(pages_room(9 << 12), near);
    EXPECT_INT(0, k.bytes);
    EXPECT_INT(0, k.bytes);
    memset(first, 1, pages_room(9 << 12));
    pages_give(&k, first, 10 << 12);
    for (size_t i = 0; i < 100; i++) // no more are kept than may be
        pages_give(&k, pages_get(1 << 20), 1 << 20);
    EXPECT(k.bytes <= k.bytes_max && k.bytes > k.bytes_max / 2);
    pages_give(&k, pages_get(64 << 20), 64 << 20);
    EXPECT(k.bytes <= k.bytes_max);
    pages_drop(&k);
    EXPECT(pages_take(&k, 1 << 20) == NULL);
}

static void *cut(struct slabs *s, size_t bytes, struct slab **ret_of)
{
    uint8_t *p = slabs_take(s, bytes, ret_of);
    if (p == NULL) {
        struct slab *slab = slab_new();
        EXPECT(slab != NULL);
        slabs_add(s, slab);
        p = slabs_take(s, bytes, ret_of);
    }
    EXPECT(p != NULL && (uintptr_t)p % MEMORY_PAGE_BYTES == 0);
    p[0] = p[bytes - 1] = 1;
    return p;
}

TEST(a_slab_is_used_again_when_all_of_its_pieces_came_back)
{
    enum { PIECE = SLAB_PIECE_BYTES_MOST - 100, PIECES = SLAB_BYTES / SLAB_PIECE_BYTES_MOST };
    struct slabs s = { .free_max = 1 };
    struct slab *of[3 * PIECES];
    uint8_t *at[3 * PIECES];
    EXPECT(slabs_take(&s, PIECE, &of[0]) == NULL); // there is none yet
    for (size_t i = 0; i < (size_t)3 * PIECES; i++)
        at[i] = cut(&s, PIECE, &of[i]);
    EXPECT(of[0] == of[PIECES - 1] && of[0] != of[PIECES] && of[PIECES] != of[2 * PIECES]);
    EXPECT(at[1] == at[0] + slabs_room(PIECE));
    for (size_t i = PIECES; i-- > 1;) // in whatever order
        slabs_give(&s, of[i], at[i], PIECE);
    EXPECT_INT(0, s.free_count);
    struct slab *again;
    EXPECT(slabs_take(&s, PIECE, &again) == NULL); // one is still held
    slabs_give(&s, of[0], at[0], PIECE);
    EXPECT_INT(1, s.free_count);
    EXPECT(cut(&s, PIECE, &again) == at[0] && again == of[0]);
    EXPECT_INT(0, s.free_count);
    for (size_t i = PIECES; i < (size_t)3 * PIECES; i++) // no more are kept than may be
        slabs_give(&s, of[i], at[i], PIECE);
    EXPECT_INT(1, s.free_count);
    slabs_give(&s, again, at[0], PIECE);
    EXPECT(cut(&s, PIECE, &again) == at[0]); // from its beginning: nobody has any of it
    slabs_give(&s, again, at[0], PIECE);
    slabs_done(&s);
}

TEST(a_buffer_keeps_its_bytes_through_every_size_and_its_maximum)
{
    for (size_t max = 200 << 10; max <= 3 << 20; max += 123457) {
        struct buf b;
        buf_init(&b, max);
        for (size_t i = 0; i < max; i++)
            buf_add_byte(&b, (char)(i * 7 + i / 1000));
        EXPECT_INT(max, b.n);
        EXPECT_OK(buf_err(&b));
        buf_add_byte(&b, 'x');
        EXPECT_ERR(ERR_LIMIT, buf_err(&b));
        for (size_t i = 0; i < max; i += 101)
            EXPECT(b.p[i] == (char)(i * 7 + i / 1000));
        buf_done(&b);
    }
}

TEST(pieces_that_were_given_back_longest_ago_go_first)
{
    enum { PIECE = 1 << 20, SMALL = 256 << 10 };
    struct pages_kept k = { .bytes_max = 4 * PIECE };
    uint8_t *small[4], *large[3];
    for (size_t i = 0; i < 4; i++)
        small[i] = pages_get(SMALL);
    for (size_t i = 0; i < 3; i++)
        large[i] = pages_get(PIECE);
    for (size_t i = 0; i < 4; i++)
        pages_give(&k, small[i], SMALL);
    for (size_t i = 0; i < 3; i++)
        pages_give(&k, large[i], PIECE);
    EXPECT_INT(k.bytes_max, k.bytes); // full
    EXPECT(pages_take(&k, SMALL) == small[3]);
    pages_give(&k, small[3], SMALL);
    pages_give(&k, pages_get(PIECE / 2), PIECE / 2); // two of the small ones go for it
    EXPECT_INT(k.bytes_max, k.bytes);
    EXPECT(pages_take(&k, SMALL) == small[3] && pages_take(&k, SMALL) == small[2]);
    EXPECT(pages_take(&k, SMALL) == NULL);
    pages_give(&k, small[2], SMALL);
    pages_give(&k, small[3], SMALL);
    uint8_t *large_one = pages_take(&k, PIECE);
    EXPECT(large_one == large[2]);
    pages_give(&k, large_one, PIECE);
    pages_give(&k, pages_get(2 * PIECE), 2 * PIECE);
    EXPECT(pages_take(&k, PIECE) == large[2] && pages_take(&k, PIECE) == NULL);
    free(large[2]);
    pages_drop(&k);
    EXPECT(k.bytes == 0 && k.oldest == NULL && k.newest == NULL);
}

TEST(large_memory_is_used_again_by_the_next_one)
{
    memory_drop_large();
    struct buf b = { 0 };
    EXPECT(buf_reserve(&b, 3 << 20));
    char *first = b.p;
    buf_done(&b);
    EXPECT(buf_reserve(&b, (3 << 20) - 100));
    EXPECT(b.p == first);
    buf_done(&b);
    struct arena *one = arena_open();
    char *in = arena_alloc(one, 5 << 20, 1);
    arena_close(one);
    one = arena_open();
    EXPECT(arena_alloc(one, 5 << 20, 1) == in && in[0] == 0 && in[(5 << 20) - 1] == 0);
    memset(in, 1, 5 << 20);
    arena_close(one);
    memory_drop_large();
}

TEST(the_reserve_is_given_up_for_what_cannot_be_refused_and_taken_again)
{
    MemoryStats s;
    set_up();
    memory_stats(&s);
    uint64_t before = s.releases;
    EXPECT(!memory_is_short());
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 1);
    void *p = xalloc(100), *q = NULL;
    EXPECT_INT(1, memory_fault_seen(MEMORY_BOOKKEEPING));
    memory_stats(&s); // asking takes it again: the system has memory
    EXPECT(s.releases == before + 1 && !s.reserve_released);
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 3);
    p = xrealloc(p, 200);
    q = memory_get_aligned(4096, 8192);
    EXPECT((uintptr_t)q % 4096 == 0);
    arena_alloc(a, 100, 8);
    free(p);
    free(q);
    EXPECT(!memory_is_short());
    EXPECT(memory_take(MIB, MIB));
    memory_give(MIB);
    memory_tell();
    tear_down();
}

TEST(while_the_reserve_is_gone_nothing_of_a_requests_size_is_given)
{
    set_up();
    memory_fault_set(MEMORY_RESERVE, 0, UINT64_MAX);
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 1);
    free(xalloc(100));
    memory_tell();
    EXPECT(memory_is_short() && memory_try(100) == NULL && arena_open_request() == NULL);
    EXPECT(!memory_take(100, MIB) && !memory_has_room(MIB));
    EXPECT(memory_take(100, 100)); // what is small and under way may end
    memory_give(100);
    free(xalloc(100));
    memory_fault_set(MEMORY_RESERVE, 0, 0);
    EXPECT(!memory_is_short() && memory_take(100, MIB));
    memory_give(100);
    memory_tell();
    tear_down();
}

TEST(what_may_be_refused_is_refused_by_the_system_too)
{
    set_up();
    memory_fault_set(MEMORY_REQUEST, 0, UINT64_MAX);
    Str copy = S("unchanged");
    void *p = xalloc(10);
    EXPECT(memory_try(10) == NULL && memory_try_zeroed(10) == NULL);
    EXPECT(memory_try_aligned(4096, 4096) == NULL && memory_try_resize(p, 20) == NULL);
    AUTO(arena) r = arena_open();
    EXPECT_ERR(ERR_MEMORY, str_dup_try(r, S("text"), &copy));
    EXPECT_STR(S("unchanged"), copy);
    EXPECT_INT(6, memory_fault_seen(MEMORY_REQUEST)); // the copy asked for an ordinary block first
    free(p);
    tear_down();
}
