/* SPDX-License-Identifier: MIT */
/* base/sys.h. No greenlets run: cmocka's own asserts are fine here. */
#include "base/sys.h"

#include "base/clock.h"
#include "base/fault.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BAD_FD 1000000
#define AT(point) (1u << GEV__FAULT_##point)

static struct sockaddr *any(void *addr)
{
    return addr;
}

static void close_both(const int fds[2])
{
    assert_int_equal(gev__sys_close(fds[0]), 0);
    assert_int_equal(gev__sys_close(fds[1]), 0);
}

static void make_pair(int type, int fds[2])
{
    assert_int_equal(gev__sys_socketpair(AF_UNIX, type, 0, fds), 0);
}

/* A listener on 127.0.0.1; *ret_addr: where. */
static int make_listener(struct sockaddr_in *ret_addr)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = gev__sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(gev__sys_bind(fd, any(&addr), len), 0);
    assert_int_equal(gev__sys_listen(fd, 5), 0);
    assert_int_equal(gev__sys_getsockname(fd, any(&addr), &len), 0);
    *ret_addr = addr;
    return fd;
}

static int disarm(void **state)
{
    (void)state;
    gev__fault_disarm();
    return 0;
}

/* --- Results -------------------------------------------------------------- */

static void transfers_return_counts(void **state)
{
    (void)state;
    int p[2];
    int s[2];
    char buf[16] = "";
    assert_int_equal(gev__sys_pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, s);
    struct iovec out[] = {{(char[]){"ab"}, 2}, {(char[]){"cde"}, 3}};
    struct iovec in[] = {{buf, 1}, {buf + 1, 10}};
    struct msghdr out_msg = {.msg_iov = out, .msg_iovlen = 2};
    struct msghdr in_msg = {.msg_iov = in, .msg_iovlen = 2};

    assert_int_equal(gev__sys_write(p[1], "12345", 5), 5);
    assert_int_equal(gev__sys_read(p[0], buf, 3), 3);
    assert_int_equal(gev__sys_readv(p[0], in, 2), 2);
    assert_memory_equal(buf, "453", 3);
    assert_int_equal(gev__sys_writev(p[1], out, 2), 5);
    assert_int_equal(gev__sys_readv(p[0], in, 2), 5);
    assert_memory_equal(buf, "abcde", 5);

    assert_int_equal(gev__sys_send(s[0], "xyz", 3, MSG_NOSIGNAL), 3);
    assert_int_equal(gev__sys_recv(s[1], buf, 16, MSG_PEEK), 3);
    assert_int_equal(gev__sys_recvfrom(s[1], buf, 16, 0, NULL, NULL), 3);
    assert_int_equal(gev__sys_sendto(s[0], "uvw", 3, 0, NULL, 0), 3);
    assert_int_equal(gev__sys_recv(s[1], buf, 16, 0), 3);
    assert_memory_equal(buf, "uvw", 3);
    assert_int_equal(gev__sys_sendmsg(s[0], &out_msg, 0), 5);
    assert_int_equal(gev__sys_recvmsg(s[1], &in_msg, 0), 5);
    assert_memory_equal(buf, "abcde", 5);

    /* Nothing there; then the end. */
    assert_int_equal(gev__sys_read(p[0], buf, 1), -EAGAIN);
    assert_int_equal(gev__sys_recv(s[1], buf, 1, 0), -EAGAIN);
    assert_int_equal(gev__sys_shutdown(s[0], SHUT_WR), 0);
    assert_int_equal(gev__sys_recv(s[1], buf, 1, 0), 0);
    assert_int_equal(gev__sys_send(s[0], "x", 1, MSG_NOSIGNAL), -EPIPE);
    close_both(p);
    close_both(s);
}

static void sendfile_sends_from_an_offset(void **state)
{
    (void)state;
    int s[2];
    char buf[16];
    FILE *f = tmpfile();
    assert_non_null(f);
    fputs("0123456789", f);
    fflush(f);
    make_pair(SOCK_STREAM, s);
    off_t offset = 4;
    assert_int_equal(gev__sys_sendfile(s[0], fileno(f), &offset, 3), 3);
    assert_int_equal(offset, 7);
    assert_int_equal(gev__sys_recv(s[1], buf, 16, 0), 3);
    assert_memory_equal(buf, "456", 3);
    fclose(f);
    close_both(s);
}

static void closed_twice_is_ebadf(void **state)
{
    (void)state;
    int fd = gev__sys_eventfd();
    assert_true(fd >= 0);
    assert_int_equal(gev__sys_close(fd), 0);
    assert_int_equal(gev__sys_close(fd), -EBADF);
    assert_int_equal(gev__sys_close(-1), -EBADF);
}

static void descriptors_have_their_flags(void **state)
{
    (void)state;
    int fd = gev__sys_eventfd();
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(gev__sys_getfl(fd) & O_NONBLOCK);
    int copy = gev__sys_dup(fd);
    assert_true(copy >= 0 && copy != fd);
    assert_true(fcntl(copy, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(gev__sys_setfl(copy, 0), 0);
    assert_false(gev__sys_getfl(fd) & O_NONBLOCK); /* one open file */
    struct stat a;
    struct stat b;
    assert_int_equal(gev__sys_fstat(fd, &a), 0);
    assert_int_equal(gev__sys_fstat(copy, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    close_both((int[]){fd, copy});
}

static void sockets_connect(void **state)
{
    (void)state;
    struct sockaddr_in addr;
    struct sockaddr_in peer;
    struct sockaddr_in own;
    socklen_t len = sizeof(addr);
    int listener = make_listener(&addr);
    int out = gev__sys_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(gev__sys_getpeername(out, any(&peer), &len), -ENOTCONN);
    assert_int_equal(gev__sys_connect(out, any(&addr), sizeof(addr)), 0);
    assert_int_equal(gev__sys_connect(out, any(&addr), sizeof(addr)), -EISCONN);
    len = sizeof(peer);
    int in = gev__sys_accept4(listener, any(&peer), &len, SOCK_CLOEXEC);
    assert_true(in >= 0);
    assert_true(fcntl(in, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(gev__sys_getsockname(out, any(&own), &len), 0);
    assert_int_equal(own.sin_port, peer.sin_port);
    int on = 1;
    int value = 0;
    len = sizeof(on);
    assert_int_equal(
        gev__sys_setsockopt(out, SOL_SOCKET, SO_KEEPALIVE, &on, len), 0);
    assert_int_equal(
        gev__sys_getsockopt(out, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
    assert_int_equal(value, 1);
    close_both((int[]){in, out});
    assert_int_equal(gev__sys_close(listener), 0);
}

static void children_are_waited_for(void **state)
{
    (void)state;
    int status = 0;
    assert_int_equal(gev__sys_waitpid(getpid(), &status, 0), -ECHILD);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(5);
    }
    int fd = gev__sys_pidfd_open(pid);
    if (fd == -ENOSYS || fd == -EPERM) {
        print_message("no pidfd_open(2) here\n");
    } else {
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(gev__sys_poll(&p, 1, -1), 1);
        assert_int_equal(gev__sys_close(fd), 0);
    }
    assert_int_equal(gev__sys_waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 5);
}

static void mappings_are_counted(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    long before = gev__sys_mapped();
    int error = 77;
    char *p = gev__sys_mmap(4 * page, &error);
    assert_non_null(p);
    assert_int_equal(error, 77); /* untouched */
    assert_int_equal(gev__sys_mapped(), before + (long)(4 * page));
    memset(p, 1, 4 * page);
    assert_int_equal(gev__sys_madvise(p, page, MADV_DONTNEED), 0);
    assert_int_equal(p[0], 0);
    assert_int_equal(gev__sys_mprotect(p, page, PROT_NONE), 0);
    assert_int_equal(gev__sys_munmap(p, page), 0); /* in two parts */
    assert_int_equal(gev__sys_mapped(), before + (long)(3 * page));
    assert_int_equal(gev__sys_munmap(p + page, 3 * page), 0);
    assert_int_equal(gev__sys_mapped(), before);

    assert_int_equal(gev__sys_munmap(p + 1, page), -EINVAL);
    assert_int_equal(gev__sys_mprotect(p + 1, page, PROT_NONE), -EINVAL);
    assert_int_equal(gev__sys_madvise(p + 1, page, MADV_DONTNEED), -EINVAL);
    assert_null(gev__sys_mmap(0, &error));
    assert_int_equal(error, -EINVAL);
    error = 0;
    assert_null(gev__sys_mmap(SIZE_MAX / 2, &error));
    assert_true(error == -ENOMEM || error == -EINVAL); /* valgrind's words */
    assert_int_equal(gev__sys_mapped(), before);
}

/* --- Real interruptions --------------------------------------------------- */

static atomic_uint interruptions;

static void on_alarm(int signum)
{
    (void)signum;
    atomic_fetch_add(&interruptions, 1);
}

/* A signal every 2 ms, without SA_RESTART: whatever blocks gets EINTR. */
static void start_interruptions(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    assert_int_equal(gev__sys_sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval often = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &often, NULL);
}

static void stop_interruptions(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    /* The handler stays: valgrind may deliver the last signal late. */
    assert_true(atomic_exchange(&interruptions, 0) > 0);
}

/* Lets the main thread be interrupted ten times, then does something that ends
 * its wait. */
struct helper {
    pthread_t thread;
    void (*end_it)(struct helper *);
    int fd;
    struct sockaddr_in addr;
};

static void *run_helper(void *arg)
{
    struct helper *h = arg;
    while (atomic_load(&interruptions) < 10) {
        usleep(500);
    }
    h->end_it(h);
    return NULL;
}

static void start_helper(struct helper *h)
{
    sigset_t alarms;
    sigset_t old;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, &old);
    assert_int_equal(pthread_create(&h->thread, NULL, run_helper, h), 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    start_interruptions();
}

static void stop_helper(struct helper *h)
{
    pthread_join(h->thread, NULL);
    stop_interruptions();
}

static void write_a_byte(struct helper *h)
{
    if (write(h->fd, "x", 1) != 1) {
        abort();
    }
}

static void interrupted_reads_go_on(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        int s[2];
        char c = 0;
        struct iovec iov = {&c, 1};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = 0;
        make_pair(SOCK_STREAM, s);
        struct helper h = {.end_it = write_a_byte, .fd = s[1]};
        start_helper(&h);
        switch (way) {
        case 0:
            n = gev__sys_read(s[0], &c, 1);
            break;
        case 1:
            n = gev__sys_readv(s[0], &iov, 1);
            break;
        case 2:
            n = gev__sys_recv(s[0], &c, 1, 0);
            break;
        case 3:
            n = gev__sys_recvfrom(s[0], &c, 1, 0, NULL, NULL);
            break;
        default:
            n = gev__sys_recvmsg(s[0], &msg, 0);
            break;
        }
        stop_helper(&h);
        assert_int_equal(n, 1);
        assert_int_equal(c, 'x');
        close_both(s);
    }
}

static void drain(struct helper *h)
{
    static char sink[1 << 16];
    if (read(h->fd, sink, sizeof(sink)) <= 0) {
        abort();
    }
}

static void interrupted_writes_go_on(void **state)
{
    (void)state;
    int p[2];
    static const char page[4096];
    assert_int_equal(gev__sys_pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    while (gev__sys_write(p[1], page, sizeof(page)) > 0) {
    }
    assert_int_equal(gev__sys_setfl(p[1], 0), 0);
    struct helper h = {.end_it = drain, .fd = p[0]};
    start_helper(&h);
    ssize_t n = gev__sys_write(p[1], "x", 1);
    stop_helper(&h);
    assert_int_equal(n, 1);
    close_both(p);
}

static void connect_to(struct helper *h)
{
    h->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(h->fd, any(&h->addr), sizeof(h->addr)) < 0) {
        abort();
    }
}

static void interrupted_accept_goes_on(void **state)
{
    (void)state;
    struct helper h = {.end_it = connect_to};
    int listener = make_listener(&h.addr);
    start_helper(&h);
    int fd = gev__sys_accept4(listener, NULL, NULL, 0);
    stop_helper(&h);
    assert_true(fd >= 0);
    close_both((int[]){fd, h.fd});
    assert_int_equal(gev__sys_close(listener), 0);
}

/* Each signal starts the wait anew, but not its time. */
static void interrupted_poll_keeps_its_time(void **state)
{
    (void)state;
    int fd = gev__sys_eventfd();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    start_interruptions();
    int64_t begin = gev__clock_now();
    int rc = gev__sys_poll(&p, 1, 100);
    int64_t took = gev__clock_now() - begin;
    stop_interruptions();
    assert_int_equal(rc, 0);
    assert_true(took >= 100 * GEV__MS);
    assert_true(took < 60 * GEV__SEC); /* not for ever */

    struct helper h = {.end_it = write_a_byte};
    int s[2];
    make_pair(SOCK_STREAM, s);
    h.fd = s[1];
    p.fd = s[0];
    start_helper(&h);
    rc = gev__sys_poll(&p, 1, -1);
    stop_helper(&h);
    assert_int_equal(rc, 1);
    assert_int_equal(gev__sys_poll(&p, 1, 0), 1);
    close_both(s);
    assert_int_equal(gev__sys_close(fd), 0);
}

static void interrupted_waitpid_goes_on(void **state)
{
    (void)state;
    int p[2];
    int status = 0;
    assert_int_equal(gev__sys_pipe2(p, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        _exit(read(p[0], &c, 1) == 1 ? 3 : 4);
    }
    struct helper h = {.end_it = write_a_byte, .fd = p[1]};
    start_helper(&h);
    pid_t got = gev__sys_waitpid(pid, &status, 0);
    stop_helper(&h);
    assert_int_equal(got, pid);
    assert_int_equal(WEXITSTATUS(status), 3);
    close_both(p);
}

/* A blocking connect waits while the listener's queue is full. */
static void interrupted_connect_is_reported(void **state)
{
    (void)state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t); /* the kernel finds a name */
    int listener = gev__sys_socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(gev__sys_bind(listener, any(&addr), len), 0);
    assert_int_equal(gev__sys_listen(listener, 0), 0);
    len = sizeof(addr);
    assert_int_equal(gev__sys_getsockname(listener, any(&addr), &len), 0);
    int fds[4];
    int n = 0;
    int rc = 0;
    while (n < 4 && rc == 0) { /* fills it: room for backlog + 1 */
        fds[n] = gev__sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        rc = gev__sys_connect(fds[n++], any(&addr), len);
    }
    assert_int_equal(rc, -EAGAIN);
    assert_int_equal(gev__sys_setfl(fds[n - 1], 0), 0);
    start_interruptions();
    rc = gev__sys_connect(fds[n - 1], any(&addr), len);
    stop_interruptions();
    assert_int_equal(rc, -EINTR);
    while (n > 0) {
        assert_int_equal(gev__sys_close(fds[--n]), 0);
    }
    assert_int_equal(gev__sys_close(listener), 0);
}

/* --- All calls, failing --------------------------------------------------- */

static char byte;
static int number;
static socklen_t length = sizeof(int);
static struct iovec iov = {&byte, 1};
static struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
static struct sockaddr_in address = {.sin_family = AF_INET};
static socklen_t address_length = sizeof(address);
static struct stat status_of_file;
static _Alignas(8) char unaligned[8];
static int mmap_error;

/* Each call in a way that must fail by itself. */
#define CALL(name, expression)                                                 \
    static ssize_t call_##name(void)                                           \
    {                                                                          \
        return (expression);                                                   \
    }

CALL(read, gev__sys_read(BAD_FD, &byte, 1))
CALL(readv, gev__sys_readv(BAD_FD, &iov, 1))
CALL(recv, gev__sys_recv(BAD_FD, &byte, 1, 0))
CALL(recvfrom, gev__sys_recvfrom(BAD_FD, &byte, 1, 0, NULL, NULL))
CALL(recvmsg, gev__sys_recvmsg(BAD_FD, &msg, 0))
CALL(write, gev__sys_write(BAD_FD, &byte, 1))
CALL(writev, gev__sys_writev(BAD_FD, &iov, 1))
CALL(send, gev__sys_send(BAD_FD, &byte, 1, 0))
CALL(sendto, gev__sys_sendto(BAD_FD, &byte, 1, 0, NULL, 0))
CALL(sendmsg, gev__sys_sendmsg(BAD_FD, &msg, 0))
CALL(sendfile, gev__sys_sendfile(BAD_FD, BAD_FD, NULL, 1))
CALL(socket, gev__sys_socket(-1, SOCK_STREAM, 0))
CALL(socketpair, gev__sys_socketpair(-1, SOCK_STREAM, 0, (int[2]){0, 0}))
CALL(pipe2, gev__sys_pipe2((int[2]){0, 0}, -1))
CALL(dup, gev__sys_dup(BAD_FD))
CALL(accept4, gev__sys_accept4(BAD_FD, NULL, NULL, 0))
CALL(connect, gev__sys_connect(BAD_FD, any(&address), address_length))
CALL(bind, gev__sys_bind(BAD_FD, any(&address), address_length))
CALL(listen, gev__sys_listen(BAD_FD, 1))
CALL(getsockopt,
     gev__sys_getsockopt(BAD_FD, SOL_SOCKET, SO_TYPE, &number, &length))
CALL(setsockopt,
     gev__sys_setsockopt(BAD_FD, SOL_SOCKET, SO_KEEPALIVE, &number, length))
CALL(getsockname, gev__sys_getsockname(BAD_FD, any(&address), &address_length))
CALL(getpeername, gev__sys_getpeername(BAD_FD, any(&address), &address_length))
CALL(getfl, gev__sys_getfl(BAD_FD))
CALL(setfl, gev__sys_setfl(BAD_FD, 0))
CALL(fstat, gev__sys_fstat(BAD_FD, &status_of_file))
CALL(waitpid, gev__sys_waitpid(getpid(), &number, 0))
CALL(mmap, gev__sys_mmap(0, &mmap_error) == NULL ? mmap_error : 0)
CALL(mprotect, gev__sys_mprotect(&unaligned[1], 1, PROT_NONE))
CALL(madvise, gev__sys_madvise(&unaligned[1], 1, MADV_NORMAL))
CALL(shutdown, gev__sys_shutdown(BAD_FD, SHUT_RD))
CALL(close, gev__sys_close(BAD_FD))
CALL(sigaction, gev__sys_sigaction(-1, NULL, NULL))
CALL(munmap, gev__sys_munmap(NULL, 0))

static const struct {
    const char *name;
    ssize_t (*make)(void);
    unsigned point; /* 0: none */
    int error;      /* its own */
} calls[] = {
#define ENTRY(name, point, error)                                              \
    {                                                                          \
#name, call_##name, point, error                                       \
    }
    ENTRY(read, AT(READ), EBADF),
    ENTRY(readv, AT(READ), EBADF),
    ENTRY(recv, AT(READ), EBADF),
    ENTRY(recvfrom, AT(READ), EBADF),
    ENTRY(recvmsg, AT(READ), EBADF),
    ENTRY(write, AT(WRITE), EBADF),
    ENTRY(writev, AT(WRITE), EBADF),
    ENTRY(send, AT(WRITE), EBADF),
    ENTRY(sendto, AT(WRITE), EBADF),
    ENTRY(sendmsg, AT(WRITE), EBADF),
    ENTRY(sendfile, AT(WRITE), EBADF),
    ENTRY(socket, AT(OPEN), EAFNOSUPPORT),
    ENTRY(socketpair, AT(OPEN), EAFNOSUPPORT),
    ENTRY(pipe2, AT(OPEN), EINVAL),
    ENTRY(dup, AT(OPEN), EBADF),
    ENTRY(accept4, AT(ACCEPT), EBADF),
    ENTRY(connect, AT(CONNECT), EBADF),
    ENTRY(bind, AT(BIND), EBADF),
    ENTRY(listen, AT(BIND), EBADF),
    ENTRY(getsockopt, AT(SOCKOPT), EBADF),
    ENTRY(setsockopt, AT(SOCKOPT), EBADF),
    ENTRY(getsockname, AT(SOCKOPT), EBADF),
    ENTRY(getpeername, AT(SOCKOPT), EBADF),
    ENTRY(getfl, AT(SOCKOPT), EBADF),
    ENTRY(setfl, AT(SOCKOPT), EBADF),
    ENTRY(fstat, AT(SOCKOPT), EBADF),
    ENTRY(waitpid, AT(WAIT), ECHILD),
    ENTRY(mmap, AT(MMAP), EINVAL),
    ENTRY(mprotect, AT(MMAP), EINVAL),
    ENTRY(madvise, AT(MMAP), EINVAL),
    ENTRY(shutdown, 0, EBADF),
    ENTRY(close, 0, EBADF),
    ENTRY(sigaction, 0, EINVAL),
    ENTRY(munmap, 0, EINVAL),
#undef ENTRY
};

static void check_call(size_t i, int wanted, unsigned wanted_calls)
{
    ssize_t rc = calls[i].make();
    if (rc != -wanted) {
        fail_msg("%s returned %zd, not %d", calls[i].name, rc, -wanted);
    }
    unsigned made = gev__fault_calls(calls[i].point);
    if (calls[i].point != 0 && made != wanted_calls) {
        fail_msg("%s was called %u times", calls[i].name, made);
    }
}

static void errors_are_negative_errnos(void **state)
{
    (void)state;
    for (size_t i = 0; i < gev__array_len(calls); i++) {
        gev__fault_arm(calls[i].point, 0, 0, false);
        check_call(i, calls[i].error, 1);
    }
}

static void injected_errors_are_returned(void **state)
{
    (void)state;
    for (size_t i = 0; i < gev__array_len(calls); i++) {
        gev__fault_arm(calls[i].point, 1, EIO, false);
        check_call(i, calls[i].point != 0 ? EIO : calls[i].error, 1);
        unsigned hits = gev__fault_disarm();
        assert_int_equal(hits, calls[i].point != 0);
    }
    /* These have no error of their own that is the same everywhere. */
    gev__fault_arm(AT(OPEN), 1, EMFILE, true);
    assert_int_equal(gev__sys_eventfd(), -EMFILE);
    assert_int_equal(gev__sys_pidfd_open(getpid()), -EMFILE);
    gev__fault_arm(AT(POLL), 1, ENOMEM, false);
    assert_int_equal(gev__sys_poll(NULL, 0, 0), -ENOMEM);
    assert_int_equal(gev__sys_poll(NULL, 0, 0), 0);
}

/* Once, and as often as it may be. */
static void injected_eintr_goes_round(void **state)
{
    (void)state;
    for (size_t i = 0; i < gev__array_len(calls); i++) {
        unsigned rounds = calls[i].point == AT(CONNECT) ? 1 : 2;
        gev__fault_arm(calls[i].point, 1, EINTR, false);
        check_call(i, calls[i].error, rounds);
        gev__fault_arm(calls[i].point, 1, EINTR, true);
        check_call(i, calls[i].error, rounds);
    }
    gev__fault_arm(AT(POLL), 1, EINTR, true);
    assert_int_equal(gev__sys_poll(NULL, 0, 1), 0);
    assert_int_equal(gev__fault_calls(AT(POLL)), 2);
}

/* --- Injected: transfers and connects ------------------------------------- */

static void injected_eintr_takes_no_data(void **state)
{
    (void)state;
    int s[2];
    char buf[8] = "";
    make_pair(SOCK_STREAM, s);
    gev__fault_arm(AT(READ) | AT(WRITE), 1, EINTR, true);
    assert_int_equal(gev__sys_send(s[0], "abcd", 4, 0), 4);
    assert_int_equal(gev__sys_recv(s[1], buf, 8, 0), 4);
    assert_string_equal(buf, "abcd");
    assert_int_equal(gev__fault_disarm(), 2);
    close_both(s);
}

static void byte_streams_are_shortened(void **state)
{
    (void)state;
    int s[2];
    char buf[8] = "";
    char control[64];
    struct iovec in[] = {{NULL, 0}, {buf, 2}, {buf + 2, 6}};
    struct msghdr m = {.msg_iov = in,
                       .msg_iovlen = 3,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    off_t offset = 0;
    FILE *f = tmpfile();
    make_pair(SOCK_STREAM, s);
    gev__fault_arm_short(AT(READ) | AT(WRITE), 1);
    assert_int_equal(gev__sys_write(fileno(f), "0123", 4), 1);
    assert_int_equal(gev__sys_sendfile(s[0], fileno(f), &offset, 4), 1);
    assert_int_equal(gev__sys_send(s[0], "1234", 4, 0), 1);
    assert_int_equal(gev__sys_sendto(s[0], "2345", 4, 0, NULL, 0), 1);
    assert_int_equal(gev__sys_write(s[0], "3456", 4), 1);
    buf[0] = '4';
    assert_int_equal(gev__sys_writev(s[0], in, 3), 1);
    buf[0] = '5';
    assert_int_equal(
        gev__sys_sendmsg(s[0], &(struct msghdr){.msg_iov = in, .msg_iovlen = 3},
                         0),
        1);
    assert_int_equal(gev__sys_recv(s[1], buf, 8, 0), 1);
    assert_int_equal(gev__sys_recvfrom(s[1], buf + 1, 7, 0, NULL, NULL), 1);
    assert_int_equal(gev__sys_read(s[1], buf + 2, 6), 1);
    in[1].iov_base = buf + 3;
    assert_int_equal(gev__sys_readv(s[1], in, 3), 1);
    in[1].iov_base = buf + 4;
    assert_int_equal(gev__sys_recvmsg(s[1], &m, 0), 1);
    assert_int_equal(m.msg_controllen, 0); /* what it says comes back ... */
    assert_ptr_equal(m.msg_iov, in);       /* ... and the rest stays */
    assert_int_equal(m.msg_iovlen, 3);
    assert_int_equal(gev__fault_disarm(), 12);
    assert_int_equal(gev__sys_recv(s[1], buf + 5, 3, MSG_DONTWAIT), 1);
    assert_memory_equal(buf, "012345", 6);
    close_both(s);
    fclose(f);
}

/* The kernel does not do it to these, so nobody has to cope. */
static void whole_things_are_not_shortened(void **state)
{
    (void)state;
    int s[2];
    uint64_t count = 1;
    struct iovec parts[] = {{&count, 4}, {(char *)&count + 4, 4}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = gev__sys_eventfd();
    make_pair(SOCK_DGRAM, s);
    gev__fault_arm_short(AT(READ) | AT(WRITE), 1);
    assert_int_equal(gev__sys_write(fd, &count, 8), 8);
    assert_int_equal(gev__sys_read(fd, &count, 8), 8);
    assert_int_equal(gev__sys_send(s[0], &count, 8, 0), 8);
    assert_int_equal(gev__sys_recv(s[1], &count, 8, 0), 8);
    assert_int_equal(gev__sys_sendmsg(s[0], &m, 0), 8);
    assert_int_equal(gev__sys_recvmsg(s[1], &m, 0), 8);
    assert_int_equal(gev__fault_disarm(), 0);
    close_both(s);
    assert_int_equal(gev__sys_close(fd), 0);
}

static void interrupted_recvmsg_then_shortened(void **state)
{
    (void)state;
    int s[2];
    char buf[8] = "";
    struct iovec in = {buf, 8};
    struct msghdr m = {.msg_iov = &in, .msg_iovlen = 1};
    make_pair(SOCK_STREAM, s);
    gev__fault_arm_short(AT(READ), 1);
    gev__fault_arm(AT(READ), 1, EINTR, false);
    assert_int_equal(gev__sys_send(s[0], "abcd", 4, 0), 4);
    assert_int_equal(gev__sys_recvmsg(s[1], &m, 0), 1);
    assert_string_equal(buf, "a");
    assert_int_equal(gev__fault_disarm(), 2);
    close_both(s);
}

/* As after a real signal, the connection comes about all the same. */
static void injected_eintr_connects_nevertheless(void **state)
{
    (void)state;
    struct sockaddr_in addr;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    int listener = make_listener(&addr);
    int fd = gev__sys_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    gev__fault_arm(AT(CONNECT), 1, EINTR, false);
    assert_int_equal(gev__sys_connect(fd, any(&addr), sizeof(addr)), -EINTR);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    assert_int_equal(gev__sys_poll(&p, 1, -1), 1);
    assert_int_equal(gev__sys_getpeername(fd, any(&peer), &len), 0);
    assert_int_equal(peer.sin_port, addr.sin_port);
    close_both((int[]){fd, listener});
}

/* What is failed does not happen. */
static void failed_calls_do_nothing(void **state)
{
    (void)state;
    int s[2];
    char c;
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, s);
    long before = gev__sys_mapped();
    int error = 0;
    gev__fault_arm(AT(WRITE) | AT(MMAP), 1, ENOMEM, true);
    assert_int_equal(gev__sys_send(s[0], "x", 1, 0), -ENOMEM);
    assert_null(gev__sys_mmap(4096, &error));
    assert_int_equal(error, -ENOMEM);
    assert_int_equal(gev__fault_disarm(), 2);
    assert_int_equal(gev__sys_recv(s[1], &c, 1, 0), -EAGAIN);
    assert_int_equal(gev__sys_mapped(), before);
    close_both(s);
}

#define faulty(f) cmocka_unit_test_teardown(f, disarm)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers_return_counts),
        cmocka_unit_test(sendfile_sends_from_an_offset),
        cmocka_unit_test(closed_twice_is_ebadf),
        cmocka_unit_test(descriptors_have_their_flags),
        cmocka_unit_test(sockets_connect),
        cmocka_unit_test(children_are_waited_for),
        cmocka_unit_test(mappings_are_counted),
        cmocka_unit_test(interrupted_reads_go_on),
        cmocka_unit_test(interrupted_writes_go_on),
        cmocka_unit_test(interrupted_accept_goes_on),
        cmocka_unit_test(interrupted_poll_keeps_its_time),
        cmocka_unit_test(interrupted_waitpid_goes_on),
        cmocka_unit_test(interrupted_connect_is_reported),
        faulty(errors_are_negative_errnos),
        faulty(injected_errors_are_returned),
        faulty(injected_eintr_goes_round),
        faulty(injected_eintr_takes_no_data),
        faulty(byte_streams_are_shortened),
        faulty(whole_things_are_not_shortened),
        faulty(interrupted_recvmsg_then_shortened),
        faulty(injected_eintr_connects_nevertheless),
        faulty(failed_calls_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
