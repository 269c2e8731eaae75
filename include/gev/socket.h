/* SPDX-License-Identifier: MIT */
#ifndef GEV_SOCKET_H
#define GEV_SOCKET_H

/** @file gev/socket.h
 *  POSIX's socket and descriptor calls, parking the greenlet where POSIX would
 *  block the thread.
 *
 *  @code
 *  static void *echo(void *arg)
 *  {
 *      int fd = (int)(intptr_t)arg;
 *      char buf[4096];
 *      ssize_t n;
 *      while ((n = gev_recv(fd, buf, sizeof(buf), 0)) > 0) {
 *          if (gev_send_all(fd, buf, (size_t)n) != n)
 *              break;
 *      }
 *      gev_close(fd);
 *      return NULL;
 *  }
 *  int main(void)
 *  {
 *      int fd, server = gev_tcp_listen(NULL, "7777", 0);
 *      while ((fd = gev_accept(server, NULL, NULL)) != -1)
 *          gev_spawn_raw(echo, (void *)(intptr_t)fd);
 *      perror("echo");
 *  }
 *  @endcode
 *
 *  Descriptors are plain ones. Those gev makes are non-blocking and closed on
 *  exec; one made elsewhere is made non-blocking by its first call here, or by
 *  gev_adopt(). Each call first tries, and parks only if it would block. Any
 *  number of greenlets may wait on one descriptor, both ways: all wake, and
 *  those who find nothing park again.
 *
 *  Close what was used here with gev_close() (regular files excepted): after a
 *  plain close(2) gev may mistake the next descriptor of that number for it.
 *
 *  Regular files do not park: reading them blocks the thread for as long as
 *  the disk takes.
 *
 *  No call raises SIGPIPE; a broken connection or pipe is EPIPE. A call that
 *  fails for want of time or because of a kill has moved nothing, and the
 *  descriptor stays usable.
 */
#include <gev/base.h>

#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

GEV_BEGIN_DECLS

/** @name Making and closing @{ */

/** Makes a socket.
 *
 *  Parks:  no.
 *  Owns:   the descriptor is yours, for gev_close().
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory to remember it
 *    and those of socket(2)
 *  Source: gevent.socket.socket (SOC1)
 *  @since 0.1
 */
GEV_API int gev_socket(int domain, int type, int protocol);

/** Makes two sockets connected to each other.
 *
 *  Parks:  no.
 *  Owns:   both descriptors are yours, for gev_close().
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory to remember them
 *    and those of socketpair(2)
 *  Source: gevent.socket.socketpair (SOC16)
 *  @since 0.1
 */
GEV_API int gev_socketpair(int domain, int type, int protocol, int fds[2]);

/** Makes a pipe: fds[0] is read, fds[1] written.
 *
 *  Parks:  no.
 *  Owns:   both descriptors are yours, for gev_close().
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory to remember them
 *    and those of pipe(2)
 *  Source: pipe2(2), gevent.os.make_nonblocking (OS7)
 *  @since 0.1
 */
GEV_API int gev_pipe(int fds[2]);

/** Closes a descriptor. All who are parked on it, both ways, fail with EBADF;
 *  a new descriptor of the same number never sees the old one's events.
 *
 *  Parks:  no; it works in a killed greenlet and in callbacks.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF  not open
 *    and those of close(2), but EINTR: it is closed then
 *  Source: socket.close (SOC11, SOC25)
 *  @since 0.1
 */
GEV_API int gev_close(int fd);

/** Makes a second descriptor of the same socket, pipe or file, with the same
 *  timeout.
 *
 *  Parks:  no.
 *  Owns:   the new descriptor is yours, for gev_close().
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory to remember it
 *    and those of dup(2)
 *  Source: socket.dup (SOC16)
 *  @since 0.1
 */
GEV_API int gev_dup(int fd);

/** Readies a descriptor made elsewhere for use here: non-blocking, its kind
 *  found out. Not needed, since its first call does it too, unless that may not
 *  fail. May be called any number of times; also after a plain close(2) and
 *  reuse of the number, to have gev look at it anew.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF   not open
 *    ENOMEM  no memory to remember it
 *  Source: gevent.socket.socket(fileno=...) (SOC1)
 *  @since 0.1
 */
GEV_API int gev_adopt(int fd);

/** Limits each later call on this descriptor, as a whole, to @p seconds.
 *
 *  Zero or less: one try, then EAGAIN (gev_connect(): EINPROGRESS); otherwise
 *  a call that runs out of time fails with ETIMEDOUT. Accepted connections do
 *  not inherit it, gev_dup() copies it, gev_close() forgets it. It does not
 *  apply to gev_poll(), gev_select() and gev_wait_fd().
 *
 *  Parks:  no.
 *  @param seconds  GEV_FOREVER, the default: no limit
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF   not open
 *    EINVAL  NaN
 *    ENOMEM  no memory to remember it
 *  Source: socket.settimeout, setblocking (SOC3)
 *  @since 0.1
 */
GEV_API int gev_settimeout(int fd, double seconds);

/** Wakes all who are parked on a descriptor, both ways; their calls fail with
 *  @p error. It remembers nothing: whoever comes later waits as usual.
 *
 *  Parks:  no.
 *  @param error  a positive errno or gev code
 *  @return how many were woken, or -1 on error
 *
 *  Errors:
 *    EBADF   not open
 *    EINVAL  error is not positive
 *  Source: gevent.socket.cancel_wait (SOC19)
 *  @since 0.1
 */
GEV_API int gev_cancel_wait(int fd, int error);

/** Shuts down one or both directions. Whoever is parked in that direction gets
 *  the end of the stream, or EPIPE, from the kernel.
 *
 *  Parks:  no.
 *  @param how  SHUT_RD, SHUT_WR, SHUT_RDWR
 *  @return 0, or -1 on error
 *
 *  Errors: those of shutdown(2).
 *  Source: socket.shutdown (SOC12)
 *  @since 0.1
 */
GEV_API int gev_shutdown(int fd, int how);

/** @}
 *  @name Connections @{ */

/** Connects a socket.
 *
 *  A call that timed out or was interrupted may be repeated: it then waits for
 *  the same attempt. A Unix socket whose backlog is full is tried again in
 *  growing steps of up to 20 ms.
 *
 *  Parks:  unless it is connected at once.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF        not open, or closed by gev_close() meanwhile
 *    EINPROGRESS, EALREADY  under way, and the descriptor's timeout is 0
 *    EAGAIN       Unix: the backlog is full, and the timeout is 0
 *    ETIMEDOUT    not connected in time
 *    and those of connect(2), and of any park
 *  Source: socket.connect (SOC8, SOC25)
 *  @since 0.1
 */
GEV_API int gev_connect(int fd, const struct sockaddr *addr, socklen_t len);

/** Takes a connection. The errors that concern only the connection, not the
 *  listener (accept(2) lists them), are skipped.
 *
 *  When there is no descriptor left for one (EMFILE and the like) the call
 *  fails, and the next one on this listener first waits, 10 ms and up to 1 s,
 *  so that a loop that just tries again does not spin.
 *
 *  Parks:  unless a connection is there.
 *  Owns:   the new descriptor is yours, for gev_close(). It is non-blocking and
 *          has no timeout.
 *  @param addr  set to the peer's address; may be NULL
 *  @param len   in: room in addr; out: the address's size
 *  @return the new descriptor, or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EAGAIN     none there, and the descriptor's timeout is 0
 *    ETIMEDOUT  none came in time
 *    EMFILE, ENFILE, ENOBUFS, ENOMEM  no room; the connection stays queued
 *    and those of accept(2), and of any park
 *  Source: socket.accept (SOC10)
 *  @since 0.1
 */
GEV_API int gev_accept(int fd, struct sockaddr *addr, socklen_t *len);

/** Resolves a name and connects to it by TCP, by RFC 8305: the addresses are
 *  tried in turns of IPv6 and IPv4, the next one 250 ms after the last or as
 *  soon as it failed, and the first connection wins.
 *
 *  If all fail, the call fails at once, with the first error that came from
 *  the network rather than from the lack of a route.
 *
 *  Parks:  unless timeout <= 0.
 *  Owns:   the descriptor is yours, for gev_close().
 *  @param host     name or number; NULL: this machine
 *  @param service  name or port number
 *  @param timeout  for everything, the look-up included
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    ETIMEDOUT     not connected in time
 *    EINVAL        NaN
 *    GEV_EAI(...)  the name does not resolve
 *    EMFILE, ENFILE, ENOMEM  no descriptor or memory
 *    and those of connect(2), and of any park
 *  Source: gevent.socket.create_connection (SOC17)
 *  @since 0.1
 */
GEV_API int gev_tcp_connect(const char *host, const char *service,
                            double timeout);

/** Makes a TCP listener, with SO_REUSEADDR.
 *
 *  Parks:  only if host is a name that a server must be asked for.
 *  Owns:   the descriptor is yours, for gev_close().
 *  @param host     name or number, its first address that can be bound; NULL:
 *                  every address, IPv6 and IPv4
 *  @param service  name or port number; "0" or NULL: any free port
 *  @param backlog  <= 0: as long as the system allows
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    EADDRINUSE    the port is taken
 *    GEV_EAI(...)  the name does not resolve
 *    and those of socket(2), bind(2), listen(2), and of any park
 *  Source: socket.create_server (SOC18)
 *  @since 0.1
 */
GEV_API int gev_tcp_listen(const char *host, const char *service, int backlog);

/** Connects to a Unix stream socket. While its backlog is full the call tries
 *  again, in growing steps of up to 20 ms.
 *
 *  Parks:  only if the backlog is full, and timeout > 0.
 *  Owns:   the descriptor is yours, for gev_close().
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    EINVAL        path is NULL, or NaN
 *    ENAMETOOLONG  path does not fit
 *    ETIMEDOUT     the backlog was full all the time
 *    and those of socket(2), connect(2), and of any park
 *  Source: gevent.socket.socket.connect (SOC8)
 *  @since 0.1
 */
GEV_API int gev_unix_connect(const char *path, double timeout);

/** Makes a Unix stream listener. A socket file nobody listens on any more is
 *  replaced; anything else in its place is left alone.
 *
 *  Parks:  no.
 *  Owns:   the descriptor is yours, for gev_close(). The file stays: unlink it.
 *  @param backlog  <= 0: as long as the system allows
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    EADDRINUSE    somebody listens there, or it is not a socket
 *    EINVAL        path is NULL
 *    ENAMETOOLONG  path does not fit
 *    and those of socket(2), bind(2), listen(2), unlink(2)
 *  Source: gevent.baseserver, Unix listeners (SOC18)
 *  @since 0.1
 */
GEV_API int gev_unix_listen(const char *path, int backlog);

/** Makes a UDP socket with an address of its own.
 *
 *  Parks:  only if host is a name that a server must be asked for.
 *  Owns:   the descriptor is yours, for gev_close().
 *  @param host     name or number; NULL: every address, IPv6 and IPv4
 *  @param service  name or port number; "0" or NULL: any free port
 *  @return the descriptor, or -1 on error
 *
 *  Errors:
 *    EADDRINUSE    the port is taken
 *    GEV_EAI(...)  the name does not resolve
 *    and those of socket(2), bind(2), and of any park
 *  Source: gevent.server.DatagramServer's socket (SOC18)
 *  @since 0.1
 */
GEV_API int gev_udp_bind(const char *host, const char *service);

/** @}
 *  @name Receiving @{ */

/** recv(2).
 *
 *  MSG_WAITALL on a byte stream parks until n bytes are there, the stream ends
 *  or an error comes; after part of them it returns that part. MSG_DONTWAIT
 *  never parks. With MSG_OOB and MSG_ERRQUEUE nothing ever blocks.
 *
 *  Parks:  only if there is nothing to receive.
 *  @return bytes received, 0 at the end of a stream, or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EAGAIN     nothing there, and MSG_DONTWAIT or a timeout of 0
 *    ETIMEDOUT  nothing came in time
 *    and those of recv(2), and of any park
 *  Source: socket.recv (SOC2, SOC4, SOC24)
 *  @since 0.1
 */
GEV_API ssize_t gev_recv(int fd, void *buf, size_t n, int flags);

/** recvfrom(2); see gev_recv().
 *
 *  Parks:  only if there is nothing to receive.
 *  @return bytes received, 0 at the end of a stream, or -1 on error
 *
 *  Errors: as gev_recv().
 *  Source: socket.recvfrom (SOC4)
 *  @since 0.1
 */
GEV_API ssize_t gev_recvfrom(int fd, void *buf, size_t n, int flags,
                             struct sockaddr *addr, socklen_t *len);

/** recvmsg(2), descriptors included; see gev_recv(). MSG_WAITALL stops early
 *  at a message that comes with ancillary data.
 *
 *  Parks:  only if there is nothing to receive.
 *  @return bytes received, 0 at the end of a stream, or -1 on error
 *
 *  Errors: as gev_recv(), and
 *    EMSGSIZE  more buffers than IOV_MAX
 *  Source: socket.recvmsg (SOC4, SOC22)
 *  @since 0.1
 */
GEV_API ssize_t gev_recvmsg(int fd, struct msghdr *msg, int flags);

/** Receives n bytes of a stream: of any descriptor, not only of a socket.
 *
 *  Parks:  while they are not there.
 *  @return n; or fewer, with errno saying why it stopped, and 0 at the end of
 *          the stream; or -1 on an error before the first byte
 *
 *  Errors: as gev_read().
 *  @since 0.1
 */
GEV_API ssize_t gev_recv_exactly(int fd, void *buf, size_t n);

/** read(2).
 *
 *  Parks:  only if there is nothing to read; a regular file never.
 *  @return bytes read, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EAGAIN     nothing there, and the descriptor's timeout is 0
 *    ETIMEDOUT  nothing came in time
 *    and those of read(2), and of any park
 *  Source: gevent.os.nb_read (OS5)
 *  @since 0.1
 */
GEV_API ssize_t gev_read(int fd, void *buf, size_t n);

/** readv(2); see gev_read().
 *
 *  Parks:  only if there is nothing to read; a regular file never.
 *  @return bytes read, 0 at the end, or -1 on error
 *
 *  Errors: as gev_read(), and
 *    EINVAL  more buffers than IOV_MAX
 *  @since 0.1
 */
GEV_API ssize_t gev_readv(int fd, const struct iovec *iov, int n);

/** @}
 *  @name Sending @{ */

/** send(2), never with SIGPIPE. May send less than n; gev_send_all() sends all.
 *
 *  A datagram for which the system has no buffer at the moment (ENOBUFS,
 *  ENOMEM) is tried again for up to a second.
 *
 *  Parks:  only if there is no room.
 *  @return bytes sent, or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EAGAIN     no room, and MSG_DONTWAIT or a timeout of 0
 *    ETIMEDOUT  no room in time
 *    EPIPE      nobody reads any more
 *    and those of send(2), and of any park
 *  Source: socket.send (SOC5)
 *  @since 0.1
 */
GEV_API ssize_t gev_send(int fd, const void *buf, size_t n, int flags);

/** sendto(2); see gev_send().
 *
 *  Parks:  only if there is no room.
 *  @return bytes sent, or -1 on error
 *
 *  Errors: as gev_send().
 *  Source: socket.sendto (SOC5)
 *  @since 0.1
 */
GEV_API ssize_t gev_sendto(int fd, const void *buf, size_t n, int flags,
                           const struct sockaddr *addr, socklen_t len);

/** sendmsg(2), descriptors included; see gev_send().
 *
 *  Parks:  only if there is no room.
 *  @return bytes sent, or -1 on error
 *
 *  Errors: as gev_send(), and
 *    EMSGSIZE  more buffers than IOV_MAX
 *  Source: socket.sendmsg (SOC5, SOC22)
 *  @since 0.1
 */
GEV_API ssize_t gev_sendmsg(int fd, const struct msghdr *msg, int flags);

/** Sends all of n bytes, on any descriptor. The descriptor's timeout covers
 *  the whole of it.
 *
 *  Parks:  whenever there is no room.
 *  @return n; or fewer, with errno saying why it stopped; or -1 on an error
 *          before the first byte
 *
 *  Errors: as gev_write().
 *  Source: socket.sendall (SOC6)
 *  @since 0.1
 */
GEV_API ssize_t gev_send_all(int fd, const void *buf, size_t n);

/** write(2), never with SIGPIPE. May write less than n.
 *
 *  Parks:  only if there is no room; a regular file never.
 *  @return bytes written, or -1 on error
 *
 *  Errors:
 *    EBADF      not open, or closed by gev_close() meanwhile
 *    EAGAIN     no room, and the descriptor's timeout is 0
 *    ETIMEDOUT  no room in time
 *    EPIPE      nobody reads any more
 *    and those of write(2), and of any park
 *  Source: gevent.os.nb_write (OS5)
 *  @since 0.1
 */
GEV_API ssize_t gev_write(int fd, const void *buf, size_t n);

/** writev(2), never with SIGPIPE; see gev_write().
 *
 *  Parks:  only if there is no room; a regular file never.
 *  @return bytes written, or -1 on error
 *
 *  Errors: as gev_write(), and
 *    EINVAL  more buffers than IOV_MAX
 *  @since 0.1
 */
GEV_API ssize_t gev_writev(int fd, const struct iovec *iov, int n);

/** sendfile(2), never with SIGPIPE: from a file to a socket (or whatever the
 *  system allows) without copying through memory. May send less than n.
 *
 *  Parks:  only if there is no room in @p out; reading the file blocks the
 *          thread for as long as the disk takes.
 *  @param offset  where to read, moved by what went out; NULL: at the file's
 *                 position, which moves
 *  @return bytes sent, 0 at the file's end, or -1 on error
 *
 *  Errors: as gev_write(), and those of sendfile(2).
 *  Source: socket.sendfile (SOC7)
 *  @since 0.1
 */
GEV_API ssize_t gev_sendfile(int out, int in, off_t *offset, size_t n);

/** @}
 *  @name Several descriptors at once @{ */

/** poll(2). It does not make the descriptors non-blocking.
 *
 *  One that is closed by gev_close() meanwhile has POLLNVAL.
 *
 *  Parks:  unless something is ready, or milliseconds is 0.
 *  @param milliseconds  negative: for ever; 0: do not park
 *  @return how many are ready, 0 when the time ran out, or -1 on error
 *
 *  Errors:
 *    ENOMEM  no memory for the watchers
 *    and those of poll(2), and of any park
 *  Source: gevent.select.poll (SEL2, SEL3)
 *  @since 0.1
 */
GEV_API int gev_poll(struct pollfd *fds, nfds_t n, int milliseconds);

/** select(2). The sets may be NULL; @p timeout is not changed.
 *
 *  Parks:  unless something is ready, or the timeout is zero.
 *  @param timeout  NULL: for ever
 *  @return how many bits are set, 0 when the time ran out, or -1 on error, the
 *          sets untouched
 *
 *  Errors:
 *    EBADF   a descriptor in a set is not open, or closed by gev_close()
 *            meanwhile
 *    EINVAL  nfds is negative or more than FD_SETSIZE; a negative time
 *    ENOMEM  no memory for the watchers
 *    and those of any park
 *  Source: gevent.select.select (SEL1, SEL3)
 *  @since 0.1
 */
GEV_API int gev_select(int nfds, fd_set *read_set, fd_set *write_set,
                       fd_set *except_set, struct timeval *timeout);

/** @} */

GEV_END_DECLS
#endif
