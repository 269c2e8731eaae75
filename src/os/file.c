/* SPDX-License-Identifier: MIT */

/* The public side of files: each call is a job of the hub's pool, in a block of
 * memory that has all it needs, for its caller may leave. What the page cache
 * has is read on the spot. */

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "os/disk.h"
#include "os/job.h"

#include <gev/file.h>

#include <stdlib.h>
#include <string.h>

struct file_call {
    struct gev__call call; /* first */
    ssize_t rc;            /* of the work */
    int fd;
    int flags;
    mode_t mode;
    size_t n;
    off_t offset; /* -1: the descriptor's position */
    struct stat st;
    char *loaded;      /* of load, until somebody takes it */
    const char *bytes; /* of save: behind the path */
    char data[];       /* the path, or bytes written or read */
};

static struct file_call *of_job(struct gev__job *j)
{
    return gev__container_of(gev__call_of_job(j), struct file_call, call);
}

static void discard(struct gev__errand *e)
{
    struct file_call *f =
        gev__container_of(gev__call_of_errand(e), struct file_call, call);

    free(f->loaded);
    gev__free(f);
}

/* For a call with so many bytes of data; NULL: no memory. */
static struct file_call *make_call(void (*work)(struct gev__job *j), size_t n)
{
    size_t size;

    if (__builtin_add_overflow(sizeof(struct file_call), n, &size)) {
        return NULL;
    }
    struct file_call *f = gev__malloc(size); /* not cleared: it may be big */
    if (f != NULL) {
        memset(f, 0, sizeof(*f));
        gev__call_init(&f->call, work, discard);
        f->offset = -1;
    }
    return f;
}

static struct file_call *make_path_call(void (*work)(struct gev__job *j),
                                        const char *path, size_t more)
{
    size_t length = strlen(path) + 1;
    size_t n;
    struct file_call *f =
        __builtin_add_overflow(length, more, &n) ? NULL : make_call(work, n);

    if (f != NULL) {
        memcpy(f->data, path, length);
        f->bytes = f->data + length;
    }
    return f;
}

/* The hub to park in, or NULL: a thread of a pool, which may block. False:
 * there is none, errno is set. */
static bool find_hub(struct gev_hub **ret_hub)
{
    bool blocks = gev__threadpool_here() != NULL;

    *ret_hub = blocks ? NULL : gev__hub_get();
    return blocks || *ret_hub != NULL;
}

/* Has it done. 0: f->rc says how it went, and f is the caller's; else f is not
 * the caller's any more. */
static int perform(struct gev_hub *hub, struct file_call *f)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL};

    if (hub == NULL) {
        f->call.job.work(&f->call.job);
        return 0;
    }
    int rc = gev__call_run(hub, NULL, &f->call, what, GEV__NEVER);
    if (rc == 0 && f->call.job.rc < 0) {
        rc = f->call.job.rc;
        discard(&f->call.errand);
    }
    return rc;
}

/* The same for calls that have nothing but a result. */
static ssize_t perform_simple(struct gev_hub *hub, struct file_call *f)
{
    ssize_t rc = perform(hub, f);

    if (rc == 0) {
        rc = f->rc;
        discard(&f->call.errand);
    }
    return rc;
}

/* --- read and write ------------------------------------------------------- */

static void work_read(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__disk_read(f->fd, f->data, f->n, f->offset);
}

static ssize_t read_in_pool(struct gev_hub *hub, int fd, char *buf, size_t n,
                            off_t offset)
{
    struct file_call *f = make_call(work_read, n);

    if (f == NULL) {
        return -ENOMEM;
    }
    f->fd = fd;
    f->n = n;
    f->offset = offset;
    ssize_t rc = perform(hub, f);
    if (rc == 0) {
        rc = f->rc;
        if (rc > 0 && buf != NULL) {
            memcpy(buf, f->data, (size_t)rc);
        }
        discard(&f->call.errand);
    }
    return rc;
}

/* What can be had without waiting for a disk. *ret_got bytes of it; true: that
 * is all there is, or all that was asked for. An error is for the call in the
 * pool to meet again. */
static bool read_cached(int fd, char *buf, size_t n, off_t offset,
                        size_t *ret_got)
{
    size_t got = 0;
    ssize_t rc;

    do {
        rc = gev__sys_read_nowait(fd, buf + got, n - got,
                                  offset < 0 ? -1 : offset + (off_t)got);
        got += rc > 0 ? (size_t)rc : 0;
    } while (rc > 0 && got < n);
    *ret_got = got;
    return rc >= 0 || (got > 0 && !gev__disk_is_regular(fd));
}

static off_t further(off_t offset, size_t n)
{
    return offset < 0 ? -1 : offset + (off_t)n;
}

static ssize_t read_file(struct gev_hub *hub, int fd, void *buf, size_t n,
                         off_t offset)
{
    size_t got;

    if (buf == NULL && n > 0) {
        return -EINVAL;
    }
    if (hub == NULL) {
        return gev__disk_read(fd, buf, n, offset);
    }
    if (read_cached(fd, buf, n, offset, &got)) {
        return (ssize_t)got;
    }
    ssize_t rc =
        read_in_pool(hub, fd, (char *)buf + got, n - got, further(offset, got));
    if (got == 0) {
        return rc;
    }
    return rc < 0 ? (ssize_t)got : (ssize_t)got + rc;
}

static void work_write(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__disk_write(f->fd, f->data, f->n, f->offset);
}

static ssize_t write_in_pool(struct gev_hub *hub, int fd, const char *buf,
                             size_t n, off_t offset)
{
    struct file_call *f = make_call(work_write, n);

    if (f == NULL) {
        return -ENOMEM;
    }
    f->fd = fd;
    f->n = n;
    f->offset = offset;
    memcpy(f->data, buf, n);
    return perform_simple(hub, f);
}

static ssize_t write_file(struct gev_hub *hub, int fd, const void *buf,
                          size_t n, off_t offset)
{
    ssize_t done = 0;

    if (buf == NULL) {
        return n > 0 ? -EINVAL : 0;
    }
    if (hub == NULL) {
        return gev__disk_write(fd, buf, n, offset);
    }
    /* Not to a pipe: that could raise SIGPIPE here. */
    if (gev__disk_is_regular(fd)) {
        done = gev__sys_write_nowait(fd, buf, n, offset);
        done = done < 0 ? 0 : done;
        if ((size_t)done == n) {
            return done;
        }
    }
    ssize_t rc = write_in_pool(hub, fd, (const char *)buf + done,
                               n - (size_t)done, further(offset, (size_t)done));
    if (done == 0) {
        return rc;
    }
    return rc < 0 ? done : done + rc;
}

/* --- the others ----------------------------------------------------------- */

static void work_open(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__sys_open(f->data, f->flags, f->mode);
}

/* Of an open: nobody took the descriptor. */
static void discard_open(struct gev__errand *e)
{
    struct file_call *f =
        gev__container_of(gev__call_of_errand(e), struct file_call, call);

    if (f->rc >= 0) {
        gev__sys_close((int)f->rc);
    }
    discard(e);
}

static int open_file(struct gev_hub *hub, const char *path, int flags,
                     mode_t mode)
{
    struct file_call *f = make_path_call(work_open, path, 0);

    if (f == NULL) {
        return -ENOMEM;
    }
    f->call.errand.discard = discard_open;
    f->flags = flags;
    f->mode = mode;
    f->rc = -ECANCELED; /* until it is open */
    int rc = perform(hub, f);
    if (rc == 0) {
        rc = (int)f->rc;
        discard(&f->call.errand); /* taken */
    }
    return rc;
}

static void work_close(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__sys_close(f->fd);
}

/* Even a killed greenlet's cleanup must get rid of its descriptors: the call is
 * handed over in any case, or made on the spot. */
static int close_file(struct gev_hub *hub, int fd)
{
    const struct gev__wait_for what = {.kind = GEV__WAIT_THREADPOOL};
    struct gev_threadpool *pool;

    if (hub == NULL) {
        return gev__sys_close(fd);
    }
    if (fd >= 0) {
        gev__fd_forget(hub, fd);
    }
    if ((hub->current->alerts & GEV__ALERT_NOPARK) ||
        gev__threadpool_find(hub, NULL, &pool) < 0) {
        return gev__sys_close(fd);
    }
    struct file_call *f = make_call(work_close, 0);
    if (f == NULL) {
        return gev__sys_close(fd);
    }
    f->fd = fd;
    if (gev__call_send(hub, pool, &f->call) < 0) {
        return gev__sys_close(fd);
    }
    int rc = gev__errand_wait(hub, &f->call.errand, what, GEV__NEVER);
    if (rc == 0) {
        rc = f->call.job.rc < 0 ? gev__sys_close(fd) : (int)f->rc;
        discard(&f->call.errand);
    }
    return rc;
}

static void work_sync(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__sys_fsync(f->fd);
}

static int sync_file(struct gev_hub *hub, int fd)
{
    struct file_call *f = make_call(work_sync, 0);

    if (f == NULL) {
        return -ENOMEM;
    }
    f->fd = fd;
    return (int)perform_simple(hub, f);
}

static void work_stat(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__sys_stat(f->data, &f->st);
}

static int stat_file(struct gev_hub *hub, const char *path,
                     struct stat *ret_stat)
{
    struct file_call *f = make_path_call(work_stat, path, 0);

    if (f == NULL) {
        return -ENOMEM;
    }
    int rc = perform(hub, f);
    if (rc == 0) {
        rc = (int)f->rc;
        if (rc == 0 && ret_stat != NULL) {
            *ret_stat = f->st;
        }
        discard(&f->call.errand);
    }
    return rc;
}

static void work_load(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__disk_load(f->data, &f->loaded);
}

static int load_file(struct gev_hub *hub, const char *path, char **ret_data,
                     size_t *ret_n)
{
    struct file_call *f = make_path_call(work_load, path, 0);

    if (f == NULL) {
        return -ENOMEM;
    }
    ssize_t rc = perform(hub, f);
    if (rc < 0) {
        return (int)rc;
    }
    rc = f->rc;
    if (rc >= 0 && ret_n != NULL) {
        *ret_n = (size_t)rc;
    }
    if (rc >= 0 && ret_data != NULL) {
        *ret_data = f->loaded;
        f->loaded = NULL;
    }
    discard(&f->call.errand);
    return rc < 0 ? (int)rc : 0;
}

static void work_save(struct gev__job *j)
{
    struct file_call *f = of_job(j);

    f->rc = gev__disk_save(f->data, f->bytes, f->n, f->mode);
}

static int save_file(struct gev_hub *hub, const char *path, const void *data,
                     size_t n, mode_t mode)
{
    struct file_call *f = make_path_call(work_save, path, n);

    if (f == NULL) {
        return -ENOMEM;
    }
    if (n > 0) {
        memcpy(f->data + (f->bytes - f->data), data, n);
    }
    f->n = n;
    f->mode = mode;
    return (int)perform_simple(hub, f);
}

/* --- public --------------------------------------------------------------- */

int gev_file_open(const char *path, int flags, mode_t mode)
{
    struct gev_hub *hub;

    if (path == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1
                           : (int)gev__ret(open_file(hub, path, flags, mode));
}

int gev_file_close(int fd)
{
    struct gev_hub *hub;

    return !find_hub(&hub) ? -1 : (int)gev__ret(close_file(hub, fd));
}

ssize_t gev_file_read(int fd, void *buf, size_t n)
{
    struct gev_hub *hub;

    return !find_hub(&hub) ? -1 : gev__ret(read_file(hub, fd, buf, n, -1));
}

ssize_t gev_file_write(int fd, const void *buf, size_t n)
{
    struct gev_hub *hub;

    return !find_hub(&hub) ? -1 : gev__ret(write_file(hub, fd, buf, n, -1));
}

ssize_t gev_file_pread(int fd, void *buf, size_t n, off_t offset)
{
    struct gev_hub *hub;

    if (offset < 0) {
        return gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1 : gev__ret(read_file(hub, fd, buf, n, offset));
}

ssize_t gev_file_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    struct gev_hub *hub;

    if (offset < 0) {
        return gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1 : gev__ret(write_file(hub, fd, buf, n, offset));
}

int gev_file_sync(int fd)
{
    struct gev_hub *hub;

    return !find_hub(&hub) ? -1 : (int)gev__ret(sync_file(hub, fd));
}

int gev_file_stat(const char *path, struct stat *st)
{
    struct gev_hub *hub;

    if (path == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1 : (int)gev__ret(stat_file(hub, path, st));
}

int gev_file_load(const char *path, char **data, size_t *n)
{
    struct gev_hub *hub;

    if (path == NULL) {
        return (int)gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1 : (int)gev__ret(load_file(hub, path, data, n));
}

int gev_file_save(const char *path, const void *data, size_t n, mode_t mode)
{
    struct gev_hub *hub;

    if (path == NULL || (data == NULL && n > 0)) {
        return (int)gev__ret(-EINVAL);
    }
    return !find_hub(&hub) ? -1
                           : (int)gev__ret(save_file(hub, path, data, n, mode));
}
