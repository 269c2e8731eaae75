/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_SYS_H
#define GEV_BASE_SYS_H

/* Every system call gev makes itself. Each returns the result or -errno, and is
 * the only thing in the library that reads errno after a call. In test builds
 * (GEV_FAULT_INJECTION) each is a fault point: see base/fault.h. EINTR is
 * retried here, except where noted, so no caller needs a loop for it. */

#include "base/error.h"

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

ssize_t gev__sys_read(int fd, void *buf, size_t n);
ssize_t gev__sys_readv(int fd, const struct iovec *iov, int n);
ssize_t gev__sys_write(int fd, const void *buf, size_t n);
ssize_t gev__sys_writev(int fd, const struct iovec *iov, int n);
ssize_t gev__sys_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *addr, socklen_t *len);
ssize_t gev__sys_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t gev__sys_sendto(int fd, const void *buf, size_t n, int flags,
                        const struct sockaddr *addr, socklen_t len);
ssize_t gev__sys_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t gev__sys_sendfile(int out, int in, off_t *offset, size_t n);
int gev__sys_socket(int domain, int type, int protocol);
int gev__sys_socketpair(int domain, int type, int protocol, int fds[2]);
int gev__sys_pipe2(int fds[2], int flags);
/* EINTR is not retried: the connect goes on in the background (-EINTR). */
int gev__sys_connect(int fd, const struct sockaddr *addr, socklen_t len);
int gev__sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int gev__sys_bind(int fd, const struct sockaddr *addr, socklen_t len);
int gev__sys_listen(int fd, int backlog);
int gev__sys_shutdown(int fd, int how);
int gev__sys_getsockopt(int fd, int level, int name, void *value,
                        socklen_t *len);
int gev__sys_setsockopt(int fd, int level, int name, const void *value,
                        socklen_t len);
int gev__sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int gev__sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
/* EINTR is not retried (the descriptor is gone) and reported as 0. */
int gev__sys_close(int fd);
int gev__sys_dup(int fd); /* close-on-exec */
int gev__sys_getfl(int fd);
int gev__sys_setfl(int fd, int flags);
int gev__sys_fstat(int fd, struct stat *st);
int gev__sys_lstat(const char *path, struct stat *st);
int gev__sys_unlink(const char *path);
int gev__sys_epoll_create(void); /* close-on-exec */
/* op: EPOLL_CTL_ADD or EPOLL_CTL_MOD; events: EPOLLIN ... */
int gev__sys_epoll_ctl(int epoll, int op, int fd, unsigned events);
int gev__sys_poll(struct pollfd *fds, nfds_t n, int milliseconds);
int gev__sys_eventfd(void); /* non-blocking, close-on-exec */
int gev__sys_pidfd_open(pid_t pid);
int gev__sys_waitpid(pid_t pid, int *status, int options);
int gev__sys_sigaction(int signum, const struct sigaction *act,
                       struct sigaction *old);
/* Private, anonymous, PROT_READ|WRITE, MAP_NORESERVE; NULL, and -errno in
 * *ret_error. */
void *gev__sys_mmap(size_t n, int *ret_error);
int gev__sys_munmap(void *p, size_t n);
int gev__sys_mprotect(void *p, size_t n, int prot);
int gev__sys_madvise(void *p, size_t n, int advice);
#ifdef GEV_FAULT_INJECTION
/* Bytes mapped by gev__sys_mmap and not unmapped yet (tests: nothing leaks). */
long gev__sys_mapped(void);
#endif
int gev__sys_mincore(void *p, size_t n, unsigned char *map);

/* --- processes: most run in the child, between vfork and exec ------------- */

/* Forks as vfork(2) does: this thread goes on when the child has called exec or
 * has ended. child(arg) runs in the child on this very stack, and must not
 * return. Tools may make a fork of it, with memory of its own. */
pid_t gev__sys_vfork(void (*child)(void *), void *arg);
int gev__sys_execve(const char *file, char *const argv[], char *const env[]);
int gev__sys_setsid(void);
int gev__sys_setpgid(pid_t pid, pid_t group);
int gev__sys_chdir(const char *path);
int gev__sys_dup2(int fd, int target);
int gev__sys_dup_from(int fd, int least); /* close-on-exec, >= least */
int gev__sys_getfd(int fd);               /* FD_CLOEXEC or 0 */
int gev__sys_setfd(int fd, int flags);
/* Sets close-on-exec on all from first on. -ENOSYS, -EINVAL: old kernel. */
int gev__sys_cloexec_from(unsigned first);
/* close-on-exec is added */
int gev__sys_open(const char *path, int flags, mode_t mode);
ssize_t gev__sys_getdents(int fd, void *buf, size_t n); /* linux_dirent64 */
rlim_t gev__sys_fd_limit(void);
/* Reaps one child that has ended, by pidfd if that is >= 0. 1, with *ret_status
 * as waitpid's; 0: not yet; -ECHILD. */
int gev__sys_reap(pid_t pid, int pidfd, int *ret_status);
/* Signals a child not yet reaped, by pidfd if that is >= 0. */
int gev__sys_kill(pid_t pid, int pidfd, int signum);

/* --- files ---------------------------------------------------------------- */

ssize_t gev__sys_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t gev__sys_pwrite(int fd, const void *buf, size_t n, off_t offset);
/* Only what needs no waiting for a disk: -EAGAIN, or -EOPNOTSUPP where the file
 * system cannot tell. offset -1: the descriptor's own, which moves. */
ssize_t gev__sys_read_nowait(int fd, void *buf, size_t n, off_t offset);
ssize_t gev__sys_write_nowait(int fd, const void *buf, size_t n, off_t offset);
int gev__sys_fsync(int fd);
int gev__sys_stat(const char *path, struct stat *st);
int gev__sys_fchmod(int fd, mode_t mode);
int gev__sys_fchown(int fd, uid_t uid, gid_t gid);
int gev__sys_rename(const char *from, const char *to);
int gev__sys_realpath(const char *path, char *ret_path); /* PATH_MAX bytes */

pid_t gev__sys_getpid(void);  /* cannot fail */
unsigned gev__sys_cpus(void); /* that this thread may run on; at least 1 */
/* The two that make up a request: inline, where no test is to fail them. */
#ifdef GEV_FAULT_INJECTION
ssize_t gev__sys_recv(int fd, void *buf, size_t n, int flags);
ssize_t gev__sys_send(int fd, const void *buf, size_t n, int flags);
#else
GEV__INLINE ssize_t gev__sys_recv(int fd, void *buf, size_t n, int flags)
{
    ssize_t rc;
    do {
        rc = gev__from_libc(recv(fd, buf, n, flags));
    } while (gev__unlikely(rc == -EINTR));
    return rc;
}

GEV__INLINE ssize_t gev__sys_send(int fd, const void *buf, size_t n, int flags)
{
    ssize_t rc;
    do {
        rc = gev__from_libc(send(fd, buf, n, flags));
    } while (gev__unlikely(rc == -EINTR));
    return rc;
}
#endif

#endif
