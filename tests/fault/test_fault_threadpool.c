/* SPDX-License-Identifier: MIT */

/* Thread pools, files and workers when something is missing: memory,
 * descriptors, threads, the disk. */
#include "support/fault_sweep.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gev.h>

/* What libev wants the library has kept in reserve. */
#define MEMORY                                                                 \
    {                                                                          \
        "memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true, .allowed = {   \
            ENOMEM                                                             \
        }                                                                      \
    }
#define THREADS                                                                \
    {                                                                          \
        "threads", FAULT_AT(THREAD), EAGAIN, .allowed = { EAGAIN }             \
    }

static void *nothing(void *arg)
{
    return arg;
}

static void *use_gev(void *arg)
{
    if (gev_yield() != 0) {
        return gev_fail(errno);
    }
    return arg;
}

/* --- pools ---------------------------------------------------------------- */

static int apply_in_own(void *arg)
{
    return gev_threadpool_apply(NULL, nothing, arg, NULL, 20);
}

GEV_TEST(apply_survives)
{
    static const struct fault_case cases[] = {MEMORY, THREADS};
    fault_sweep(apply_in_own, NULL, cases, 2, FAULT_WARM);
}

/* A hub in the job's thread. */
static int apply_with_hub(void *arg)
{
    return gev_threadpool_apply(NULL, use_gev, arg, NULL, 20);
}

GEV_TEST(jobs_with_hubs_survive)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"maps", FAULT_AT(MMAP), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
    };
    fault_sweep(apply_with_hub, NULL, cases, 3, FAULT_WARM);
}

static int live_of_a_pool(void *arg)
{
    /* If something is missing it may become ready after the return. */
    static gev_result r;
    void *in[3] = {arg, arg, arg};
    int rc = -1;
    gev_result_init(&r);
    gev_threadpool *pool = gev_threadpool_new(2);
    if (pool == NULL) {
        return -1;
    }
    if (gev_threadpool_set_size(pool, 2) == 0 &&
        gev_threadpool_spawn(pool, nothing, arg, &r) == 0 &&
        gev_threadpool_map(pool, nothing, in, in, 3) == 0 &&
        gev_threadpool_join(pool, 20) == 0) {
        rc = gev_result_get(&r, NULL, 20);
    }
    int error = errno;
    gev_threadpool_free(pool);
    errno = error;
    return rc;
}

GEV_TEST(pools_survive)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true, /* free */
         .allowed = {ENOMEM}},
        THREADS,
    };
    fault_sweep(live_of_a_pool, NULL, cases, 2, FAULT_WARM);
}

/* Without a thread for each job they wait for one. */
static int spawn_two(void *arg)
{
    gev_result r[2] = {{{NULL}}};
    int rc = gev_threadpool_spawn(NULL, nothing, arg, &r[0]);
    if (rc == 0) {
        rc = gev_threadpool_spawn(NULL, nothing, arg, &r[1]);
        int error = errno;
        expect_ok(gev_result_get(&r[0], NULL, GEV_FOREVER));
        errno = error;
    }
    return rc == 0 ? gev_result_get(&r[1], NULL, GEV_FOREVER) : rc;
}

GEV_TEST(one_thread_is_enough)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"threads", FAULT_AT(THREAD), EAGAIN, .may_succeed = true,
         .allowed = {EAGAIN}},
    };
    fault_sweep(spawn_two, NULL, cases, 2, FAULT_WARM);
}

/* --- files ---------------------------------------------------------------- */

static char path[64];

static int round_trip(void *arg)
{
    char buf[64];
    int rc = -1;
    (void)arg;
    int fd = gev_file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        return -1;
    }
    if (gev_file_write(fd, "0123456789", 10) == 10 && gev_file_sync(fd) == 0 &&
        gev_file_pread(fd, buf, sizeof(buf), 0) == 10) {
        rc = memcmp(buf, "0123456789", 10) == 0 ? 0 : -1;
    }
    int error = errno;
    rc |= gev_file_close(fd); /* never fails for lack of anything */
    errno = error;
    return rc;
}

GEV_TEST(reads_and_writes_survive)
{
    static const struct fault_case cases[] = {
        {"memory", FAULT_AT(ALLOC), ENOMEM, .may_succeed = true,
         .allowed = {ENOMEM}},
        {"threads", FAULT_AT(THREAD), EAGAIN, .allowed = {EAGAIN}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"disk", FAULT_AT(WRITE), ENOSPC, .may_succeed = true,
         .allowed = {ENOSPC}},
        {"sync", FAULT_AT(FILE), EIO, .allowed = {EIO}},
        {"signals",
         FAULT_AT(READ) | FAULT_AT(WRITE) | FAULT_AT(FILE) | FAULT_AT(OPEN),
         EINTR, .must_succeed = true},
    };
    fault_sweep(round_trip, NULL, cases, 6, FAULT_WARM);
}

/* Pieces of one byte: reads and writes go on until all is there. */
GEV_TEST(short_transfers_go_on)
{
    static const struct fault_case cases[] = {
        {"short", FAULT_AT(READ) | FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT},
    };
    fault_sweep(round_trip, NULL, cases, 1, FAULT_WARM);
}

static int save_and_load(void *arg)
{
    char *data = NULL;
    size_t n = 0;
    (void)arg;
    int rc = gev_file_save(path, "new content", 11, 0600);
    int error = errno;
    if (rc == 0) {
        rc = gev_file_load(path, &data, &n);
        error = errno;
        if (rc == 0) {
            expect_str_eq(data, "new content");
            free(data);
        }
    }
    errno = error;
    return rc;
}

/* All or nothing: the file is what it was, and there is no other. */
static int save_over_old(void *arg)
{
    char buf[32] = "";
    (void)arg;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    expect_int_eq(write(fd, "old content", 11), 11);
    close(fd);
    int rc = save_and_load(NULL);
    int error = errno;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    expect_int_eq(read(fd, buf, sizeof(buf)), 11);
    close(fd);
    expect_true(strcmp(buf, "old content") == 0 ||
                strcmp(buf, "new content") == 0);
    expect_true(rc != 0 || strcmp(buf, "new content") == 0);
    errno = error;
    return rc;
}

GEV_TEST(save_and_load_survive)
{
    static const struct fault_case cases[] = {
        MEMORY,
        {"threads", FAULT_AT(THREAD), EAGAIN, .allowed = {EAGAIN}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"disk", FAULT_AT(WRITE), ENOSPC, .allowed = {ENOSPC}},
        {"reads", FAULT_AT(READ), EIO, .may_succeed = true, .allowed = {EIO}},
        {"files", FAULT_AT(FILE) | FAULT_AT(SOCKOPT), EIO, .allowed = {EIO}},
        {"signals",
         FAULT_AT(READ) | FAULT_AT(WRITE) | FAULT_AT(FILE) | FAULT_AT(OPEN),
         EINTR, .must_succeed = true},
        {"short", FAULT_AT(READ) | FAULT_AT(WRITE), 0, .shapes = FAULT_SHORT},
    };
    fault_sweep(save_over_old, NULL, cases, 8, FAULT_WARM);
    expect_ok(unlink(path));
    expect_ok(gev_file_save(path, "", 0, 0600));
    expect_ok(unlink(path));
}

/* --- workers -------------------------------------------------------------- */

static int live_of_workers(void *arg)
{
    int rc = -1;
    gev_workers *w = gev_workers_new(2);
    if (w == NULL) {
        return -1;
    }
    if (gev_workers_spawn(w, nothing, arg) == 0 &&
        gev_workers_broadcast(w, use_gev, arg) == 0) {
        rc = gev_workers_join(w, 20);
    }
    int error = errno;
    gev_workers_free(w);
    errno = error;
    return rc;
}

/* Half of them started is none. */
GEV_TEST(workers_survive)
{
    static const struct fault_case cases[] = {
        /* a stack that cannot be had just then is tried again */
        {"memory", FAULT_AT(ALLOC), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
        {"maps", FAULT_AT(MMAP), ENOMEM, .shapes = FAULT_ONCE,
         .may_succeed = true, .allowed = {ENOMEM}},
        {"descriptors", FAULT_AT(OPEN), EMFILE, .allowed = {EMFILE}},
        {"threads", FAULT_AT(THREAD), EAGAIN, .allowed = {EAGAIN}},
    };
    fault_sweep(live_of_workers, NULL, cases, 4, FAULT_WARM);
}

int main(void)
{
    char dir[] = "/tmp/gev-fault-XXXXXX";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_survives),
        cmocka_unit_test(jobs_with_hubs_survive),
        cmocka_unit_test(pools_survive),
        cmocka_unit_test(one_thread_is_enough),
        cmocka_unit_test(reads_and_writes_survive),
        cmocka_unit_test(short_transfers_go_on),
        cmocka_unit_test(save_and_load_survive),
        cmocka_unit_test(workers_survive),
    };
    if (mkdtemp(dir) == NULL) {
        return EXIT_FAILURE;
    }
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    if (rmdir(dir) != 0) {
        print_error("%s is not empty\n", dir);
        failed++;
    }
    return failed;
}
