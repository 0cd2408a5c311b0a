// SPDX-License-Identifier: Apache-2.0
#include "store/sim/sim_fiber.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifdef IS_SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 512 << 10, IDLE_MAX = 256 };

// A stack and what the compiler needs to go on there.
struct fiber {
    void *jump[5]; // of __builtin_setjmp
    bool has_begun;
    struct fiber *(*run)(void *arg);
    void *arg;
    char *stack; // NULL: the thread's own
    char *locals;
    void *fake_stack; // the sanitizer's
    const void *bottom;
    size_t bytes;
};

// The thread-local variables of the program: where they are and how they begin.
static struct {
    char *at;
    const char *image;
    size_t bytes, image_bytes;
} locals;

// Those that have ended wait here to begin again: stacks are dear, most of all under a sanitizer.
static struct fiber *idle[IDLE_MAX];
static size_t idle_count;
static struct fiber *here; // that runs
static struct fiber *left; // that ran before

static int find_locals(struct dl_phdr_info *info, size_t bytes, void *self)
{
    (void)bytes;
    (void)self;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_TLS || info->dlpi_tls_data == NULL)
            continue;
        locals.at = info->dlpi_tls_data;
        locals.bytes = p->p_memsz;
        locals.image = (const char *)(uintptr_t)(info->dlpi_addr + p->p_vaddr);
        locals.image_bytes = p->p_filesz;
    }
    return 1; // the program comes first, and libraries are not asked
}

static struct fiber *fiber_new(void)
{
    if (locals.at == NULL)
        dl_iterate_phdr(find_locals, NULL);
    struct fiber *f = xalloc(sizeof *f);
    f->locals = xalloc(locals.bytes);
    return f;
}

struct fiber *fiber_self(void)
{
    here = fiber_new();
    here->has_begun = true;
    return here;
}

static struct fiber *fiber_with_stack(void)
{
    struct fiber *f = fiber_new();
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(p != MAP_FAILED && mprotect(p, guard, PROT_NONE) == 0);
    f->stack = p + guard;
    f->bottom = f->stack;
    f->bytes = STACK_BYTES;
    return f;
}

struct fiber *fiber_open(struct fiber *(*run)(void *arg), void *arg)
{
    struct fiber *f = idle_count > 0 ? idle[--idle_count] : fiber_with_stack();
    f->run = run;
    f->arg = arg;
    if (locals.bytes > 0) {
        memset(f->locals, 0, locals.bytes);
        memcpy(f->locals, locals.image, locals.image_bytes);
    }
    return f;
}

void fiber_close(struct fiber *f)
{
    if (f != NULL && f->stack != NULL) {
        CHECK(idle_count < IDLE_MAX);
        idle[idle_count++] = f;
    } else if (f != NULL) {
        free(f->locals);
        free(f);
    }
}

// ---- Switching

static void arrive(void)
{
#ifdef IS_SANITIZED
    const void *bottom = NULL;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &bytes);
    left->bottom = bottom;
    left->bytes = bytes;
#endif
    if (locals.bytes > 0)
        memcpy(locals.at, here->locals, locals.bytes);
}

static void depart(struct fiber *from, struct fiber *to)
{
    if (locals.bytes > 0)
        memcpy(from->locals, locals.at, locals.bytes);
    left = from;
    here = to;
#ifdef IS_SANITIZED
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#endif
}

static void begin(void)
{
    arrive();
    while (true)
        fiber_switch(here, here->run(here->arg));
}

// Never inlined: the jump must leave another function than the one that it comes back to. The
// sanitizer would clean the whole stack before a jump; it has been told in a better way.
__attribute__((noinline, no_sanitize("address"))) static void go(struct fiber *to)
{
    if (to->has_begun)
        __builtin_longjmp(to->jump, 1);
    to->has_begun = true;
    static ucontext_t c;
    CHECK(getcontext(&c) == 0);
    c.uc_stack = (stack_t){ .ss_sp = to->stack, .ss_size = STACK_BYTES };
    c.uc_link = NULL;
    makecontext(&c, begin, 0);
    setcontext(&c);
    abort();
}

__attribute__((noinline)) static void stop_and_go(struct fiber *from, struct fiber *to)
{
    if (__builtin_setjmp(from->jump) == 0)
        go(to);
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    depart(from, to);
    stop_and_go(from, to);
    arrive();
}
