/* SPDX-License-Identifier: MIT */
#ifndef GEV_HTTP_H
#define GEV_HTTP_H

/** @file gev/http.h
 *  An HTTP/1.1 server: a handler call for each request, in the greenlet of its
 *  connection. Link with gev-http; <gev.h> does not include this.
 *
 *  @code
 *  static int hello(gev_http *h, void *arg)
 *  {
 *      return gev_http_reply(h, 200, "text/plain", "hello\n", 6);
 *  }
 *
 *  gev_server_opts opts = {.size = sizeof opts, .service = "8080"};
 *  gev_server *s = gev_http_server_new(&opts, NULL, hello, NULL);
 *  gev_server_serve(s);
 *  @endcode
 *
 *  The handler pulls the request's body and pushes the response. Requests that
 *  two parsers could read in two ways never reach it, and every length and time
 *  has a limit: a handler sees only whole, well-formed heads.
 *
 *  A request is used by one greenlet at a time; it ends when its handler
 *  returns. Strings are UTF-8 or whatever the client sent: nothing is checked
 *  beyond what HTTP says. A decoded path may hold "..": who opens files has to
 *  look.
 */
#include <gev/base.h>
#include <gev/server.h>
#include <gev/stream.h>

#include <sys/socket.h>
#include <sys/types.h>

GEV_BEGIN_DECLS

/** One request and its response. */
typedef struct gev_http gev_http;

/** Answers a request.
 *
 *  @return 0: done. -1: 500 if nothing went out yet (400, 408, 413 if it was
 *          the reading of the body that failed), else the connection is cut.
 *          0 of one that was killed, or is out of a scope's time, and has set
 *          and written nothing is taken for -1
 */
typedef int (*gev_http_fn)(gev_http *h, void *arg);

/** Options; zero means the default. Times are in seconds, GEV_FOREVER: none. */
typedef struct gev_http_opts {
    size_t size;           /**< sizeof(gev_http_opts): room to grow; 0: the
                                same */
    size_t max_line;       /**< bytes of the request line; 0: 8192; past it
                                414 */
    size_t max_header;     /**< bytes of all header lines, and again of the
                                trailers; 0: 65536; past it 431 */
    unsigned max_headers;  /**< header lines; 0: 100; past it 431 */
    uint64_t max_body;     /**< 0: none, bodies are read in pieces; past it
                                413 */
    size_t max_discard;    /**< of a body left unread, to keep the connection;
                                0: 262144; past it the connection is closed */
    unsigned max_requests; /**< of a connection; 0: no limit */
    double header_timeout; /**< from a request's first byte to the end of its
                                head; 0: 10; then 408 */
    double body_timeout;   /**< without a byte of the body; 0: 30 */
    double write_timeout;  /**< without a byte taken by the client, or its
                                system; a quarter longer at most; 0: 30. Where
                                the system does not say how much was taken:
                                without room for more, or over a transport that
                                cannot wait for room without 16 KiB */
    double idle_timeout;   /**< between requests; 0: 60; then the connection is
                                closed without a word. Of this and the server's
                                own the shorter holds */
    /** Called after each response, once. @p status is what went out, 0 for a
     *  connection the handler has taken over; @p why is NULL, or what was
     *  wrong. It may not park: that does not fail, as it runs in the
     *  connection's greenlet, but the next request waits for it, and so does
     *  a server that stops. */
    void (*log)(const gev_http *h, int status, const char *why, void *arg);
    void *log_arg;
} gev_http_opts;

/** Makes an HTTP server: a server like any other, to be started, stopped and
 *  freed as such. A stop ends idle connections at once; a response that goes
 *  out meanwhile says "Connection: close".
 *
 *  Parks:  no.
 *  Owns:   the caller owns it: gev_server_free(). Options are copied.
 *  @param server  NULL: the defaults. Its read_timeout and write_timeout have
 *                 no effect: the times of @p opts hold, and for a handshake
 *                 that of its tls. Its idle_timeout holds as well
 *  @param opts    NULL: the defaults
 *
 *  Errors:
 *    EINVAL  no function, a time that is negative or NaN, or what
 *            gev_server_new() says
 *    ENOMEM  no memory
 *  Source: gevent.pywsgi.WSGIServer (WSG1, WSG2, WSG13, WSG14)
 *  @since 0.1
 */
GEV_API gev_server *gev_http_server_new(const gev_server_opts *server,
                                        const gev_http_opts *opts,
                                        gev_http_fn fn, void *arg);

/** Serves one connection until it ends.
 *
 *  Parks:  yes.
 *  Owns:   the caller closes @p conn.
 *  @param opts  NULL: the defaults
 *  @return 0 when the client or the protocol ended it, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or a time that is negative or NaN
 *    ENOMEM  no memory
 *    and those of any park: also when it was the handler that was killed, and
 *    answered
 *  Source: gevent.pywsgi.WSGIHandler.handle (WSG2)
 *  @since 0.1
 */
GEV_API int gev_http_serve_stream(gev_stream *conn, const gev_http_opts *opts,
                                  gev_http_fn fn, void *arg);

/** @name The request. Its strings live as long as it does @{ */

/** "GET". Methods are those of the registries and of well-known protocols, in
 *  capitals: all others are answered 501 before the handler.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API const char *gev_http_method(const gev_http *h);

/** The request's target as it was sent.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API const char *gev_http_target(const gev_http *h);

/** The target's path, up to '?', with %XX decoded. "*" for OPTIONS of the whole
 *  server, "" for CONNECT.
 *
 *  Parks:  no.
 *  Source: environ PATH_INFO (WSG7)
 *  @since 0.1
 */
GEV_API const char *gev_http_path(const gev_http *h);

/** What follows '?', as it was sent; "" if nothing does.
 *
 *  Parks:  no.
 *  Source: environ QUERY_STRING (WSG7)
 *  @since 0.1
 */
GEV_API const char *gev_http_query(const gev_http *h);

/** 10 or 11.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  Source: environ SERVER_PROTOCOL (WSG1)
 *  @since 0.1
 */
GEV_API int gev_http_version(const gev_http *h);

/** A header's value; several lines are joined by ",", cookies by "; ", folded
 *  ones by blanks. Lines whose names have a '_' are not there: behind the
 *  gateways that turn '-' into '_' they would pass for others. The Host is that
 *  of the target, if it has one.
 *
 *  Parks:  no.
 *  @param name  in any case
 *  @return NULL: absent, or no memory to join several (errno: ENOMEM)
 *  Source: environ HTTP_* (WSG7)
 *  @since 0.1
 */
GEV_API const char *gev_http_header(const gev_http *h, const char *name);

/** The headers line by line, in the client's order.
 *
 *  Parks:  no.
 *  @param i  0 before the first
 *  @return false: there is no other
 *  Source: WSGIHandler.headers (WSG7)
 *  @since 0.1
 */
GEV_API bool gev_http_header_next(const gev_http *h, size_t *i,
                                  const char **name, const char **value);

/** The length of the request's body. 0: there is none; -1: chunked.
 *
 *  Parks:  no.
 *  Source: environ CONTENT_LENGTH (WSG3)
 *  @since 0.1
 */
GEV_API int64_t gev_http_content_length(const gev_http *h);

/** The client's address; AF_UNSPEC where the system does not say.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  Source: environ REMOTE_ADDR (WSG11)
 *  @since 0.1
 */
GEV_API const struct sockaddr *gev_http_peer(const gev_http *h);

/** @}
 *  @name Its body. The first read answers Expect: 100-continue. What is left
 *  unread is read and forgotten, or the connection closed @{ */

/** Reads what is there of the body, at most n bytes.
 *
 *  Parks:  unless something is buffered.
 *  @return bytes, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EBADMSG     a chunk or a trailer is malformed, or too long
 *    ECONNRESET  the connection ended before the body
 *    EFBIG       it is longer than max_body
 *    ETIMEDOUT   nothing came in body_timeout
 *    EALREADY    the connection has been taken over
 *    EINVAL      NULL
 *    and those of gev_stream_read()
 *  Source: environ['wsgi.input'].read (WSG3, WSG4, WSG8, WSG10)
 *  @since 0.1
 */
GEV_API ssize_t gev_http_read(gev_http *h, void *buf, size_t n);

/** Reads a line of the body with its newline; the last one may lack it. A NUL
 *  follows it.
 *
 *  Parks:  unless it is buffered.
 *  Owns:   *line is the request's, and valid until its next read.
 *  @param limit  bytes at most, the newline included
 *  @return its length, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EMSGSIZE  longer than limit; nothing is consumed
 *    ENOMEM    no memory
 *    and those of gev_http_read()
 *  Source: environ['wsgi.input'].readline (WSG10)
 *  @since 0.1
 */
GEV_API ssize_t gev_http_read_line(gev_http *h, char **line, size_t limit);

/** Reads what is left of the body. A NUL follows it.
 *
 *  Parks:  yes.
 *  Owns:   the caller frees *data with free(3), also an empty one.
 *  @param limit  bytes at most
 *  @return bytes, or -1 on error
 *
 *  Errors:
 *    EMSGSIZE  longer than limit; what was read of it is gone
 *    ENOMEM    no memory
 *    and those of gev_http_read()
 *  Source: environ['wsgi.input'].read (WSG10)
 *  @since 0.1
 */
GEV_API ssize_t gev_http_read_all(gev_http *h, char **data, size_t limit);

/** @}
 *  @name The response. Until its head goes out, with the first flush or when
 *  some 16 KiB have been written, it may still be changed. A body that
 *  fits gets its Content-Length; a longer one is chunked, or ended by the end
 *  of the connection for HTTP/1.0; Date and Connection are added. What follows
 *  a 2xx to CONNECT is a tunnel to the client: such a connection ends with the
 *  response, unless it has been taken over @{ */

/** Sets the status; 200 unless set.
 *
 *  Parks:  no.
 *  @param reason  NULL: the usual words
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  the head is out
 *    EINVAL    NULL, not from 100 to 999, or a control character in the reason
 *    ENOMEM    no memory
 *  Source: start_response (WSG5, WSG6)
 *  @since 0.1
 */
GEV_API int gev_http_set_status(gev_http *h, int status, const char *reason);

/** Sets a header, in place of all lines of that name. A Content-Length is held
 *  against what is written; Transfer-Encoding is not for the handler.
 *
 *  Parks:  no.
 *  Owns:   the strings are copied.
 *  @param value  NULL: removes it
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  the head is out
 *    EINVAL    NULL, the name is no token, the value has control characters,
 *              a Content-Length that is no number, or Transfer-Encoding
 *    EMSGSIZE  more than this Content-Length has been written already
 *    ENOMEM    no memory
 *  Source: start_response (WSG6)
 *  @since 0.1
 */
GEV_API int gev_http_set_header(gev_http *h, const char *name,
                                const char *value);

/** Adds a header line: Set-Cookie.
 *
 *  Parks:  no.
 *  Owns:   the strings are copied.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_http_set_header()
 *  Source: start_response (WSG6)
 *  @since 0.1
 */
GEV_API int gev_http_add_header(gev_http *h, const char *name,
                                const char *value);

/** Writes a part of the body, to the buffer first. What is written for a HEAD
 *  request is counted for its Content-Length, and does not go out.
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL     NULL, or 1xx, 204 and 304, which have no body
 *    EMSGSIZE   past the Content-Length that was set; nothing of it is written
 *    EALREADY   the connection has been taken over
 *    EPIPE, ECONNRESET  the client has gone
 *    ETIMEDOUT  the client did not take it in write_timeout
 *    ENOMEM     no memory
 *    and those of gev_stream_write()
 *  Source: the write() of start_response (WSG5)
 *  @since 0.1
 */
GEV_API int gev_http_write(gev_http *h, const void *buf, size_t n);

/** Writes formatted text, as printf(3).
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EILSEQ, EOVERFLOW  as vsnprintf(3) has them
 *    and those of gev_http_write()
 *  @since 0.1
 */
GEV_API int gev_http_printf(gev_http *h, const char *format, ...)
    GEV_PRIV_PRINTF(2, 3);

/** Writes n bytes of a file from an offset, without copying them where the
 *  connection is a server's without TLS. A handler that knows the length of the
 *  whole body sets Content-Length before.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EIO  the file ended before n bytes
 *    and those of gev_http_write(), and of sendfile(2), pread(2)
 *  Source: environ['wsgi.file_wrapper'] (WSG5)
 *  @since 0.1
 */
GEV_API int gev_http_sendfile(gev_http *h, int fd, off_t offset, size_t n);

/** Sends the head, and the body so far.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_http_write()
 *  Source: iterated results are sent piece by piece (WSG5)
 *  @since 0.1
 */
GEV_API int gev_http_flush(gev_http *h);

/** A whole response. What was written to the buffer before is dropped, headers
 *  that were set are not.
 *
 *  Parks:  when the buffer is full.
 *  @param type  the Content-Type; NULL: none, or the one that was set
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EALREADY  the head is out
 *    EINVAL    NULL, a status that is none or has no body, a bad type
 *    and those of gev_http_write()
 *  Source: a list as the application's result (WSG5)
 *  @since 0.1
 */
GEV_API int gev_http_reply(gev_http *h, int status, const char *type,
                           const void *body, size_t n);

/** Sends a server-sent event: a first call makes the response a
 *  text/event-stream that no cache keeps, and every call flushes.
 *
 *  Parks:  yes.
 *  @param event  its name; NULL: none
 *  @param data   text; its lines become lines of the event. NULL: a comment,
 *                which clients ignore and which keeps the connection alive
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or a line break in the name
 *    and those of gev_http_write()
 *  @since 0.1
 */
GEV_API int gev_http_event(gev_http *h, const char *event, const char *data);

/** Takes the connection over, for another protocol: bytes that were read ahead
 *  are in its stream, and the server sends nothing more.
 *
 *  Parks:  no.
 *  Owns:   borrowed: it is closed when the handler returns.
 *
 *  Errors:
 *    EALREADY  the head is out, or it has been taken over
 *    EBUSY     a line of the body was read, and bytes after it
 *    EINVAL    NULL
 *  Source: upgrades through environ['wsgi.input'].rfile (WSG12)
 *  @since 0.1
 */
GEV_API gev_stream *gev_http_hijack(gev_http *h);

/** @}
 *  @name For the log @{ */

/** The response's status; 0: the connection has been taken over.
 *
 *  Parks:  no.
 *
 *  Errors: none.
 *  Source: WSGIHandler.format_request (WSG11)
 *  @since 0.1
 */
GEV_API int gev_http_status(const gev_http *h);

/** Bytes of the response's body: what was written; 0 for a HEAD request.
 *
 *  Parks:  no.
 *  Source: WSGIHandler.format_request (WSG11)
 *  @since 0.1
 */
GEV_API uint64_t gev_http_sent(const gev_http *h);

/** Seconds since the request's first byte.
 *
 *  Parks:  no.
 *  Source: WSGIHandler.format_request (WSG11)
 *  @since 0.1
 */
GEV_API double gev_http_seconds(const gev_http *h);

/** @} */

GEV_END_DECLS
#endif
