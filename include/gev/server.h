/* SPDX-License-Identifier: MIT */
#ifndef GEV_SERVER_H
#define GEV_SERVER_H

/** @file gev/server.h
 *  Servers: a listener, and a greenlet for each connection or datagram.
 *
 *  @code
 *  static void echo(gev_stream *conn, const struct sockaddr *peer, void *arg)
 *  {
 *      char *line;
 *      ssize_t n;
 *      while ((n = gev_stream_read_line(conn, &line, 4096)) > 0) {
 *          gev_stream_write(conn, line, (size_t)n);
 *      }
 *  }
 *
 *  gev_server_opts opts = {.size = sizeof opts, .service = "7777"};
 *  gev_server *s = gev_server_new(&opts, echo, NULL);
 *  gev_server_serve(s);
 *  @endcode
 *
 *  Safe by default: a listener is closed at once when the server stops, and the
 *  answer of a handler that returns reaches its client. A shortage of
 *  descriptors is waited out without spinning, in pauses of 10 ms to 1 s. Where
 *  it outlasts one, those who wait in the backlog are refused by a reset; for
 *  that, the process keeps a spare descriptor.
 */
#include <gev/base.h>
#include <gev/stream.h>

#include <sys/socket.h>

GEV_BEGIN_DECLS

/** A server of stream connections. */
typedef struct gev_server gev_server;

/** A TLS configuration: <gev/tls.h>. */
typedef struct gev_tls gev_tls;

/** Every gev_tls begins with a pointer to such a table, through which the core
 *  calls: it is not linked with any TLS library. */
typedef struct gev_tls_ops {
    size_t size; /**< sizeof(gev_tls_ops): room to grow */
    gev_tls *(*ref)(gev_tls *t);
    void (*unref)(gev_tls *t);
    /** gev_tls_accept(): owns @p lower, and closes it on failure. */
    gev_stream *(*accept)(gev_tls *t, gev_stream *lower);
} gev_tls_ops;

/** Options; zero means the default. */
typedef struct gev_server_opts {
    size_t size;            /**< sizeof(gev_server_opts): room to grow; 0: the
                                 same */
    const char *host;       /**< NULL: every address, IPv6 and IPv4; a name:
                                 all its addresses, 8 at most, on one port */
    const char *service;    /**< "8080", "http"; NULL or "0": any free port */
    const char *unix_path;  /**< instead of host and service; mode 0600 less
                                 umask; removed at the stop */
    int listen_fd;          /**< > 0: a bound descriptor of the caller's, owned
                                 by the server from its start on */
    int backlog;            /**< 0: 1024 */
    size_t max_connections; /**< 0: no limit. At the limit it accepts no more:
                                 clients wait in the backlog */
    size_t max_datagram;    /**< 0: 65535 bytes; a longer one is cut */
    size_t stack_size;      /**< of each connection's greenlet; 0: default */
    bool reuse_port; /**< SO_REUSEPORT: one server a thread, or a process, on
                          one port */
    gev_tls *tls;    /**< a reference is taken; each connection is wrapped
                          before the handler sees it, in its own greenlet */
    double read_timeout;  /**< of each call that reads a connection, as a whole:
                               seconds; 0, GEV_FOREVER: none. This and the next
                               until gev_stream_settimeout() sets another */
    double write_timeout; /**< of each call that writes, and of the flush in one
                               that reads; an answer that was not taken in time
                               is not waited for after the handler's return */
    double idle_timeout;  /**< how long a connection may be idle, as
                               gev_server_idle() says: then it is ended as by a
                               stop. What it reads meanwhile has no other limit.
                               0: has that of reads; GEV_FOREVER: has none */
    void (*release)(void *arg); /**< called with the handler's arg when no
                                     handler will run any more: by
                                     gev_server_free(), or at the end of the
                                     handler that called it. It must not park */
} gev_server_opts;

/** Handles a connection, in a greenlet of its own; it is closed when the
 *  handler returns.
 *
 *  @param conn  borrowed, until the return; a handler may end it earlier
 *  @param peer  borrowed; sa_family AF_UNSPEC where the system does not say
 */
typedef void (*gev_conn_fn)(gev_stream *conn, const struct sockaddr *peer,
                            void *arg);

/** Makes a server; binds nothing yet.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_server_free(). Strings are copied.
 *  @param opts  NULL: the defaults
 *
 *  Errors:
 *    EINVAL  no function, or options that contradict each other; a time that is
 *            negative or NaN
 *    ENOMEM  no memory
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  Source: gevent.server.StreamServer (SRV1, SRV5)
 *  @since 0.1
 */
GEV_API gev_server *gev_server_new(const gev_server_opts *opts, gev_conn_fn fn,
                                   void *arg);

/** Binds and begins to accept; 0 if it has already. A server that was stopped
 *  may be started again, but for one of a listen_fd. In the child of a fork it
 *  begins to accept from the listener it had.
 *
 *  Parks:  where the host is a name to be looked up.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EADDRINUSE  the port, or the path, is taken
 *    EINVAL      NULL, or the listen_fd is not of the right kind
 *    ENOTSOCK    nor a socket at all
 *    EBADF       the listen_fd is not open
 *    EBUSY       it is being stopped
 *    ECANCELED   it was stopped, or freed, while the host was looked up
 *    EPERM       another thread's server
 *    ENOMEM      no memory
 *    and those of gev_tcp_listen() and gev_unix_listen()
 *  Source: BaseServer.start (SRV2, SRV12)
 *  @since 0.1
 */
GEV_API int gev_server_start(gev_server *s);

/** Starts it, and returns when it has been stopped: when the stop is complete,
 *  so that it may be freed. A kill of the caller stops it.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_server_start(), and of any park
 *    and what made it stop by itself: its descriptor failed
 *  Source: BaseServer.serve_forever (SRV2)
 *  @since 0.1
 */
GEV_API int gev_server_serve(gev_server *s);

/** Accepts no more; clients queue in the backlog.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL    NULL
 *    ENOTCONN  it is not started
 *    EPERM     another thread's server
 *  Source: BaseServer.stop_accepting (SRV3)
 *  @since 0.1
 */
GEV_API int gev_server_pause(gev_server *s);

/** Accepts again.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL    NULL
 *    ENOTCONN  it is not started
 *    EPERM     another thread's server
 *  Source: BaseServer.start_accepting (SRV3)
 *  @since 0.1
 */
GEV_API int gev_server_resume(gev_server *s);

/** Closes the listener at once, ends idle connections (gev_server_idle()), lets
 *  the others end for at most @p timeout seconds, kills and joins what is left.
 *  One whose handler has returned, and whose answer is out, counts as ended.
 *  Called by one of its own handlers, that one counts as killed at its next
 *  park and is not waited for.
 *
 *  Parks:  unless there is no connection.
 *  @return 0 if all ended by themselves, or -1
 *
 *  Errors:
 *    ETIMEDOUT  some had to be killed, by this stop or one beside it
 *    EINVAL     NULL, or NaN
 *    EPERM      another thread's server
 *    and those of any park: what is left has been killed then, not joined
 *  Source: BaseServer.stop (SRV9)
 *  @since 0.1
 */
GEV_API int gev_server_stop(gev_server *s, double timeout);

/** Stops it without waiting for connections to end by themselves, and frees.
 *  NULL is fine.
 *
 *  Parks:  unless there is no connection; no kill or scope fails it.
 *  @since 0.1
 */
GEV_API void gev_server_free(gev_server *s);

/** Whether it is bound.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API bool gev_server_started(const gev_server *s);

/** Whether gev_server_stop() is at work: handlers should end soon.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API bool gev_server_stopping(const gev_server *s);

/** The port it is bound to.
 *
 *  Parks:  no.
 *  @return it, or -1 on error
 *
 *  Errors:
 *    ENOTCONN  not bound, or a Unix socket
 *    EINVAL    NULL
 *  Source: BaseServer.server_port (SRV13)
 *  @since 0.1
 */
GEV_API int gev_server_port(const gev_server *s);

/** The listening descriptor; the first, if there are several.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return it, or -1 on error
 *
 *  Errors:
 *    ENOTCONN  not bound
 *    EINVAL    NULL
 *  @since 0.1
 */
GEV_API int gev_server_fd(const gev_server *s);

/** Connections now.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API size_t gev_server_count(const gev_server *s);

/** The server a connection belongs to, for its handler.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return it; NULL: not a server's connection
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_server *gev_server_of(const gev_stream *conn);

/** Says whether a connection is between requests: a server that stops ends
 *  idle ones at once, whatever they wait for fails with ECANCELED; so it does
 *  with one that is idle for longer than its idle_timeout. Said again of one
 *  that is idle already (for a second, say), it gives the memory of empty
 *  buffers back, TLS's as well (gev_stream_trim()): what reads have given out
 *  (a line) is not valid any more.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    ECANCELED  the server is stopping already: do not wait for a request
 *    EINVAL     not a server's connection
 *  @since 0.1
 */
GEV_API int gev_server_idle(gev_stream *conn, bool idle);

/** @name Datagrams @{ */

/** A server of datagrams. */
typedef struct gev_datagram_server gev_datagram_server;

/** Handles a datagram, in a greenlet of its own.
 *
 *  @param data  its own copy, until the return
 */
typedef void (*gev_datagram_fn)(gev_datagram_server *s, const void *data,
                                size_t n, const struct sockaddr *peer,
                                socklen_t len, void *arg);

/** Makes a server of datagrams; binds nothing yet. Of the options, tls and
 *  backlog make no sense here; max_connections bounds the datagrams being
 *  handled, the others wait in the kernel.
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_datagram_server_free().
 *
 *  Errors:
 *    EINVAL  no function, or options that contradict each other; a time that is
 *            negative or NaN
 *    ENOMEM  no memory
 *    ENOMEM, EMFILE  the thread's hub could not be made
 *  Source: gevent.server.DatagramServer (SRV11)
 *  @since 0.1
 */
GEV_API gev_datagram_server *
gev_datagram_server_new(const gev_server_opts *opts, gev_datagram_fn fn,
                        void *arg);

/** Binds and begins to receive; 0 if it has already.
 *
 *  Parks:  where the host is a name to be looked up.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_server_start()
 *  @since 0.1
 */
GEV_API int gev_datagram_server_start(gev_datagram_server *s);

/** Starts it, and returns when it has been stopped. A kill of the caller stops
 *  it.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_server_serve()
 *  @since 0.1
 */
GEV_API int gev_datagram_server_serve(gev_datagram_server *s);

/** Sends a datagram from the server's own address; also while it is being
 *  stopped, so handlers that end have their answers sent.
 *
 *  Parks:  when the socket's buffer is full.
 *  @return n, or -1 on error
 *
 *  Errors:
 *    ENOTCONN  it is not started
 *    EMSGSIZE  too long
 *    and those of gev_sendto()
 *  @since 0.1
 */
GEV_API ssize_t gev_datagram_server_send(gev_datagram_server *s,
                                         const void *data, size_t n,
                                         const struct sockaddr *peer,
                                         socklen_t len);

/** Receives no more at once, lets handlers end for at most @p timeout seconds,
 *  kills and joins what is left.
 *
 *  Parks:  unless there is no handler.
 *  @return 0 if all ended by themselves, or -1
 *
 *  Errors:
 *    those of gev_server_stop()
 *  @since 0.1
 */
GEV_API int gev_datagram_server_stop(gev_datagram_server *s, double timeout);

/** Stops it without waiting for handlers to end by themselves, and frees. NULL
 *  is fine.
 *
 *  Parks:  unless there is no handler; no kill or scope fails it.
 *  @since 0.1
 */
GEV_API void gev_datagram_server_free(gev_datagram_server *s);

/** The port it is bound to.
 *
 *  Parks:  no.
 *  @return it, or -1 on error
 *
 *  Errors:
 *    ENOTCONN  not bound, or a Unix socket
 *    EINVAL    NULL
 *  @since 0.1
 */
GEV_API int gev_datagram_server_port(const gev_datagram_server *s);

/** The descriptor.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return it, or -1 on error
 *
 *  Errors:
 *    ENOTCONN  not bound
 *    EINVAL    NULL
 *  @since 0.1
 */
GEV_API int gev_datagram_server_fd(const gev_datagram_server *s);

/** @} */

GEV_END_DECLS
#endif
