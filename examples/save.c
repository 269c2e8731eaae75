/* SPDX-License-Identifier: MIT */
#include "save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the name itself: leaves room for ".N". */
#define STEM_MAX 200

/* So many files of one name, and then something is wrong. */
#define SAME_NAME_MAX 1000000

int save_directory(const char *path)
{
    if (mkdir(path, 0777) < 0 && errno != EEXIST) {
        return -1;
    }
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_harmless(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* The last part of the path, and the query if there is one. Escapes stay what
 * they are, so "%2e%2e%2f" is as harmless as the rest. */
static void name_after(const char *path, size_t length, char *name)
{
    const char *query = memchr(path, '?', length);
    const size_t query_length =
        query != NULL ? length - (size_t)(query - path) : 0;
    size_t begin = length - query_length;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    size_t n = 0;
    if (begin == length - query_length) {
        static const char unnamed[] = "index.html";
        n = sizeof(unnamed) - 1;
        memcpy(name, unnamed, n);
    }
    for (size_t i = begin; i < length && n < STEM_MAX; i++) {
        name[n] = '_';
        if (is_harmless(path[i])) {
            name[n] = path[i];
        }
        n++;
    }
    if (name[0] == '.') { /* neither hidden nor ".." */
        name[0] = '_';
    }
    name[n] = '\0';
}

int save_begin(struct save *save, int directory, const char *path,
               size_t length)
{
    static unsigned serial;
    save->directory = directory;
    name_after(path, length, save->name);
    do {
        snprintf(save->temporary, sizeof(save->temporary), ".fetch-%x-%x.part",
                 (unsigned)getpid(), serial++);
        save->fd = openat(directory, save->temporary,
                          O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (save->fd < 0 && errno == EEXIST);
    return save->fd < 0 ? -1 : 0;
}

int save_write(struct save *save, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        const ssize_t n = write(save->fd, p, size);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -1;
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int save_commit(struct save *save, unsigned first)
{
    const size_t stem = strlen(save->name);
    /* Some file systems report only here that the disk is full. */
    const int closed = close(save->fd);
    save->fd = -1;
    int rc = closed;
    for (unsigned i = first; rc == 0; i++) {
        if (i > 0) {
            snprintf(save->name + stem, sizeof(save->name) - stem, ".%u", i);
        }
        /* Unlike a rename, a link never replaces a file. */
        rc = linkat(save->directory, save->temporary, save->directory,
                    save->name, 0);
        if (rc == 0) {
            break;
        }
        if (errno == EEXIST && i < SAME_NAME_MAX) {
            rc = 0;
        }
    }
    const int error = errno;
    (void)unlinkat(save->directory, save->temporary, 0);
    errno = error;
    return rc;
}

void save_discard(struct save *save)
{
    if (save->fd >= 0) {
        (void)close(save->fd);
        (void)unlinkat(save->directory, save->temporary, 0);
        save->fd = -1;
    }
}
