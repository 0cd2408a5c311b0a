// SPDX-License-Identifier: Apache-2.0
// The smallest kernel that a static program of Linux can run its tests on: memory, output, the end.
// It and the program share one privilege level and one address space, so a system call is a jump.
// There are no interrupts; a fault, such as the touch of a page that was taken away, ends the
// machine.
#include <stdint.h>

enum {
    STACK = 0x1f0000,   // of this kernel; where avx512.py puts the rest
    START = 0x3f0000,   // argc, arguments, environment, auxiliary vector: what a program finds
    ENTRY = 0x3ffff8,   // holds where the program begins
    HEAP = 0x2000000,   // brk
    MAPPED = 0x4000000, // mmap: pages of 4 KiB, whose entries are one array
    ENTRIES = 0x110000,
    PAGES = 0x4000000 / 4096,
};

#define ENOSYS 38
#define ENOMEM 12
#define PRESENT 3 // and writable

static uint64_t heap_end = HEAP;
static uint8_t taken[PAGES];

// The first instructions: the handler of system calls is told, and the program entered.
__asm__(".section .text.first, \"ax\"\n"
        ".globl first\n"
        "first:\n"
        "    mov $0x1f0000, %esp\n"
        "    call ready\n"
        "    xor %edx, %edx\n"
        "    mov $0x3f0000, %esp\n"
        "    mov 0x3ffff8, %rax\n"
        "    jmp *%rax\n"
        // All registers but rax, rcx and r11 are the caller's, and so is what lies below its stack.
        "system_call:\n"
        "    mov %rsp, caller_stack(%rip)\n"
        "    mov $0x1f0000, %esp\n"
        "    push %rcx\n"
        "    push %rdi\n"
        "    push %rsi\n"
        "    push %rdx\n"
        "    push %r8\n"
        "    push %r9\n"
        "    push %r10\n"
        "    sub $8, %rsp\n"
        "    mov %r10, %rcx\n"
        "    mov %rax, %r8\n"
        "    call answer\n"
        "    add $8, %rsp\n"
        "    pop %r10\n"
        "    pop %r9\n"
        "    pop %r8\n"
        "    pop %rdx\n"
        "    pop %rsi\n"
        "    pop %rdi\n"
        "    pop %rcx\n"
        "    mov caller_stack(%rip), %rsp\n"
        "    jmp *%rcx\n"
        ".text\n");

uint64_t caller_stack;
extern char system_call[];
void ready(void);
int64_t answer(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t number);

static void set_msr(uint32_t which, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(which), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

void ready(void)
{
    set_msr(0xc0000081, UINT64_C(8) << 32); // STAR: the code segment of a system call
    set_msr(0xc0000082, (uint64_t)(uintptr_t)system_call); // LSTAR
    set_msr(0xc0000084, 0x600);                            // FMASK: no interrupts, upwards
}

static void out(uint16_t port, char c)
{
    __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"(port));
}

static void print(const char *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        out(0xe9, p[i]);
}

struct part {
    const char *p;
    uint64_t n;
};

static int64_t print_parts(const struct part *parts, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        print(parts[i].p, parts[i].n);
        sum += parts[i].n;
    }
    return (int64_t)sum;
}

static void print_number(const char *before, uint64_t before_bytes, uint64_t number)
{
    char digits[20];
    int at = 20;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    print(before, before_bytes);
    print(digits + at, (uint64_t)(20 - at));
    print("\n", 1);
}

static void end(uint64_t status)
{
    print_number("# ended with status ", 20, status);
    for (const char *p = "Shutdown"; *p != 0; p++)
        out(0x8900, *p);
    for (;;)
        __asm__ volatile("hlt");
}

// ---- Memory

static void entry_set(uint64_t page, uint64_t bits)
{
    uint64_t address = MAPPED + page * 4096;
    ((volatile uint64_t *)(uintptr_t)ENTRIES)[page] = address | bits;
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static uint64_t pages_of(uint64_t bytes)
{
    return (bytes + 4095) / 4096;
}

static int64_t map(uint64_t bytes)
{
    uint64_t n = pages_of(bytes), run = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        run = taken[page] ? 0 : run + 1;
        if (run < n)
            continue;
        for (uint64_t i = page + 1 - n; i <= page; i++) {
            taken[i] = 1;
            entry_set(i, PRESENT);
        }
        uint64_t *p = (uint64_t *)(uintptr_t)(MAPPED + (page + 1 - n) * 4096);
        for (uint64_t i = 0; i < n * 512; i++)
            p[i] = 0;
        return (int64_t)(uintptr_t)p;
    }
    return -ENOMEM;
}

static void unmap(uint64_t address, uint64_t bytes)
{
    for (uint64_t i = 0; i < pages_of(bytes); i++) {
        entry_set((address - MAPPED) / 4096 + i, 0);
        taken[(address - MAPPED) / 4096 + i] = 0;
    }
}

static void protect(uint64_t address, uint64_t bytes, uint64_t protection)
{
    if (address < MAPPED) // the program's own constants: left writable
        return;
    for (uint64_t i = 0; i < pages_of(bytes); i++)
        entry_set((address - MAPPED) / 4096 + i, protection != 0 ? PRESENT : 0);
}

static int64_t heap_move(uint64_t to)
{
    if (to >= HEAP && to < MAPPED)
        heap_end = to;
    return (int64_t)heap_end;
}

// ---- System calls, by their numbers on x86-64

int64_t answer(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t number)
{
    (void)d;
    switch (number) {
    case 1: // write
        print((const char *)(uintptr_t)b, c);
        return (int64_t)c;
    case 20: // writev
        return print_parts((const struct part *)(uintptr_t)b, c);
    case 9: // mmap
        return map(b);
    case 10: // mprotect
        protect(a, b, c);
        return 0;
    case 11: // munmap
        unmap(a, b);
        return 0;
    case 12: // brk
        return heap_move(a);
    case 158: // arch_prctl: the register of thread-local memory
        set_msr(0xc0000100, b);
        return 0;
    case 60:
    case 231: // exit, exit_group
        end(a);
        return 0;
    case 234: // tgkill: by abort
        end(128 + c);
        return 0;
    case 13:  // rt_sigaction
    case 14:  // rt_sigprocmask
    case 28:  // madvise
    case 39:  // getpid
    case 186: // gettid
    case 202: // futex
    case 218: // set_tid_address
    case 228: // clock_gettime
    case 273: // set_robust_list
        return 0;
    case 5:
    case 16:
    case 89:
    case 262:
    case 267:
    case 302:
    case 318:
    case 334: // fstat, ioctl, readlink, newfstatat, readlinkat, prlimit64, getrandom, rseq: a
              // program does without
        return -ENOSYS;
    default:
        print_number("# unknown system call ", 22, number);
        return -ENOSYS;
    }
}
