/* SPDX-License-Identifier: MIT */

/* Files: blocking calls off the hub (FIL3 to FIL7, OS6). */
#include <gev.h>

#include "support/gate.h"
#include "support/gev_test.h"
#include "support/trace.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- a directory for each test -------------------------------------------- */

static char dir[64];
static char paths[4][PATH_MAX];

/* One of four buffers. */
static const char *in_dir(const char *name)
{
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static void make_dir(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/gev-test-XXXXXX");
    expect_not_null(mkdtemp(dir));
}

/* Empties and removes it; nothing else may be in it. */
static void remove_dir(const char *const names[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        expect_ok(unlink(in_dir(names[i])));
    }
    expect_ok(rmdir(dir));
}

static void put(const char *name, const char *text)
{
    expect_ok(gev_file_save(in_dir(name), text, strlen(text), 0644));
}

static void expect_content(const char *name, const char *text)
{
    char *data = NULL;
    size_t n = 0;
    if (expect_ok(gev_file_load(in_dir(name), &data, &n))) {
        expect_uint_eq(n, strlen(text));
        expect_str_eq(data, text);
    }
    free(data);
}

/* --- descriptors ---------------------------------------------------------- */

/* OS6, FIL3 */
GEV_TEST(reads_what_was_written)
{
    char buf[16] = "";
    struct stat st;
    make_dir();
    int fd = gev_file_open(in_dir("a"), O_RDWR | O_CREAT | O_EXCL, 0640);
    expect_true(fd >= 0);
    expect_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    expect_int_eq(gev_file_write(fd, "hello", 5), 5);
    expect_int_eq(gev_file_write(fd, " world", 6), 6);
    expect_int_eq(gev_file_read(fd, buf, sizeof(buf)), 0);
    expect_int_eq(gev_file_pread(fd, buf, sizeof(buf), 6), 5);
    expect_str_eq(buf, "world");
    expect_int_eq(gev_file_pwrite(fd, "W", 1, 6), 1);
    expect_int_eq(gev_file_write(fd, "!", 1), 1); /* the position stayed */
    expect_int_eq(lseek(fd, 0, SEEK_SET), 0);
    expect_int_eq(gev_file_read(fd, buf, 5), 5);
    expect_int_eq(gev_file_read(fd, buf, sizeof(buf)), 7);
    expect_mem_eq(buf, " World!", 7);
    expect_ok(gev_file_sync(fd));
    expect_ok(gev_file_stat(in_dir("a"), &st));
    expect_int_eq(st.st_size, 12);
    expect_ok(gev_file_stat(in_dir("a"), NULL));
    expect_ok(gev_file_close(fd));
    expect_fail(gev_file_close(fd), EBADF);
    expect_fail(gev_file_read(fd, buf, 1), EBADF);
    remove_dir((const char *const[]){"a"}, 1);
}

/* FIL6: what makes no sense, and what the system refuses. */
GEV_TEST(errors_are_the_systems)
{
    char c = 'x';
    struct stat st;
    struct rlimit old;
    make_dir();
    put("a", "text");
    expect_fail(gev_file_open(NULL, O_RDONLY, 0), EINVAL);
    expect_fail(gev_file_open(in_dir("none"), O_RDONLY, 0), ENOENT);
    expect_fail(gev_file_open(dir, O_WRONLY, 0), EISDIR);
    expect_fail(gev_file_stat(NULL, &st), EINVAL);
    expect_fail(gev_file_stat(in_dir("none"), &st), ENOENT);
    expect_fail(gev_file_load(NULL, NULL, NULL), EINVAL);
    expect_fail(gev_file_load(dir, NULL, NULL), EISDIR);
    expect_fail(gev_file_save(NULL, "", 0, 0), EINVAL);
    expect_fail(gev_file_save("/", NULL, 1, 0), EINVAL);
    expect_fail(gev_file_save(dir, "", 0, 0), EISDIR);
    expect_fail(gev_file_save(in_dir("a/b"), "", 0, 0), ENOTDIR);
    expect_fail(gev_file_sync(-1), EBADF);
    expect_fail(gev_file_close(-1), EBADF);
    int fd = gev_file_open(in_dir("a"), O_RDONLY, 0);
    expect_fail(gev_file_write(fd, &c, 1), EBADF);
    expect_fail(gev_file_read(fd, NULL, 1), EINVAL);
    expect_fail(gev_file_write(fd, NULL, 1), EINVAL);
    expect_fail(gev_file_pread(fd, &c, 1, -1), EINVAL);
    expect_fail(gev_file_pwrite(fd, &c, 1, -1), EINVAL);
    expect_int_eq(gev_file_read(fd, &c, 0), 0);
    expect_ok(gev_file_close(fd));
    fd = gev_file_open(dir, O_RDONLY, 0);
    expect_fail(gev_file_read(fd, &c, 1), EISDIR);
    expect_ok(gev_file_close(fd));
    expect_ok(getrlimit(RLIMIT_NOFILE, &old));
    struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
    expect_ok(setrlimit(RLIMIT_NOFILE, &none));
    expect_fail(gev_file_open(in_dir("a"), O_RDONLY, 0), EMFILE);
    expect_ok(setrlimit(RLIMIT_NOFILE, &old));
    remove_dir((const char *const[]){"a"}, 1);
}

/* FIL5: a full disk. */
GEV_TEST(full_device_is_enospc)
{
    int fd = gev_file_open("/dev/full", O_WRONLY, 0);
    struct stat st;
    expect_true(fd >= 0);
    expect_fail(gev_file_write(fd, "x", 1), ENOSPC);
    expect_ok(gev_file_close(fd));
    expect_fail(gev_file_save("/dev/full", "x", 1, 0600), ENOSPC);
    expect_ok(gev_file_save("/dev/null", "x", 1, 0600));
    expect_ok(stat("/dev/null", &st));
    expect_true(S_ISCHR(st.st_mode)); /* it was written to, not replaced */
    expect_ok(stat("/dev/full", &st));
    expect_true(S_ISCHR(st.st_mode));
}

/* More than any buffer, cached and not. */
GEV_TEST(big_files)
{
    enum { SIZE = 3 * 1024 * 1024 + 17 };
    char *out = malloc(SIZE);
    char *in = malloc(SIZE + 1);
    make_dir();
    for (size_t i = 0; i < SIZE; i++) {
        out[i] = (char)(i * 7 + i / 4096);
    }
    int fd = gev_file_open(in_dir("a"), O_RDWR | O_CREAT, 0600);
    expect_int_eq(gev_file_write(fd, out, SIZE), SIZE);
    for (int round = 0; round < 3; round++) {
        expect_ok(gev_file_sync(fd));
        /* parts of it, or all, from the disk */
        expect_int_eq(posix_fadvise(fd, round == 1 ? SIZE / 2 : 0,
                                    round == 2 ? SIZE / 2 : 0,
                                    POSIX_FADV_DONTNEED),
                      0);
        memset(in, 0, SIZE);
        expect_int_eq(gev_file_pread(fd, in, SIZE + 1, 0), SIZE);
        expect_int_eq(memcmp(in, out, SIZE), 0);
    }
    expect_int_eq(posix_fadvise(fd, SIZE / 2, 0, POSIX_FADV_DONTNEED), 0);
    memset(in, 0, SIZE);
    expect_int_eq(lseek(fd, 1, SEEK_SET), 1);
    expect_int_eq(gev_file_read(fd, in, SIZE), SIZE - 1);
    expect_int_eq(memcmp(in, out + 1, SIZE - 1), 0);
    expect_int_eq(gev_file_read(fd, in, SIZE), 0);
    expect_int_eq(gev_file_pwrite(fd, out, SIZE, 5), SIZE);
    expect_ok(gev_file_close(fd));
    char *data = NULL;
    size_t n = 0;
    expect_ok(gev_file_load(in_dir("a"), &data, &n));
    expect_uint_eq(n, SIZE + 5);
    expect_int_eq(memcmp(data + 5, out, SIZE), 0);
    free(data);
    free(in);
    free(out);
    remove_dir((const char *const[]){"a"}, 1);
}

/* --- load and save -------------------------------------------------------- */

GEV_TEST(load_reads_what_has_no_size)
{
    char *data = NULL;
    size_t n = 0;
    expect_ok(gev_file_load("/proc/self/maps", &data, &n));
    expect_ge(n, 500);
    expect_uint_eq(strlen(data), n);
    free(data);
    data = NULL;
    make_dir();
    put("empty", "");
    expect_ok(gev_file_load(in_dir("empty"), &data, &n));
    expect_uint_eq(n, 0);
    expect_str_eq(data, "");
    free(data);
    expect_ok(gev_file_load(in_dir("empty"), NULL, NULL));
    remove_dir((const char *const[]){"empty"}, 1);
}

/* FIL5: all or nothing; mode and links as they should be. */
GEV_TEST(save_replaces_the_file)
{
    struct stat before;
    struct stat after;
    make_dir();
    mode_t mask = umask(022);
    expect_ok(gev_file_save(in_dir("a"), "one", 3, 0666));
    umask(mask);
    expect_ok(stat(in_dir("a"), &before));
    expect_int_eq(before.st_mode & 07777, 0644);
    expect_content("a", "one");
    expect_ok(chmod(in_dir("a"), 0604));
    expect_ok(link(in_dir("a"), in_dir("hard")));
    expect_ok(symlink("a", in_dir("soft")));
    expect_ok(gev_file_save(in_dir("soft"), "three", 5, 0666));
    expect_ok(lstat(in_dir("soft"), &after));
    expect_true(S_ISLNK(after.st_mode));
    expect_content("a", "three");
    expect_content("hard", "one"); /* whoever had it open reads on */
    expect_ok(stat(in_dir("a"), &after));
    expect_int_eq(after.st_mode & 07777, 0604);
    expect_true(after.st_ino != before.st_ino);
    expect_ok(symlink("nowhere", in_dir("loose")));
    expect_ok(gev_file_save(in_dir("loose"), "made", 4, 0600));
    expect_content("nowhere", "made");
    expect_ok(gev_file_save(in_dir("nowhere"), NULL, 0, 0600));
    expect_content("nowhere", "");
    remove_dir((const char *const[]){"a", "hard", "soft", "loose", "nowhere"},
               5);
}

/* FIL5: if it fails the old content is there, and nothing else. */
GEV_TEST(failed_save_leaves_the_file_alone)
{
    struct rlimit old;
    char *big = calloc(1, 100000);
    make_dir();
    put("a", "old");
    expect_ok(getrlimit(RLIMIT_FSIZE, &old));
    struct rlimit small = {.rlim_cur = 50000, .rlim_max = old.rlim_max};
    expect_ok(setrlimit(RLIMIT_FSIZE, &small));
    expect_fail(gev_file_save(in_dir("a"), big, 100000, 0600), EFBIG);
    expect_fail(gev_file_save(in_dir("b"), big, 100000, 0600), EFBIG);
    expect_ok(setrlimit(RLIMIT_FSIZE, &old));
    expect_content("a", "old");
    free(big);
    remove_dir((const char *const[]){"a"}, 1);
}

struct saver {
    const char *path;
    char letter;
};

static void *save_often(void *arg)
{
    const struct saver *s = arg;
    char text[5000];
    memset(text, s->letter, sizeof(text));
    for (int i = 0; i < 20; i++) {
        if (gev_file_save(s->path, text, sizeof(text), 0600) != 0) {
            return gev_fail(errno);
        }
    }
    return NULL;
}

/* FIL3: greenlets save and load at once: nobody sees half a file. */
GEV_TEST(saves_exclude_each_other)
{
    make_dir();
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s", in_dir("a"));
    struct saver s[2] = {{path, 'a'}, {path, 'b'}};
    gev_greenlet *g[2];
    put("a", "");
    for (int i = 0; i < 2; i++) {
        g[i] = gev_spawn(save_often, &s[i]);
    }
    while (!gev_dead(g[0]) || !gev_dead(g[1])) {
        char *data = NULL;
        size_t n = 0;
        expect_ok(gev_file_load(path, &data, &n));
        expect_true(n == 0 || n == 5000);
        for (size_t i = 1; i < n; i++) {
            expect_int_eq(data[i], data[0]);
        }
        free(data);
    }
    for (int i = 0; i < 2; i++) {
        expect_ok(gev_get(g[i], NULL, 0));
    }
    gev_unrefall(g, 2);
    remove_dir((const char *const[]){"a"}, 1);
}

/* --- what blocks ---------------------------------------------------------- */

static int ticks;

static void *tick(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        if (gev_sleep(0.001) != 0) {
            return gev_fail(errno);
        }
        ticks++;
    }
    return NULL;
}

static void *write_to_fifo(void *path)
{
    while (ticks < 5) {
        if (gev_sleep(0.001) != 0) {
            return gev_fail(errno);
        }
    }
    int fd = gev_file_open(path, O_WRONLY, 0);
    int rc = gev_file_write(fd, "fifo", 4) == 4 ? 0 : -1;
    return gev_file_close(fd) == 0 && rc == 0 ? P(1) : gev_fail(errno);
}

/* Opening and reading a FIFO takes its time; the hub goes on. */
GEV_TEST(fifos_block_nobody_else)
{
    char buf[10] = "";
    void *value = NULL;
    make_dir();
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s", in_dir("fifo"));
    expect_ok(mkfifo(path, 0600));
    ticks = 0;
    gev_greenlet *writer = gev_spawn(write_to_fifo, path);
    gev_greenlet *ticker = gev_spawn(tick, NULL);
    int fd = gev_file_open(path, O_RDONLY, 0);
    expect_int_eq(gev_file_read(fd, buf, sizeof(buf)), 4); /* what is there */
    expect_str_eq(buf, "fifo");
    expect_ok(gev_get(writer, &value, GEV_FOREVER));
    expect_int_eq(gev_file_read(fd, buf, sizeof(buf)), 0);
    expect_ok(gev_file_close(fd));
    expect_int_eq(ticks, 5);
    expect_ok(gev_join(ticker, GEV_FOREVER));
    gev_unref(writer);
    gev_unref(ticker);
    /* save writes into it */
    writer = gev_spawn(write_to_fifo, path);
    char *data = NULL;
    size_t n = 0;
    expect_ok(gev_file_load(path, &data, &n));
    expect_str_eq(data, "fifo");
    free(data);
    expect_ok(gev_join(writer, GEV_FOREVER));
    gev_unref(writer);
    remove_dir((const char *const[]){"fifo"}, 1);
}

struct reader {
    int fd;
    char buf[8];
    ssize_t got;
    int error;
};

static void *read_pipe(void *arg)
{
    struct reader *r = arg;
    r->got = gev_file_read(r->fd, r->buf, sizeof(r->buf));
    r->error = r->got < 0 ? errno : 0;
    return NULL;
}

/* THP5: a killed or late reader leaves at once, its buffer untouched; the read
 * itself goes on. */
GEV_TEST(killed_readers_leave_at_once)
{
    int fds[2];
    struct reader r = {.buf = "before"};
    char c[4];
    expect_ok(pipe(fds));
    r.fd = fds[0];
    gev_greenlet *g = gev_spawn(read_pipe, &r);
    expect_ok(gev_sleep(0.005));
    expect_uint_eq(gev_threadpool_count(NULL), 1);
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_int_eq(r.got, -1);
    expect_int_eq(r.error, ECANCELED);
    expect_int_eq(write(fds[1], "abc", 3), 3);
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_str_eq(r.buf, "before");
    gev_timeout t = {{0}};
    expect_ok(gev_timeout_begin(&t, 0.002));
    expect_fail(gev_file_read(fds[0], c, 1), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    expect_int_eq(write(fds[1], "d", 1), 1);
    expect_ok(gev_threadpool_join(NULL, 20));
    /* what a pipe has is had without waiting, as much as there is */
    expect_int_eq(write(fds[1], "e", 1), 1);
    expect_int_eq(gev_file_read(fds[0], c, sizeof(c)), 1);
    expect_int_eq(c[0], 'e');
    gev_unref(g);
    close(fds[0]);
    close(fds[1]);
}

/* An open whose caller has left is closed again. */
GEV_TEST(abandoned_open_leaks_nothing)
{
    make_dir();
    expect_ok(mkfifo(in_dir("fifo"), 0600));
    expect_uint_eq(gev_threadpool_count(NULL), 0);
    size_t before = test_open_fds();
    gev_timeout t = {{0}};
    expect_ok(gev_timeout_begin(&t, 0.002));
    expect_fail(gev_file_open(in_dir("fifo"), O_RDONLY, 0), ETIMEDOUT);
    expect_true(gev_timeout_end(&t));
    int fd = open(in_dir("fifo"), O_WRONLY);
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_uint_eq(test_open_fds(), before + 1);
    close(fd);
    remove_dir((const char *const[]){"fifo"}, 1);
}

static void *close_when_killed(void *arg)
{
    (void)gev_sleep(GEV_FOREVER);
    int rc = gev_file_close(N(arg));
    return P(rc == -1 && errno == ECANCELED);
}

static void close_in_defer(void *arg)
{
    expect_ok(gev_file_close(N(arg)));
}

static void *close_at_end(void *arg)
{
    return gev_defer(close_in_defer, arg) == 0 ? NULL : gev_fail(errno);
}

static struct reader waiter;

static void *wait_readable(void *arg)
{
    waiter.got = gev_wait_fd(N(arg), GEV_READ, 20);
    waiter.error = errno;
    return NULL;
}

/* FIL7: a descriptor is closed whatever state its owner is in, and who waits on
 * it is told. */
GEV_TEST(close_always_closes)
{
    size_t before;
    int fds[2];
    expect_ok(gev_threadpool_apply(NULL, return_arg, NULL, NULL, 20));
    before = test_open_fds();
    expect_ok(pipe(fds));
    gev_greenlet *g = gev_spawn(close_when_killed, P(fds[0]));
    expect_ok(gev_yield());
    expect_ok(gev_kill(g, GEV_FOREVER));
    expect_ok(gev_threadpool_join(NULL, 20));
    expect_uint_eq(test_open_fds(), before + 1);
    gev_unref(g);
    g = gev_spawn(close_at_end, P(fds[1]));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_uint_eq(test_open_fds(), before);
    gev_unref(g);
    expect_ok(pipe(fds));
    g = gev_spawn(wait_readable, P(fds[0]));
    expect_ok(gev_yield());
    expect_ok(gev_file_close(fds[0]));
    expect_ok(gev_join(g, GEV_FOREVER));
    expect_int_eq(waiter.got, -1);
    expect_int_eq(waiter.error, EBADF);
    gev_unref(g);
    close(fds[1]);
}

/* No SIGPIPE; a blocking pipe takes it all. */
GEV_TEST(writes_to_pipes)
{
    enum { SIZE = 300000 };
    int fds[2];
    char *big = calloc(1, SIZE);
    struct reader r = {.got = 0};
    expect_ok(pipe(fds));
    expect_int_eq(gev_file_write(fds[1], "abc", 3), 3);
    r.fd = fds[0];
    read_pipe(&r);
    expect_int_eq(r.got, 3);
    expect_ok(fcntl(fds[1], F_SETFL, O_NONBLOCK));
    expect_int_eq(gev_file_write(fds[1], big, SIZE), 65536);
    expect_fail(gev_file_write(fds[1], big, 1), EAGAIN);
    close(fds[0]);
    expect_fail(gev_file_write(fds[1], big, 1), EPIPE);
    close(fds[1]);
    free(big);
}

/* --- elsewhere ------------------------------------------------------------ */

static void *use_files_in_job(void *path)
{
    char buf[8] = "";
    size_t fds = test_open_fds();
    int fd = gev_file_open(path, O_RDWR | O_CREAT, 0600);
    int wrong = fd < 0;
    wrong += gev_file_write(fd, "job", 3) != 3;
    wrong += gev_file_pread(fd, buf, 8, 0) != 3;
    wrong += strcmp(buf, "job") != 0;
    wrong += gev_file_close(fd) != 0;
    wrong += test_open_fds() != fds; /* no hub was made */
    return P(wrong);
}

/* In a job they are made in place. */
GEV_TEST(jobs_may_use_files)
{
    void *wrong = P(1);
    make_dir();
    expect_ok(gev_threadpool_apply(NULL, use_files_in_job,
                                   (void *)(uintptr_t)in_dir("a"), &wrong, 20));
    expect_int_eq(N(wrong), 0);
    expect_content("a", "job");
    remove_dir((const char *const[]){"a"}, 1);
}

static void read_in_callback(void *arg)
{
    char c = 0;
    /* cached data needs no park; anything else would */
    expect_int_eq(gev_file_pread(N(arg), &c, 1, 1), 1);
    expect_int_eq(c, 'e');
    expect_fail(gev_file_sync(N(arg)), EPERM);
    expect_fail(gev_file_load("/proc/self/stat", NULL, NULL), EPERM);
    expect_ok(gev_file_close(N(arg)));
}

GEV_TEST(callbacks_may_not_wait_for_files)
{
    make_dir();
    put("a", "text");
    int fd = gev_file_open(in_dir("a"), O_RDONLY, 0);
    char c;
    expect_int_eq(gev_file_pread(fd, &c, 1, 0), 1);
    expect_ok(gev_hub_post(gev_hub_get(), read_in_callback, P(fd)));
    expect_ok(gev_run(GEV_FOREVER));
    expect_fail(fcntl(fd, F_GETFD), EBADF);
    remove_dir((const char *const[]){"a"}, 1);
}

/* FIL4: cached data is read on the spot: nobody else runs meanwhile. */
GEV_TEST(cached_data_needs_no_thread)
{
    char buf[100];
    make_dir();
    put("a", "some text");
    int fd = gev_file_open(in_dir("a"), O_RDONLY, 0);
    expect_int_eq(gev_file_pread(fd, buf, sizeof(buf), 0), 9);
    expect_ok(gev_threadpool_set_size(NULL, 0));
    expect_until(gev_threadpool_size(NULL) == 0);
    gev_stats before = {.size = sizeof(before)};
    gev_stats after = {.size = sizeof(after)};
    gev_hub_stats(gev_hub_get(), &before);
    expect_int_eq(gev_file_pread(fd, buf, sizeof(buf), 0), 9);
    gev_hub_stats(gev_hub_get(), &after);
    if (after.switches != before.switches) {
        /* this file system cannot tell */
        expect_uint_eq(gev_threadpool_size(NULL), 1);
    } else {
        expect_uint_eq(gev_threadpool_size(NULL), 0);
    }
    expect_ok(gev_file_close(fd));
    remove_dir((const char *const[]){"a"}, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(errors_are_the_systems),
        cmocka_unit_test(full_device_is_enospc),
        cmocka_unit_test(big_files),
        cmocka_unit_test(load_reads_what_has_no_size),
        cmocka_unit_test(save_replaces_the_file),
        cmocka_unit_test(failed_save_leaves_the_file_alone),
        cmocka_unit_test(saves_exclude_each_other),
        cmocka_unit_test(fifos_block_nobody_else),
        cmocka_unit_test(killed_readers_leave_at_once),
        cmocka_unit_test(abandoned_open_leaks_nothing),
        cmocka_unit_test(close_always_closes),
        cmocka_unit_test(writes_to_pipes),
        cmocka_unit_test(jobs_may_use_files),
        cmocka_unit_test(callbacks_may_not_wait_for_files),
        cmocka_unit_test(cached_data_needs_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
