/* SPDX-License-Identifier: MIT */
#include "os/disk.h"

#include "base/alloc.h"
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a file is read by whose size says nothing. */
#define LOAD_STEP ((size_t)16384)

/* Names of temporary files tried; another process may have left some. */
#define TEMP_TRIES 100

bool gev__disk_is_regular(int fd)
{
    struct stat st;

    return gev__sys_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static ssize_t read_once(int fd, char *buf, size_t n, off_t offset)
{
    return offset < 0 ? gev__sys_read(fd, buf, n)
                      : gev__sys_pread(fd, buf, n, offset);
}

ssize_t gev__disk_read(int fd, char *buf, size_t n, off_t offset)
{
    size_t got = 0;

    for (;;) {
        off_t at = offset < 0 ? -1 : offset + (off_t)got;
        ssize_t rc = read_once(fd, buf + got, n - got, at);
        if (rc < 0) {
            return got > 0 ? (ssize_t)got : rc;
        }
        got += (size_t)rc;
        if (rc == 0 || got == n || !gev__disk_is_regular(fd)) {
            return (ssize_t)got;
        }
    }
}

ssize_t gev__disk_write(int fd, const char *buf, size_t n, off_t offset)
{
    size_t done = 0;

    do {
        ssize_t rc = offset < 0 ? gev__sys_write(fd, buf + done, n - done)
                                : gev__sys_pwrite(fd, buf + done, n - done,
                                                  offset + (off_t)done);
        if (rc < 0) {
            return done > 0 ? (ssize_t)done : rc;
        }
        done += (size_t)rc;
        if (rc == 0) {
            break;
        }
    } while (done < n);
    return (ssize_t)done;
}

/* --- load ----------------------------------------------------------------- */

/* libc's memory, for the caller will give it to free(). */
static char *grow(char *data, size_t len, size_t size)
{
    char *bigger = gev__libc_calloc(1, size);

    if (bigger != NULL && len > 0) {
        memcpy(bigger, data, len);
    }
    free(data);
    return bigger;
}

static ssize_t read_all(int fd, size_t size, char **ret_data)
{
    char *data = grow(NULL, 0, size);
    size_t len = 0;

    while (data != NULL) {
        ssize_t rc = gev__sys_read(fd, data + len, size - 1 - len);
        if (rc < 0) {
            free(data);
            return rc;
        }
        if (rc == 0) {
            *ret_data = data;
            return (ssize_t)len;
        }
        len += (size_t)rc;
        if (len == size - 1) {
            size = size > SSIZE_MAX / 2 ? SSIZE_MAX : size * 2;
            data = grow(data, len, size);
        }
    }
    return -ENOMEM;
}

ssize_t gev__disk_load(const char *path, char **ret_data)
{
    struct stat st;
    int fd = gev__sys_open(path, O_RDONLY, 0);

    if (fd < 0) {
        return fd;
    }
    ssize_t rc = gev__sys_fstat(fd, &st);
    if (rc == 0) {
        /* A byte more than it says, so that its end is seen, and the NUL. */
        size_t size = S_ISREG(st.st_mode) && st.st_size > 0
                          ? (size_t)st.st_size + 2
                          : LOAD_STEP;
        rc = read_all(fd, size, ret_data);
    }
    gev__sys_close(fd);
    return rc;
}

/* --- save ----------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t rc = gev__disk_write(fd, data + done, n - done, -1);
        if (rc <= 0) {
            return rc < 0 ? (int)rc : -EIO;
        }
        done += (size_t)rc;
    }
    return 0;
}

/* To something that is no regular file. */
static int write_into(const char *path, int flags, const char *data, size_t n,
                      mode_t mode)
{
    int fd = gev__sys_open(path, O_WRONLY | O_TRUNC | flags, mode);

    if (fd < 0) {
        return fd;
    }
    int rc = write_all(fd, data, n);
    int closed = gev__sys_close(fd);
    return rc < 0 ? rc : closed;
}

/* A new file in the same directory, hidden; its descriptor. */
static int make_temp(const char *target, mode_t mode, char *ret_temp)
{
    static atomic_uint counter;
    const char *slash = strrchr(target, '/');
    int dir = slash == NULL ? 0 : (int)(slash - target) + 1;

    for (int i = 0; i < TEMP_TRIES; i++) {
        int n = snprintf(ret_temp, PATH_MAX, "%.*s.gev-save-%ld-%u", dir,
                         target, (long)getpid(), atomic_fetch_add(&counter, 1));
        if (n >= PATH_MAX) {
            return -ENAMETOOLONG;
        }
        int fd = gev__sys_open(ret_temp, O_WRONLY | O_CREAT | O_EXCL, mode);
        if (fd != -EEXIST) {
            return fd;
        }
    }
    return -EEXIST;
}

/* The new file takes after the old one. That it cannot be given away is no
 * error. */
static int take_after(int fd, const struct stat *old)
{
    struct stat st;
    int rc = gev__sys_fstat(fd, &st);

    if (rc == 0 && (st.st_uid != old->st_uid || st.st_gid != old->st_gid)) {
        (void)gev__sys_fchown(fd, old->st_uid, old->st_gid);
    }
    return rc < 0 ? rc : gev__sys_fchmod(fd, old->st_mode & 0777);
}

/* old: what is there, or NULL. */
static int replace(const char *target, const struct stat *old, const char *data,
                   size_t n, mode_t mode)
{
    char temp[PATH_MAX];
    /* Nobody else may read it until it has its owner. */
    int fd = make_temp(target, old != NULL ? 0600 : mode, temp);

    if (fd < 0) {
        return fd;
    }
    int rc = write_all(fd, data, n);
    if (rc == 0 && old != NULL) {
        rc = take_after(fd, old);
    }
    if (rc == 0) {
        rc = gev__sys_fsync(fd);
        rc = rc == -EINVAL ? 0 : rc; /* a file system that has no disk */
    }
    int closed = gev__sys_close(fd);
    rc = rc < 0 ? rc : closed;
    if (rc == 0) {
        rc = gev__sys_rename(temp, target);
    }
    if (rc < 0) {
        gev__sys_unlink(temp);
    }
    return rc;
}

int gev__disk_save(const char *path, const char *data, size_t n, mode_t mode)
{
    char target[PATH_MAX];
    struct stat st;
    struct stat link;
    int rc = gev__sys_lstat(path, &link);

    if (rc < 0) {
        return rc == -ENOENT ? replace(path, NULL, data, n, mode) : rc;
    }
    if (!S_ISLNK(link.st_mode)) {
        return S_ISREG(link.st_mode) ? replace(path, &link, data, n, mode)
                                     : write_into(path, 0, data, n, 0);
    }
    rc = gev__sys_stat(path, &st);
    if (rc == -ENOENT) {
        /* A link to nothing: the kernel knows where that is. */
        return write_into(path, O_CREAT, data, n, mode);
    }
    if (rc < 0 || !S_ISREG(st.st_mode)) {
        return rc < 0 ? rc : write_into(path, 0, data, n, 0);
    }
    rc = gev__sys_realpath(path, target);
    return rc < 0 ? rc : replace(target, &st, data, n, mode);
}
