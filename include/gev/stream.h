/* SPDX-License-Identifier: MIT */
#ifndef GEV_STREAM_H
#define GEV_STREAM_H

/** @file gev/stream.h
 *  Buffered streams: lines, exact amounts and formatted text over a descriptor,
 *  or over anything that can read and write bytes (a transport; TLS is one).
 *
 *  A stream may be used by a reader and a writer at the same time. Several
 *  greenlets that read, or several that write, take turns, first come, first
 *  served. Reading waits for the peer only after what was written has been
 *  flushed, so a request needs no flush before its answer is read; it does not
 *  wait for that flush while there is something to read, so two who read never
 *  wait for each other (over descriptors, TLS, and all transports that can
 *  wait for either). A read that fails, also by a timeout or a kill, has lost
 *  nothing: what came is there for the next.
 *
 *  @code
 *  gev_stream *s = gev_stream_open(fd);
 *  char *line;
 *  gev_stream_printf(s, "HELO %s\r\n", name);
 *  while (gev_stream_read_line(s, &line, 1000) > 0) {
 *      ...
 *  }
 *  gev_stream_close(s);
 *  @endcode
 */
#include <gev/base.h>

#include <stdarg.h>
#include <sys/types.h>
#include <sys/uio.h>

#if defined(__GNUC__)
#define GEV_PRIV_PRINTF(text, first)                                           \
    __attribute__((format(printf, text, first)))
#else
#define GEV_PRIV_PRINTF(text, first)
#endif

GEV_BEGIN_DECLS

/** A stream. */
typedef struct gev_stream gev_stream;

/** What a stream runs on. The table is static; self is the transport's own.
 *  Reads and writes may run at the same time, in two greenlets; no two of a
 *  kind do. */
typedef struct gev_transport {
    size_t size; /**< sizeof(gev_transport): room to grow */
    /** May park. What is there, 0 at the end, or -1 with errno. */
    ssize_t (*read)(void *self, void *buf, size_t n);
    /** May park, and may be short; never 0 for n > 0. -1 with errno. */
    ssize_t (*write)(void *self, const void *buf, size_t n);
    /** No more writes: FIN, close_notify. NULL: EOPNOTSUPP. */
    int (*shutdown)(void *self);
    /** Frees self. No other call is running, or follows. All that was written
     *  has been taken, or there is no abort. */
    int (*close)(void *self);
    /** Wakes who is parked in read or write: it fails with @p error. NULL: the
     *  error is thrown into its greenlet. */
    void (*cancel)(void *self, int error);
    /** The descriptor below. NULL: there is none. */
    int (*fd)(const void *self);
    /** Gives back what memory is only needed while bytes go through. This and
     *  what follows is optional: NULL, or beyond size. */
    void (*trim)(void *self);
    /** A write that never parks. -1 with EAGAIN: it would have had to; with
     *  ENOTSUP: it cannot be done like that. */
    ssize_t (*try_write)(void *self, const void *buf, size_t n);
    /** May park, as a read if GEV_READ is asked for, else as a write: until a
     *  read would give something without parking, or try_write take something.
     *  Which of them, > 0, or -1 with errno; ENOTSUP: it cannot. */
    int (*wait)(void *self, int directions);
    /** As close, of a stream that ends before its end: gev_stream_abort(), or
     *  what was written is lost. The peer must not take what it has for all
     *  there is. NULL: close. */
    int (*abort)(void *self);
} gev_transport;

/** A stream over a descriptor: socket, pipe, terminal. What gev_settimeout()
 *  says of the descriptor holds below what gev_stream_settimeout() says.
 *
 *  Parks:  no.
 *  Owns:   the caller owns the stream, the stream owns fd; on failure the
 * caller still owns fd.
 *
 *  Errors:
 *    EBADF   not open
 *    ENOMEM  no memory
 *  Source: socket.makefile, FileObject (SOC15, FIL1)
 *  @since 0.1
 */
GEV_API gev_stream *gev_stream_open(int fd);

/** A stream over a transport.
 *
 *  Parks:  no.
 *  Owns:   the caller owns the stream, the stream owns self; on failure the
 *          caller still owns self.
 *
 *  Errors:
 *    EINVAL  NULL, or a table without read, write or close
 *    ENOMEM  no memory
 *  @since 0.1
 */
GEV_API gev_stream *gev_stream_new(const gev_transport *ops, void *self);

/** @name Reading @{ */

/** Reads what is there, at most n bytes.
 *
 *  Parks:  unless something is buffered.
 *  @return bytes, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EINVAL     NULL
 *    EBADF      closed by another greenlet meanwhile
 *    ETIMEDOUT  nothing came in time
 *    ENOMEM     no memory for the buffer
 *    EPERM      another thread's stream
 *    and the transport's, and those of any park
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_read(gev_stream *s, void *buf, size_t n);

/** Reads n bytes.
 *
 *  Parks:  unless they are buffered.
 *  @return bytes: fewer than n if the stream ended (errno 0) or failed (errno);
 *          -1 if it failed before the first
 *
 *  Errors:
 *    those of gev_stream_read()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_read_exactly(gev_stream *s, void *buf, size_t n);

/** Reads a line with its newline; the last one of the stream may lack it. A NUL
 *  follows it. It does not wait for more than the limit: what is as long as
 *  that without a newline is a last line only if the end is known by then.
 *
 *  Parks:  unless it is buffered.
 *  Owns:   *line is the stream's, and valid until its next read.
 *  @param limit  bytes at most, the newline included
 *  @return its length, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EMSGSIZE  longer than limit; nothing is consumed
 *    and those of gev_stream_read()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_read_line(gev_stream *s, char **line, size_t limit);

/** Reads up to and including a delimiter; the last piece of the stream may lack
 *  it. A NUL follows it.
 *
 *  Parks:  unless it is buffered.
 *  Owns:   *data is the stream's, and valid until its next read.
 *  @param limit  bytes at most, the delimiter included
 *  @return its length, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EMSGSIZE  longer than limit; nothing is consumed
 *    EINVAL    an empty delimiter
 *    and those of gev_stream_read()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_read_until(gev_stream *s, const void *delim,
                                      size_t len, char **data, size_t limit);

/** Reads all there is to come. A NUL follows it. Closed by another greenlet
 *  meanwhile it gives what it has.
 *
 *  Parks:  yes.
 *  Owns:   the caller frees *data with free(3), also an empty one.
 *  @param limit  bytes at most
 *  @return bytes, or -1 on error
 *
 *  Errors:
 *    EMSGSIZE  longer than limit; nothing is consumed
 *    and those of gev_stream_read()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_read_all(gev_stream *s, char **data, size_t limit);

/** Looks at what the next read will give: at least n bytes, but at the end.
 *
 *  Parks:  unless so much is buffered.
 *  Owns:   *data is the stream's, and valid until its next read.
 *  @return bytes at *data, 0 at the end, or -1 on error
 *
 *  Errors:
 *    those of gev_stream_read()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_peek(gev_stream *s, const void **data, size_t n);

/** Bytes that a read gives without parking.
 *
 *  Parks:  no.
 *  @since 0.1
 */
GEV_API size_t gev_stream_buffered(const gev_stream *s);

/** Waits, and moves nothing: until a read would give something, or its end or a
 *  failure (GEV_READ), or the transport take something (GEV_WRITE). It flushes
 *  nothing.
 *
 *  Parks:  unless something to read is buffered. Who may not, or has no time
 * to, is told what is so at once.
 *  @param directions  GEV_READ, GEV_WRITE (see gev_wait_fd()), or both
 *  @return those that are so, at least one; or -1 on error
 *
 *  Errors:
 *    ENOTSUP  the transport cannot wait
 *    EINVAL   NULL, or no direction
 *    and those of gev_stream_read()
 *  @since 0.1
 */
GEV_API int gev_stream_wait(gev_stream *s, int directions);

/** @}
 *  @name Writing @{ */

/** A write of at most so many bytes is taken whole or not at all, as with
 *  PIPE_BUF. A full record of TLS fits. */
#define GEV_STREAM_BUF ((size_t)16 * 1024 + 256)

/** Writes all of it, to the buffer first.
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error: nothing was taken then, or of more than
 *          GEV_STREAM_BUF bytes an unknown part
 *
 *  Errors:
 *    EINVAL     NULL
 *    EBADF      closed by another greenlet meanwhile
 *    EPIPE      the peer has closed, or gev_stream_shutdown() was called
 *    ETIMEDOUT  the peer did not take it in time
 *    ENOMEM     no memory for the buffer
 *    EPERM      another thread's stream
 *    and the transport's, and those of any park
 *  @since 0.1
 */
GEV_API int gev_stream_write(gev_stream *s, const void *buf, size_t n);

/** Writes what the transport takes at once, past the buffer: after what is in
 *  there, of which it takes as much as it can in any case.
 *
 *  Parks:  no.
 *  @return bytes, or -1 on error: nothing of buf was taken then
 *
 *  Errors:
 *    EAGAIN   it would have to wait: gev_stream_wait() for GEV_WRITE
 *    ENOTSUP  the transport cannot do that
 *    and those of gev_stream_write()
 *  @since 0.1
 */
GEV_API ssize_t gev_stream_try_write(gev_stream *s, const void *buf, size_t n);

/** Writes several pieces.
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_stream_write()
 *  @since 0.1
 */
GEV_API int gev_stream_writev(gev_stream *s, const struct iovec *iov, int n);

/** Writes formatted text, as printf(3).
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EILSEQ, EOVERFLOW  as vsnprintf(3) has them
 *    and those of gev_stream_write()
 *  @since 0.1
 */
GEV_API int gev_stream_printf(gev_stream *s, const char *format, ...)
    GEV_PRIV_PRINTF(2, 3);

/** The same with a va_list.
 *
 *  Parks:  when the buffer is full.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    those of gev_stream_printf()
 *  @since 0.1
 */
GEV_API int gev_stream_vprintf(gev_stream *s, const char *format, va_list ap)
    GEV_PRIV_PRINTF(2, 0);

/** Writes n bytes of a file from an offset, without copying them where the
 *  stream is over a descriptor. What is buffered goes out first.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EIO  the file ended before n bytes
 *    and those of gev_stream_write(), and of sendfile(2), pread(2)
 *  Source: socket.sendfile (SOC7)
 *  @since 0.1
 */
GEV_API int gev_stream_sendfile(gev_stream *s, int fd, off_t offset, size_t n);

/** Waits until the transport has taken everything.
 *
 *  Parks:  unless nothing is buffered.
 *  @return 0, or -1 on error: what has not gone out is still buffered
 *
 *  Errors:
 *    those of gev_stream_write()
 *  @since 0.1
 */
GEV_API int gev_stream_flush(gev_stream *s);

/** @}
 *  @name Time and end @{ */

/** Limits each call as a whole, whatever the transport. A timeout of zero or
 *  less: calls that would park fail with ETIMEDOUT.
 *
 *  Parks:  no.
 *  @param seconds  GEV_FOREVER: no limit
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or NaN
 *  @since 0.1
 */
GEV_API int gev_stream_settimeout(gev_stream *s, double seconds);

/** Gives back what memory the stream and its transport can do without as long
 *  as no bytes come: for one that is going to wait for long. The next call that
 *  reads waits for something before it takes memory again. What reads have
 * given out (a line) is not valid any more; nothing else is lost.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's stream
 *  @since 0.1
 */
GEV_API int gev_stream_trim(gev_stream *s);

/** Flushes, then ends the stream of writes; reads go on. 0 if it has already.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EOPNOTSUPP  the transport has no half-close
 *    and those of gev_stream_flush()
 *  @since 0.1
 */
GEV_API int gev_stream_shutdown(gev_stream *s);

/** Flushes, wakes others who are in a call with EBADF, and frees. In a killed
 *  greenlet, and where parking is forbidden, a flush that would park is
 *  dropped. NULL is fine.
 *
 *  Parks:  yes.
 *  @return 0, or -1 if the flush or the transport's close failed; it is closed
 *          in any case
 *
 *  Errors:
 *    those of gev_stream_flush()
 *  @since 0.1
 */
GEV_API int gev_stream_close(gev_stream *s);

/** The same without flushing: an end that the peer of a TLS stream does not
 *  take for the end. NULL is fine.
 *
 *  Parks:  no, but a transport may when it closes.
 *  @return 0, or -1 if the transport's close failed
 *
 *  Errors:
 *    the transport's
 *  @since 0.1
 */
GEV_API int gev_stream_abort(gev_stream *s);

/** Flushes, frees the stream and gives its descriptor back.
 *
 *  Parks:  yes.
 *  @return the descriptor, or -1 on error: the stream is as before
 *
 *  Errors:
 *    EBUSY    bytes are buffered and unread, or another greenlet is in a call
 *    ENOTSUP  the transport has none
 *    and those of gev_stream_flush()
 *  Source: socket.detach (SOC13)
 *  @since 0.1
 */
GEV_API int gev_stream_detach(gev_stream *s);

/** The descriptor below.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return it, or -1 on error
 *
 *  Errors:
 *    ENOTSUP  the transport has none
 *    EINVAL   NULL
 *  @since 0.1
 */
GEV_API int gev_stream_fd(const gev_stream *s);

/** What a transport's stream runs on, for the library of that transport.
 *
 *  Parks:  no.
 *  Owns:   borrowed; the stream's.
 *  @return what gev_stream_new() was given with that very table, or NULL if the
 *          stream runs on something else
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API void *gev_stream_self(const gev_stream *s, const gev_transport *ops);

/** @} */

GEV_END_DECLS
#endif
