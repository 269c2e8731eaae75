/* SPDX-License-Identifier: MIT */

/* The first frame of every greenlet; see entry_x86_64.S. The switch jumps here
 * with the context in x1. `hint 36` is `bti j`. */

#if defined(__aarch64__)
    .text
    .p2align 4
    .globl gev__entry
    .hidden gev__entry
    .type gev__entry, %function
gev__entry:
    .cfi_startproc
    .cfi_undefined x30
    hint 36
    mov x29, xzr
    mov x30, xzr
    mov x0, x1
    bl gev__greenlet_main
    brk #1
    .cfi_endproc
    .size gev__entry, . - gev__entry
#endif

    .section .note.GNU-stack, "", %progbits
