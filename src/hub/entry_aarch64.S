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

/* int gev__jump(struct gev__context *from, struct gev__context *to); see
 * context_aarch64.h for the offsets. Whoever switches back leaves `to`, which
 * is our own context then, in x1. */
    .p2align 4
    .globl gev__jump
    .hidden gev__jump
    .type gev__jump, %function
gev__jump:
    .cfi_startproc
    hint 34
    stp x29, x30, [sp, #-160]!
    .cfi_def_cfa_offset 160
    .cfi_offset x29, -160
    .cfi_offset x30, -152
    stp x19, x20, [sp, #16]
    .cfi_offset x19, -144
    .cfi_offset x20, -136
    stp x21, x22, [sp, #32]
    .cfi_offset x21, -128
    .cfi_offset x22, -120
    stp x23, x24, [sp, #48]
    .cfi_offset x23, -112
    .cfi_offset x24, -104
    stp x25, x26, [sp, #64]
    .cfi_offset x25, -96
    .cfi_offset x26, -88
    stp x27, x28, [sp, #80]
    .cfi_offset x27, -80
    .cfi_offset x28, -72
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    adr x2, 1f
    mov x3, sp
    stp x2, x3, [x0]
    str x29, [x0, #16]
    ldp x16, x3, [x1]
    ldr x29, [x1, #16]
    mov sp, x3
    br x16
    .p2align 3
1:
    hint 36
    ldr x0, [x1, #24]
    ldp d14, d15, [sp, #144]
    ldp d12, d13, [sp, #128]
    ldp d10, d11, [sp, #112]
    ldp d8, d9, [sp, #96]
    ldp x27, x28, [sp, #80]
    ldp x25, x26, [sp, #64]
    ldp x23, x24, [sp, #48]
    ldp x21, x22, [sp, #32]
    ldp x19, x20, [sp, #16]
    ldp x29, x30, [sp], #160
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size gev__jump, . - gev__jump
#endif

    .section .note.GNU-stack, "", %progbits
