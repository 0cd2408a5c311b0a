# SPDX-License-Identifier: Apache-2.0
# What the emulated machine runs when it is switched on, in place of a BIOS: 64 KiB that end at 4 GiB and
# at 1 MiB. From real mode straight to long mode, with the tables that avx512.py has put into memory; then to
# the small kernel, which is in memory too.
        .set    TABLES, 0x100000                # avx512.py: TABLES
        .set    KERNEL, 0x180000                # avx512.py: KERNEL
        .set    HEAP, 0x2000000                 # kernel.c: HEAP; the image ends before it
        .set    HERE, 0xf0000                   # where this is seen below 1 MiB

        .code16
base:
start:  cli
        lgdtl   %cs:(gdt_place - base)
        mov     $0x406a0, %eax                  # PAE, PGE, OSFXSR, OSXMMEXCPT, OSXSAVE
        mov     %eax, %cr4
        mov     $TABLES, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx               # EFER
        mov     $0x901, %eax                    # SYSCALL, long mode, no-execute
        xor     %edx, %edx
        wrmsr
        mov     $0x80010033, %eax               # paging, write protection, FPU, protected mode
        mov     %eax, %cr0
        ljmpl   $8, $(HERE + (long_mode - base))

        .code64
long_mode:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %ecx, %ecx
        xor     %edx, %edx
        mov     $0xe7, %eax                     # x87, SSE, AVX, and the three states of AVX-512
        xsetbv
        # Bochs gives its blocks of memory out in the order of their first use, and has filled them as if
        # that were the order of their addresses.
        mov     $TABLES, %edi
touch:  mov     (%rdi), %al
        add     $0x20000, %edi
        cmp     $HEAP, %edi
        jb      touch
        mov     $KERNEL, %eax
        jmp     *%rax

        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff              # 64-bit code
        .quad   0x00cf93000000ffff              # data
gdt_place:
        .word   23
        .long   HERE + (gdt - base)

        .org    0xfff0                          # the first instruction
        .code16
        ljmp    $0xf000, $(start - base)
        .org    0xffff
        .byte   0
