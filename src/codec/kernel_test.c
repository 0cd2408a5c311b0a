// SPDX-License-Identifier: Apache-2.0
#include "codec/kernel_test.h"

#include <sys/mman.h>
#include <unistd.h>

void with_each_kernel(struct kernel_choice *c, struct arena *a, void (*check)(struct arena *a))
{
    for (size_t i = 0; i < c->count; i++) {
        if (!c->table[i]->supported())
            continue;
        test_ran(c->table[i]->name);
        kernel_use(c, c->table[i]);
        check(a);
    }
    kernel_use(c, NULL);
}

uint64_t noise_next(uint64_t *state) // xorshift64
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t whole_pages(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page;
}

char *guarded_noise(size_t n, uint64_t seed)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = whole_pages(n);
    char *p = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(mprotect(p + pages, page, PROT_NONE) == 0);
    uint64_t state = seed * 2 + 1;
    for (size_t i = 0; i < n; i++)
        p[pages - n + i] = (char)(noise_next(&state) >> 32);
    return p + pages - n;
}

void guarded_free(char *p, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = whole_pages(n);
    CHECK(munmap(p + n - pages, pages + page) == 0);
}

static bool never(void)
{
    return false;
}

TEST(the_best_form_that_the_processor_supports_is_taken_and_kept)
{
    static const struct kernel best = { "best", never }, good = { "good", processor_always },
                               scalar = { "scalar", processor_always };
    static const struct kernel *const table[] = { &best, &good, &scalar };
    struct kernel_choice c = { table, COUNT_OF(table), NULL };
    EXPECT(kernel_get(&c) == &good);
    EXPECT(atomic_load(&c.chosen) == &good && kernel_get(&c) == &good);
    kernel_use(&c, &scalar);
    EXPECT(kernel_get(&c) == &scalar);
    kernel_use(&c, NULL);
    EXPECT(kernel_get(&c) == &good);
}
