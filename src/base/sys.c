/* SPDX-License-Identifier: MIT */
#include "base/sys.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on all architectures; Linux 5.3 */
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424 /* Linux 5.1 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436 /* Linux 5.9 */
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* Linux 5.11 */
#endif
#define WAIT_BY_PIDFD ((idtype_t)3) /* P_PIDFD, Linux 5.4 */

/* rc = the call's result, or the injected error; both go round at EINTR. */
#define RETRY_IF(rc, injected, call)                                           \
    do {                                                                       \
        (rc) = -(injected);                                                    \
        if ((rc) == 0) {                                                       \
            (rc) = gev__from_libc(call);                                       \
        }                                                                      \
    } while (gev__unlikely((rc) == -EINTR))

#define RETRY(rc, point, call) RETRY_IF(rc, gev__fault_hit(point), call)

/* A message cut to one byte, by a test. */
struct short_msg {
    struct msghdr msg;
    struct iovec one;
};

/* The hooks of transfers: as gev__fault_hit_io(), for a length, for an array of
 * buffers (which then becomes *one), and for a message (*ret_short: use the
 * copy in s). */
#ifdef GEV_FAULT_INJECTION

/* Datagrams are whole or lost, and eventfd and the like refuse small buffers:
 * a short transfer there would be one that the kernel never makes. */
static bool is_byte_stream(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return false;
    }
    int type = 0;
    socklen_t len = sizeof(type);
    return S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) ||
           (S_ISSOCK(st.st_mode) &&
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
            type == SOCK_STREAM);
}

static int hit_io(enum gev__fault_point point, int fd, size_t *n)
{
    if (gev__fault_may_shorten(point) && is_byte_stream(fd)) {
        return gev__fault_hit_io(point, n);
    }
    return gev__fault_hit(point);
}

static int hit_iov(enum gev__fault_point point, int fd,
                   const struct iovec **iov, int *n, struct iovec *one)
{
    const struct iovec *first = *iov;
    int left = *n;
    while (left > 0 && first->iov_len == 0) {
        first++;
        left--;
    }
    size_t total = 0;
    for (int i = 0; i < left; i++) {
        total += first[i].iov_len;
    }
    int error = hit_io(point, fd, &total);
    if (error == 0 && total == 1) {
        *one = (struct iovec){first->iov_base, 1};
        *iov = one;
        *n = 1;
    }
    return error;
}

static int hit_msg(enum gev__fault_point point, int fd,
                   const struct msghdr *msg, struct short_msg *s,
                   bool *ret_short)
{
    const struct iovec *iov = msg->msg_iov;
    int n = (int)msg->msg_iovlen;
    int error = hit_iov(point, fd, &iov, &n, &s->one);
    if (error == 0 && iov == &s->one) {
        s->msg = *msg;
        s->msg.msg_iov = &s->one;
        s->msg.msg_iovlen = 1;
        *ret_short = true;
    }
    return error;
}

ssize_t gev__sys_recv(int fd, void *buf, size_t n, int flags)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_READ, fd, &n), recv(fd, buf, n, flags));
    return rc;
}

ssize_t gev__sys_send(int fd, const void *buf, size_t n, int flags)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, fd, &n), send(fd, buf, n, flags));
    return rc;
}

static atomic_long mapped;

static void count_mapped(long change)
{
    atomic_fetch_add(&mapped, change);
}

long gev__sys_mapped(void)
{
    return atomic_load(&mapped);
}

#else

GEV__INLINE int hit_io(enum gev__fault_point point, int fd, size_t *n)
{
    (void)fd;
    return gev__fault_hit_io(point, n);
}

GEV__INLINE int hit_iov(enum gev__fault_point point, int fd,
                        const struct iovec **iov, int *n, struct iovec *one)
{
    (void)fd, (void)iov, (void)n, (void)one;
    return gev__fault_hit(point);
}

GEV__INLINE int hit_msg(enum gev__fault_point point, int fd,
                        const struct msghdr *msg, struct short_msg *s,
                        bool *ret_short)
{
    (void)fd, (void)msg, (void)s, (void)ret_short;
    return gev__fault_hit(point);
}

GEV__INLINE void count_mapped(long change)
{
    (void)change;
}

#endif

ssize_t gev__sys_read(int fd, void *buf, size_t n)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_READ, fd, &n), read(fd, buf, n));
    return rc;
}

ssize_t gev__sys_readv(int fd, const struct iovec *iov, int n)
{
    ssize_t rc;
    struct iovec one;
    RETRY_IF(rc, hit_iov(GEV__FAULT_READ, fd, &iov, &n, &one),
             readv(fd, iov, n));
    return rc;
}

ssize_t gev__sys_write(int fd, const void *buf, size_t n)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, fd, &n), write(fd, buf, n));
    return rc;
}

ssize_t gev__sys_writev(int fd, const struct iovec *iov, int n)
{
    ssize_t rc;
    struct iovec one;
    RETRY_IF(rc, hit_iov(GEV__FAULT_WRITE, fd, &iov, &n, &one),
             writev(fd, iov, n));
    return rc;
}

ssize_t gev__sys_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *addr, socklen_t *len)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_READ, fd, &n),
             recvfrom(fd, buf, n, flags, addr, len));
    return rc;
}

ssize_t gev__sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t rc;
    struct short_msg s;
    bool is_short = false;
    RETRY_IF(rc, hit_msg(GEV__FAULT_READ, fd, msg, &s, &is_short),
             recvmsg(fd, is_short ? &s.msg : msg, flags));
    if (is_short && rc >= 0) {
        msg->msg_namelen = s.msg.msg_namelen;
        msg->msg_controllen = s.msg.msg_controllen;
        msg->msg_flags = s.msg.msg_flags;
    }
    return rc;
}

ssize_t gev__sys_sendto(int fd, const void *buf, size_t n, int flags,
                        const struct sockaddr *addr, socklen_t len)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, fd, &n),
             sendto(fd, buf, n, flags, addr, len));
    return rc;
}

ssize_t gev__sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t rc;
    struct short_msg s;
    bool is_short = false;
    RETRY_IF(rc, hit_msg(GEV__FAULT_WRITE, fd, msg, &s, &is_short),
             sendmsg(fd, is_short ? &s.msg : msg, flags));
    return rc;
}

ssize_t gev__sys_sendfile(int out, int in, off_t *offset, size_t n)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, out, &n),
             sendfile(out, in, offset, n));
    return rc;
}

int gev__sys_socket(int domain, int type, int protocol)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, socket(domain, type, protocol));
    return (int)rc;
}

int gev__sys_socketpair(int domain, int type, int protocol, int fds[2])
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, socketpair(domain, type, protocol, fds));
    return (int)rc;
}

int gev__sys_pipe2(int fds[2], int flags)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, pipe2(fds, flags));
    return (int)rc;
}

/* An injected EINTR comes after the call, which thus is under way, or even
 * through, as after a real one. */
int gev__sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int injected = gev__fault_hit(GEV__FAULT_CONNECT);
    if (injected != 0 && injected != EINTR) {
        return -injected;
    }
    int rc = (int)gev__from_libc(connect(fd, addr, len));
    if (injected == EINTR && (rc == 0 || rc == -EINPROGRESS)) {
        return -EINTR;
    }
    return rc;
}

int gev__sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_ACCEPT, accept4(fd, addr, len, flags));
    return (int)rc;
}

int gev__sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_BIND, bind(fd, addr, len));
    return (int)rc;
}

int gev__sys_listen(int fd, int backlog)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_BIND, listen(fd, backlog));
    return (int)rc;
}

int gev__sys_shutdown(int fd, int how)
{
    return (int)gev__from_libc(shutdown(fd, how));
}

int gev__sys_getsockopt(int fd, int level, int name, void *value,
                        socklen_t *len)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, getsockopt(fd, level, name, value, len));
    return (int)rc;
}

int gev__sys_setsockopt(int fd, int level, int name, const void *value,
                        socklen_t len)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, setsockopt(fd, level, name, value, len));
    return (int)rc;
}

int gev__sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, getsockname(fd, addr, len));
    return (int)rc;
}

int gev__sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, getpeername(fd, addr, len));
    return (int)rc;
}

int gev__sys_close(int fd)
{
    ssize_t rc = gev__from_libc(close(fd));
    return rc == -EINTR ? 0 : (int)rc;
}

int gev__sys_dup(int fd)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return (int)rc;
}

int gev__sys_getfl(int fd)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, fcntl(fd, F_GETFL));
    return (int)rc;
}

int gev__sys_setfl(int fd, int flags)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, fcntl(fd, F_SETFL, flags));
    return (int)rc;
}

int gev__sys_fstat(int fd, struct stat *st)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, fstat(fd, st));
    return (int)rc;
}

int gev__sys_lstat(const char *path, struct stat *st)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_SOCKOPT, lstat(path, st));
    return (int)rc;
}

int gev__sys_unlink(const char *path)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_BIND, unlink(path));
    return (int)rc;
}

int gev__sys_epoll_create(void)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, epoll_create1(EPOLL_CLOEXEC));
    return (int)rc;
}

int gev__sys_epoll_ctl(int epoll, int op, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    ssize_t rc;
    RETRY(rc, GEV__FAULT_POLL, epoll_ctl(epoll, op, fd, &event));
    return (int)rc;
}

/* Rounded up: poll must not end early. */
static int milliseconds_until(int64_t deadline)
{
    int64_t left = deadline - gev__clock_now();
    return left > 0 ? (int)((left + GEV__MS - 1) / GEV__MS) : 0;
}

int gev__sys_poll(struct pollfd *fds, nfds_t n, int milliseconds)
{
    int64_t deadline =
        milliseconds > 0 ? gev__clock_now() + milliseconds * GEV__MS : 0;
    for (;;) {
        ssize_t rc = -gev__fault_hit(GEV__FAULT_POLL);
        if (rc == 0) {
            rc = gev__from_libc(poll(fds, n, milliseconds));
        }
        if (gev__likely(rc != -EINTR)) {
            return (int)rc;
        }
        if (milliseconds > 0) {
            milliseconds = milliseconds_until(deadline);
        }
    }
}

int gev__sys_eventfd(void)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    return (int)rc;
}

int gev__sys_pidfd_open(pid_t pid)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, syscall(SYS_pidfd_open, pid, 0));
    return (int)rc;
}

int gev__sys_waitpid(pid_t pid, int *status, int options)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_WAIT, waitpid(pid, status, options));
    return (int)rc;
}

int gev__sys_sigaction(int signum, const struct sigaction *act,
                       struct sigaction *old)
{
    return (int)gev__from_libc(sigaction(signum, act, old));
}

void *gev__sys_mmap(size_t n, int *ret_error)
{
    ssize_t rc;
    void *p = NULL;
    RETRY(rc, GEV__FAULT_MMAP,
          (p = mmap(NULL, n, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) ==
                  MAP_FAILED
              ? -1
              : 0);
    if (rc < 0) {
        *ret_error = (int)rc;
        return NULL;
    }
    count_mapped((long)n);
    return p;
}

int gev__sys_munmap(void *p, size_t n)
{
    ssize_t rc = gev__from_libc(munmap(p, n));
    if (rc == 0) {
        count_mapped(-(long)n);
    }
    return (int)rc;
}

int gev__sys_mprotect(void *p, size_t n, int prot)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_MMAP, mprotect(p, n, prot));
    return (int)rc;
}

int gev__sys_madvise(void *p, size_t n, int advice)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_MMAP, madvise(p, n, advice));
    return (int)rc;
}

int gev__sys_mincore(void *p, size_t n, unsigned char *map)
{
    return (int)gev__from_libc(mincore(p, n, map));
}

/* --- processes ------------------------------------------------------------ */

pid_t gev__sys_vfork(void (*child)(void *), void *arg)
{
    int injected = gev__fault_hit(GEV__FAULT_PROCESS);

    if (injected != 0 && injected != EINTR) {
        return -injected;
    }
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0) {
        child(arg); /* NOLINT(clang-analyzer-unix.Vfork): it knows */
        _exit(127);
    }
    return (pid_t)gev__from_libc(pid);
}

int gev__sys_execve(const char *file, char *const argv[], char *const env[])
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, execve(file, argv, env));
    return (int)rc;
}

int gev__sys_setsid(void)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, setsid());
    return (int)rc;
}

int gev__sys_setpgid(pid_t pid, pid_t group)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, setpgid(pid, group));
    return (int)rc;
}

int gev__sys_chdir(const char *path)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, chdir(path));
    return (int)rc;
}

int gev__sys_dup2(int fd, int target)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, dup2(fd, target));
    return (int)rc;
}

int gev__sys_dup_from(int fd, int least)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, fcntl(fd, F_DUPFD_CLOEXEC, least));
    return (int)rc;
}

int gev__sys_getfd(int fd)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, fcntl(fd, F_GETFD));
    return (int)rc;
}

int gev__sys_setfd(int fd, int flags)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, fcntl(fd, F_SETFD, flags));
    return (int)rc;
}

int gev__sys_cloexec_from(unsigned first)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS,
          (int)syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC));
    return (int)rc;
}

int gev__sys_open(const char *path, int flags, mode_t mode)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_OPEN, open(path, flags | O_CLOEXEC, mode));
    return (int)rc;
}

ssize_t gev__sys_getdents(int fd, void *buf, size_t n)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_PROCESS, syscall(SYS_getdents64, fd, buf, n));
    return rc;
}

rlim_t gev__sys_fd_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? RLIM_INFINITY
                                                : limit.rlim_cur;
}

/* What waitid tells, as waitpid would have said it. */
static int wait_status(const siginfo_t *info)
{
    switch (info->si_code) {
    case CLD_EXITED:
        return (info->si_status & 0xff) << 8;
    case CLD_DUMPED:
        return info->si_status | 0x80;
    default:
        return info->si_status;
    }
}

int gev__sys_reap(pid_t pid, int pidfd, int *ret_status)
{
    siginfo_t info = {.si_pid = 0};
    ssize_t rc = -EINVAL;

    if (pidfd >= 0) {
        RETRY(rc, GEV__FAULT_WAIT,
              waitid(WAIT_BY_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG));
    }
    if (rc == -EINVAL) {
        RETRY(rc, GEV__FAULT_WAIT,
              waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG));
    }
    if (rc < 0 || info.si_pid == 0) {
        return (int)rc;
    }
    *ret_status = wait_status(&info);
    return 1;
}

int gev__sys_kill(pid_t pid, int pidfd, int signum)
{
    ssize_t rc = -ENOSYS;

    if (pidfd >= 0) {
        RETRY(rc, GEV__FAULT_PROCESS,
              (int)syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0));
    }
    if (rc == -ENOSYS) {
        RETRY(rc, GEV__FAULT_PROCESS, kill(pid, signum));
    }
    return (int)rc;
}

/* --- files ---------------------------------------------------------------- */

ssize_t gev__sys_pread(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_READ, fd, &n), pread(fd, buf, n, offset));
    return rc;
}

ssize_t gev__sys_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, fd, &n), pwrite(fd, buf, n, offset));
    return rc;
}

ssize_t gev__sys_read_nowait(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t rc;
    RETRY_IF(rc, hit_io(GEV__FAULT_READ, fd, &n),
             preadv2(fd, &(struct iovec){buf, n}, 1, offset, RWF_NOWAIT));
    return rc;
}

ssize_t gev__sys_write_nowait(int fd, const void *buf, size_t n, off_t offset)
{
    ssize_t rc;
    struct iovec iov = {(void *)(uintptr_t)buf, n};
    RETRY_IF(rc, hit_io(GEV__FAULT_WRITE, fd, &iov.iov_len),
             pwritev2(fd, &iov, 1, offset, RWF_NOWAIT));
    return rc;
}

int gev__sys_fsync(int fd)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, fsync(fd));
    return (int)rc;
}

int gev__sys_stat(const char *path, struct stat *st)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, stat(path, st));
    return (int)rc;
}

int gev__sys_fchmod(int fd, mode_t mode)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, fchmod(fd, mode));
    return (int)rc;
}

int gev__sys_fchown(int fd, uid_t uid, gid_t gid)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, fchown(fd, uid, gid));
    return (int)rc;
}

int gev__sys_rename(const char *from, const char *to)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, rename(from, to));
    return (int)rc;
}

int gev__sys_realpath(const char *path, char *ret_path)
{
    ssize_t rc;
    RETRY(rc, GEV__FAULT_FILE, realpath(path, ret_path) == NULL ? -1 : 0);
    return (int)rc;
}

pid_t gev__sys_getpid(void)
{
    return getpid();
}

unsigned gev__sys_cpus(void)
{
    cpu_set_t set;

    /* More processors than the set has bits for: any number will do. */
    return sched_getaffinity(0, sizeof(set), &set) == 0
               ? (unsigned)CPU_COUNT(&set)
               : 1;
}
