/* SPDX-License-Identifier: MIT */
#ifndef GEV_BASE_SYS_H
#define GEV_BASE_SYS_H

/* Every system call gev makes itself. Each returns the result or -errno, and is
 * the only thing in the library that reads errno after a call. In test builds
 * (GEV_FAULT_INJECTION) each is a fault point: see base/fault.h. EINTR is
 * retried here, except where noted, so no caller needs a loop for it. */

#include "base/compiler.h"

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

ssize_t gev__sys_read(int fd, void *buf, size_t n);
ssize_t gev__sys_readv(int fd, const struct iovec *iov, int n);
ssize_t gev__sys_write(int fd, const void *buf, size_t n);
ssize_t gev__sys_writev(int fd, const struct iovec *iov, int n);
ssize_t gev__sys_recv(int fd, void *buf, size_t n, int flags);
ssize_t gev__sys_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *addr, socklen_t *len);
ssize_t gev__sys_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t gev__sys_send(int fd, const void *buf, size_t n, int flags);
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

#endif
