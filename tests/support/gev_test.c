/* SPDX-License-Identifier: MIT */
#include "support/gev_test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gev/debug.h>
#include <gev/hub.h>

#ifdef GEV_FAULT_INJECTION
#include "base/alloc.h"
#include "base/sys.h"
#endif

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc has no name for it */
#endif

/* --- What went wrong ------------------------------------------------------ */

/* The first failure of the running test. Written by whoever claims it, read
 * by the runner once ready. */
static struct {
    atomic_flag claimed;
    atomic_bool ready;
    atomic_uint count; /* of all failures */
    const char *file;
    int line;
    char text[2048];
} failure = {.claimed = ATOMIC_FLAG_INIT};

static char note[256];
static const char *skip_reason;

bool test_failed(void)
{
    return atomic_load(&failure.count) > 0;
}

void test_set_skipped(const char *reason)
{
    skip_reason = reason;
}

void test_note(const char *format, ...)
{
    note[0] = '\0';
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(note, sizeof(note), format, args);
        va_end(args);
    }
}

bool test_record(const char *file, int line, const char *format, ...)
{
    int error = errno;
    atomic_fetch_add(&failure.count, 1);
    if (!atomic_flag_test_and_set(&failure.claimed)) {
        size_t n = 0;
        if (note[0] != '\0') {
            n = (size_t)snprintf(failure.text, sizeof(failure.text), "[%s] ",
                                 note);
        }
        va_list args;
        va_start(args, format);
        vsnprintf(failure.text + n, sizeof(failure.text) - n, format, args);
        va_end(args);
        failure.file = file;
        failure.line = line;
        atomic_store(&failure.ready, true);
    }
    errno = error;
    return false;
}

/* --- Expectations --------------------------------------------------------- */

bool test_true(bool c, const char *text, const char *file, int line)
{
    return c || test_record(file, line, "not true: %s", text);
}

bool test_false(bool c, const char *text, const char *file, int line)
{
    return !c || test_record(file, line, "not false: %s", text);
}

bool test_int_eq(intmax_t actual, intmax_t wanted, const char *actual_text,
                 const char *wanted_text, const char *file, int line)
{
    return actual == wanted ||
           test_record(file, line,
                       "%s is %" PRIdMAX ", not %" PRIdMAX
                       " (%s); errno is %d (%s)",
                       actual_text, actual, wanted, wanted_text, errno,
                       gev_strerror(errno));
}

bool test_uint_eq(uintmax_t actual, uintmax_t wanted, const char *actual_text,
                  const char *wanted_text, const char *file, int line)
{
    return actual == wanted ||
           test_record(file, line, "%s is %" PRIuMAX ", not %" PRIuMAX " (%s)",
                       actual_text, actual, wanted, wanted_text);
}

bool test_ptr_eq(const void *actual, const void *wanted,
                 const char *actual_text, const char *wanted_text,
                 const char *file, int line)
{
    return actual == wanted ||
           test_record(file, line, "%s is %p, not %p (%s)", actual_text, actual,
                       wanted, wanted_text);
}

bool test_null(const void *p, const char *text, const char *file, int line)
{
    return p == NULL || test_record(file, line, "%s is %p, not NULL", text, p);
}

bool test_not_null(const void *p, const char *text, const char *file, int line)
{
    return p != NULL || test_record(file, line, "%s is NULL; errno is %d (%s)",
                                    text, errno, gev_strerror(errno));
}

bool test_str_eq(const char *actual, const char *wanted, const char *text,
                 const char *file, int line)
{
    if (actual == wanted ||
        (actual != NULL && wanted != NULL && strcmp(actual, wanted) == 0)) {
        return true;
    }
    return test_record(file, line, "%s is\n  \"%s\", not\n  \"%s\"", text,
                       actual != NULL ? actual : "(NULL)",
                       wanted != NULL ? wanted : "(NULL)");
}

bool test_mem_eq(const void *actual, const void *wanted, size_t n,
                 const char *text, const char *file, int line)
{
    const unsigned char *a = actual;
    const unsigned char *b = wanted;
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            return test_record(file, line,
                               "byte %zu of %zu of %s is 0x%02x, not 0x%02x", i,
                               n, text, a[i], b[i]);
        }
    }
    return true;
}

bool test_ge(double a, double b, const char *a_text, const char *b_text,
             const char *file, int line)
{
    return a >= b || test_record(file, line, "%s is %.9g, less than %.9g (%s)",
                                 a_text, a, b, b_text);
}

bool test_le(double a, double b, const char *a_text, const char *b_text,
             const char *file, int line)
{
    return a <= b || test_record(file, line, "%s is %.9g, more than %.9g (%s)",
                                 a_text, a, b, b_text);
}

bool test_fails(intmax_t rc, int error, const char *text, const char *file,
                int line)
{
    if (rc != -1) {
        return test_record(file, line,
                           "%s is %" PRIdMAX ", not -1 with %d (%s)", text, rc,
                           error, gev_strerror(error));
    }
    return errno == error ||
           test_record(file, line, "errno after %s is %d (%s), not %d (%s)",
                       text, errno, gev_strerror(errno), error,
                       gev_strerror(error));
}

bool test_ok(intmax_t rc, const char *text, const char *file, int line)
{
    return rc == 0 ||
           test_record(file, line, "%s is %" PRIdMAX "; errno is %d (%s)", text,
                       rc, errno, gev_strerror(errno));
}

/* --- Helpers -------------------------------------------------------------- */

double test_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

double test_scale(double seconds)
{
    const char *text = getenv("GEV_TEST_SCALE");
    double scale = text != NULL ? strtod(text, NULL) : 1;
    return scale > 0 ? seconds * scale : seconds;
}

void test_spin(double seconds)
{
    double end = test_now() + seconds;
    while (test_now() < end) {
    }
}

/* Prints them, too, if they are to be shown. */
static size_t list_fds(bool show)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        test_record(TEST_HERE, "/proc/self/fd: %s", strerror(errno));
        return 0;
    }
    size_t count = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        count++;
        char target[256] = "";
        if (show &&
            readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1) > 0) {
            print_error("  descriptor %d: %s\n", fd, target);
        }
    }
    closedir(dir);
    return count;
}

size_t test_open_fds(void)
{
    return list_fds(false);
}

void test_socketpair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        test_record(TEST_HERE, "socketpair: %s", strerror(errno));
        fds[0] = -1;
        fds[1] = -1;
    }
}

int test_tcp_listener(uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *any = (struct sockaddr *)(void *)&addr;
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, any, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, any, &len) < 0) {
        test_record(TEST_HERE, "TCP listener: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

/* --- Nothing left behind -------------------------------------------------- */

struct balance {
    size_t fds;
    long mapped; /* bytes of stacks */
    long blocks; /* allocated by gev; 0 if not counted */
};

#ifdef GEV_FAULT_INJECTION

static long live_blocks(void)
{
    return gev__alloc_live();
}

static long mapped_bytes(void)
{
    return gev__sys_mapped();
}

#else

static long live_blocks(void)
{
    return 0;
}

/* Stacks can be told from the outside: they are anonymous and MAP_NORESERVE
 * ("nr"), which libc's thread stacks and big blocks are not; its arenas are,
 * but there is only one (see set_up). Sanitizers and valgrind map so
 * themselves; the build with fault points counts exactly, also under these. */
static long mapped_bytes(void)
{
    const char *preload = getenv("LD_PRELOAD");
    if ((ON_ASAN || ON_TSAN) ||
        (preload != NULL && strstr(preload, "vgpreload") != NULL)) {
        return 0;
    }
    FILE *f = fopen("/proc/self/smaps", "re");
    if (f == NULL) {
        test_record(TEST_HERE, "/proc/self/smaps: %s", strerror(errno));
        return 0;
    }
    char line[512];
    long total = 0;
    long size = 0; /* of the mapping the following lines are about */
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long begin;
        unsigned long end;
        unsigned long inode;
        char share;
        if (sscanf(line, "%lx-%lx %*3c%c %*s %*s %lu", &begin, &end, &share,
                   &inode) == 4) {
            size = share == 'p' && inode == 0 ? (long)(end - begin) : 0;
        } else if (strncmp(line, "VmFlags:", 8) == 0 &&
                   strstr(line, " nr") != NULL) {
            total += size;
        }
    }
    fclose(f);
    return total;
}

#endif

static struct balance take_balance(void)
{
    return (struct balance){
        .fds = test_open_fds(),
        .mapped = mapped_bytes(),
        .blocks = live_blocks(),
    };
}

static void check_balance(struct balance before)
{
    struct balance after = take_balance();
    if (after.fds != before.fds) {
        list_fds(true);
        test_record(TEST_HERE, "%zu descriptors were open before, %zu are now",
                    before.fds, after.fds);
    }
    if (after.mapped != before.mapped) {
        test_record(TEST_HERE, "%ld bytes of stacks are still mapped",
                    after.mapped - before.mapped);
    }
    if (after.blocks != before.blocks) {
        test_record(TEST_HERE, "%ld blocks are still allocated",
                    after.blocks - before.blocks);
    }
    int status;
    pid_t child = waitpid(-1, &status, WNOHANG);
    if (child >= 0) {
        test_record(TEST_HERE, "a child process was left, %s",
                    child > 0 ? "unreaped" : "running");
    }
}

/* --- The runner ----------------------------------------------------------- */

#define WATCHDOG_SECONDS 60.0
#define WATCHDOG_SIGNAL (SIGRTMAX - 4) /* qemu lacks the last two */
#define WATCHDOG_EXIT 99

static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
#define N_CRASHES (sizeof(crashes) / sizeof(crashes[0]))

/* What was there before cmocka: nothing, or a sanitizer's report. */
static struct sigaction crash_actions[N_CRASHES];
static const char *running;

__attribute__((constructor)) static void set_up(void)
{
    for (size_t i = 0; i < N_CRASHES; i++) {
        sigaction(crashes[i], NULL, &crash_actions[i]);
    }
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
#endif
}

/* cmocka would longjmp out of the handler, from a greenlet's stack as well: a
 * crash had better end the process. ret_old: what to put back. */
static void set_crash_actions(const struct sigaction *actions,
                              struct sigaction *ret_old)
{
    for (size_t i = 0; i < N_CRASHES; i++) {
        sigaction(crashes[i], &actions[i], ret_old);
        if (ret_old != NULL) {
            ret_old++;
        }
    }
}

static void print_raw(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* Nowhere left to say it. */
    }
}

/* In the runner's thread, which gev_dump() is about. That is not safe in a
 * signal handler, but the process is lost anyway; should it hang or crash, the
 * timer's next signal or the crash ends it. */
static void on_watchdog(int signum)
{
    (void)signum;
    static volatile sig_atomic_t barked;
    if (barked) {
        _exit(WATCHDOG_EXIT);
    }
    barked = 1;
    print_raw("\nThe test ");
    print_raw(running);
    print_raw(" hangs. Its greenlets:\n");
    gev_dump(stderr);
    _exit(WATCHDOG_EXIT);
}

static bool start_watchdog(timer_t *ret_timer)
{
    /* SA_NODEFER: the second bark ends a dump that hangs. */
    struct sigaction action = {.sa_handler = on_watchdog,
                               .sa_flags = SA_NODEFER | SA_RESTART};
    sigaction(WATCHDOG_SIGNAL, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = WATCHDOG_SIGNAL,
                             .sigev_notify_thread_id = gettid()};
    double seconds = test_scale(WATCHDOG_SECONDS);
    time_t whole = (time_t)seconds;
    struct itimerspec when = {
        /* Not 0, which would disarm it. */
        .it_value = {whole, 1 + (long)((seconds - (double)whole) * 999999998)},
        .it_interval = {5, 0},
    };
    if (timer_create(CLOCK_MONOTONIC, &event, ret_timer) < 0) {
        return test_record(TEST_HERE, "no watchdog: %s", strerror(errno));
    }
    timer_settime(*ret_timer, 0, &when, NULL);
    return true;
}

static void report(void)
{
    if (test_failed()) {
        unsigned more = atomic_load(&failure.count) - 1;
        /* Somebody in another thread may still be writing it. */
        while (!atomic_load(&failure.ready)) {
            usleep(1000);
        }
        print_error("%s\n", failure.text);
        if (more > 0) {
            print_error("and %u more failures\n", more);
        }
        _fail(failure.file, failure.line); /* what fail_msg() is made of */
    }
    if (skip_reason != NULL) {
        print_message("skipped: %s\n", skip_reason);
        skip();
    }
}

void test_run(const char *name, void (*body)(void))
{
    atomic_flag_clear(&failure.claimed);
    atomic_store(&failure.ready, false);
    atomic_store(&failure.count, 0);
    skip_reason = NULL;
    running = name;
    test_note(NULL);
    struct sigaction cmockas[N_CRASHES];
    set_crash_actions(crash_actions, cmockas);

    struct balance before = take_balance();
    timer_t watchdog;
    bool watched = start_watchdog(&watchdog);
    body();
    if (gev_hub_close() != 0) {
        test_record(TEST_HERE, "gev_hub_close: %s", gev_strerror(errno));
    }
    if (watched) {
        timer_delete(watchdog);
    }
    check_balance(before);

    set_crash_actions(cmockas, NULL);
    report();
}
