/* SPDX-License-Identifier: MIT */

/* The first frame of every greenlet. The switch jumps here with the context in
 * rsi. The return address is marked undefined and rbp is zero, so that gdb,
 * backtrace(3), libunwind, perf and the unwinding of pthread_exit all end here;
 * with the CFI but without the mark they run into garbage. */

#if defined(__x86_64__)
    .text
    .p2align 4
    .globl gev__entry
    .hidden gev__entry
    .type gev__entry, @function
gev__entry:
    .cfi_startproc
    .cfi_undefined rip
    endbr64
    xorl %ebp, %ebp
    movq %rsi, %rdi
    call gev__greenlet_main
    ud2
    .cfi_endproc
    .size gev__entry, . - gev__entry
#endif

    .section .note.GNU-stack, "", @progbits
