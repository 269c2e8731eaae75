/* SPDX-License-Identifier: MIT */
#ifndef GEV_NET_TEXTFILE_H
#define GEV_NET_TEXTFILE_H

/* A text file that somebody may change: hosts, resolv.conf. */

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* Which version of a file was seen. All-zero: nothing was looked at yet. */
struct gev__file_version {
    bool seen;
    bool exists; /* the rest is valid */
    bool young;  /* changed so lately that another change might not show */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
    struct timespec ctime;
};

/* Whether the file is not the one of *version any more; updates *version. */
bool gev__file_changed(const char *path, struct gev__file_version *version);

/* All of it, with a NUL behind, and *ret_size without; for gev__free(). What
 * is not there, not readable or no regular file is empty. -ENOMEM, -EFBIG, and
 * what read(2) fails with. */
int gev__file_read(const char *path, char **ret_text, size_t *ret_size);

/* Cuts the next word off *text: a NUL takes the place of the blank behind it.
 * NULL: none left on this line. */
char *gev__text_word(char **text);

/* Cuts the next line off *text. NULL: none left. */
char *gev__text_line(char **text);

#endif
