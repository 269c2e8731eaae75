/* SPDX-License-Identifier: MIT */
#ifndef JSON_H
#define JSON_H

/** @file json.h
 *  Strings in JSON, from bytes that may be anything.
 */
#include <stddef.h>
#include <stdio.h>

/** How many bytes of UTF-8 a character has here; 0: this is none. */
static inline size_t length_of_character(const unsigned char *c)
{
    const size_t n = c[0] < 0x80   ? 1
                     : c[0] < 0xc2 ? 0
                     : c[0] < 0xe0 ? 2
                     : c[0] < 0xf0 ? 3
                     : c[0] < 0xf5 ? 4
                                   : 0;
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0; /* the NUL at the end, too */
        }
    }
    /* Longer than need be, a half of a pair, or past the last one. */
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) {
        return 0;
    }
    return n;
}

/** Prints a string, in quotes. What is not UTF-8 becomes U+FFFD. */
static inline void print_json_text(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    putchar('"');
    while (*c != '\0') {
        const size_t n = length_of_character(c);
        if (n == 0) {
            fputs("\\ufffd", stdout); /* no text: its replacement */
        } else if (*c == '"' || *c == '\\') {
            printf("\\%c", *c);
        } else if (*c < ' ' || *c == 0x7f) {
            printf("\\u%04x", *c);
        } else {
            fwrite(c, 1, n, stdout);
        }
        c += n > 0 ? n : 1;
    }
    putchar('"');
}

#endif
