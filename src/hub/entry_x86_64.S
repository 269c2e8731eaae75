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

/* int gev__jump(struct gev__context *from, struct gev__context *to); see
 * context_x86_64.h for the offsets and the reason. Whoever switches back leaves
 * `to`, which is our own context then, in rsi. */
    .p2align 4
    .globl gev__jump
    .hidden gev__jump
    .type gev__jump, @function
gev__jump:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    leaq 1f(%rip), %rax
    movq %rax, 0(%rdi)
    movq %rsp, 8(%rdi)
    movq %rbp, 16(%rdi)
    movq 16(%rsi), %rbp
    movq 8(%rsi), %rsp
    jmp *0(%rsi)
    .p2align 3
1:
    endbr64
    movq 24(%rsi), %rax
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    notrack jmp *%rcx
    .cfi_endproc
    .size gev__jump, . - gev__jump
#endif

    .section .note.GNU-stack, "", @progbits
