/* SPDX-License-Identifier: MIT */
#ifndef GEV_OS_DISK_H
#define GEV_OS_DISK_H

/* What is done with files in a thread of a pool: it blocks. -errno. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

bool gev__disk_is_regular(int fd);

/* Up to n bytes of a regular file, or what one read gives. offset -1: from the
 * descriptor's position. */
ssize_t gev__disk_read(int fd, char *buf, size_t n, off_t offset);

/* All n bytes; less if an error comes after a part. */
ssize_t gev__disk_write(int fd, const char *buf, size_t n, off_t offset);

/* The whole file, in memory for free(3), with a NUL behind it. */
ssize_t gev__disk_load(const char *path, char **ret_data);

int gev__disk_save(const char *path, const char *data, size_t n, mode_t mode);

#endif
