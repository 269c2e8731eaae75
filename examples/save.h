/* SPDX-License-Identifier: MIT */
#ifndef SAVE_H
#define SAVE_H

/** @file save.h
 *  Saves documents into a directory: under a temporary name first, and only a
 *  complete one gets its own. Nothing is ever overwritten, and no name, however
 *  odd the URL, leads outside the directory.
 *
 *  Writing to a disk does not park: it is not a thing to wait for with libev.
 */
#include <stddef.h>

#define SAVE_NAME_MAX 224

/** A file being written. */
struct save {
    int directory;
    int fd;                   /**< -1: none is open */
    char name[SAVE_NAME_MAX]; /**< what it will be called, or is called */
    char temporary[32];
};

/** Makes the directory if need be, and opens it.
 *  @return a descriptor, or -1 with errno */
int save_directory(const char *path);

/** Begins a file.
 *  @param path  of the URL, `length` bytes; its last part gives the name
 *  @return 0, or -1 with errno */
int save_begin(struct save *save, int directory, const char *path,
               size_t length);

/** Adds to the file.
 *  @return 0, or -1 with errno */
int save_write(struct save *save, const void *data, size_t size);

/** Gives the file its name, or name.N with the first N that is free.
 *  @param first  0: try the plain name first; else the N to begin with
 *  @return 0, or -1 with errno */
int save_commit(struct save *save, unsigned first);

/** Removes what has not been committed. Harmless at any time. */
void save_discard(struct save *save);

#endif
