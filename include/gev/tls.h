/* SPDX-License-Identifier: MIT */
#ifndef GEV_TLS_H
#define GEV_TLS_H

/** @file gev/tls.h
 *  TLS streams, by OpenSSL 3. This header belongs to the library gev-tls, is
 *  not part of <gev.h>, and needs no header of OpenSSL.
 *
 *  A configuration (gev_tls) is made once and turns streams into TLS streams,
 *  as client or as server. What comes out is a gev_stream like any other.
 *
 *  @code
 *  gev_stream *s = gev_tls_connect(NULL, "example.org", "443", 10);
 *  if (s == NULL) {
 *      fprintf(stderr, "%s: %s\n", gev_strerror(errno), gev_tls_reason());
 *      return -1;
 *  }
 *  gev_stream_printf(s, "GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
 *  ...
 *  gev_stream_close(s);
 *
 *  gev_tls_opts files = {.cert_file = "cert.pem", .key_file = "key.pem"};
 *  gev_tls *tls = gev_tls_server(&files);
 *  gev_server_opts opts = {.service = "8443", .tls = tls};
 *  @endcode
 *
 *  What holds for all TLS streams:
 *
 *  - A client verifies the chain up to the system's authorities, and that the
 *    certificate is for the host. Only GEV_TLS_INSECURE turns that off.
 *  - TLS 1.2 is the oldest version there is. There is no renegotiation and no
 *    compression; key updates happen unseen.
 *  - One greenlet may read while another writes; no call into OpenSSL is
 *    ever interrupted by a switch.
 *  - The end of the stream is the peer's close_notify. If the connection ends
 *    without one, somebody may have cut it: reads fail with ECONNRESET.
 *  - A write that fails because time is over or the greenlet was killed has
 *    taken nothing. What was taken may wait in a buffer, of one record at most,
 *    that the next call on the stream sends first.
 *  - gev_stream_shutdown() sends close_notify, and leaves the lower stream
 *    open. gev_stream_close() does, too, and waits for at most a second for
 *    room to send it; it does not wait for the peer's. gev_stream_abort() does
 *    not, nor does a close that could not flush: the peer is to see that
 *    something is missing.
 *  - gev_stream_fd() is the lower stream's: what is written to it directly
 *    breaks the connection.
 *  - A failed handshake, or a protocol error later, is GEV_ETLS, GEV_ETLSCERT
 *    or GEV_ETLSNAME, and gev_tls_reason() has OpenSSL's words for it.
 */
#include <gev/base.h>
#include <gev/server.h>
#include <gev/stream.h>

struct ssl_st;
struct ssl_ctx_st;

GEV_BEGIN_DECLS

/** Codes of gev-tls. */
enum {
    GEV_ETLS = 0x47450101, /**< the protocol failed: gev_tls_reason() */
    GEV_ETLSCERT,          /**< the certificate does not verify: expired,
                                self-signed, unknown authority, or missing */
    GEV_ETLSNAME           /**< it verifies, and is for another name */
};

/** Flags of gev_tls_opts. */
enum {
    GEV_TLS_INSECURE = 1,    /**< client: no verification at all. For tests */
    GEV_TLS_CLIENT_CERT = 2, /**< server: a client without a valid certificate
                                  is refused */
    GEV_TLS_NO_SESSIONS = 4  /**< no resumption */
};

/** Options; zero means the safe default. */
typedef struct gev_tls_opts {
    size_t size;           /**< sizeof(gev_tls_opts): room to grow; 0: the
                                same */
    const char *ca_file;   /**< PEM, any number of authorities */
    const char *ca_dir;    /**< both NULL: the system's authorities. A server's
                                are those of client certificates; if it has any
                                and not GEV_TLS_CLIENT_CERT, a client may have
                                none, but not a bad one */
    const char *cert_file; /**< PEM, with the chain; a server needs one */
    const char *key_file;  /**< PEM, not encrypted; whoever has a certificate
                                needs it */
    const char *alpn;      /**< "h2,http/1.1", best first; NULL: none. A server
                                refuses clients that offer others only */
    const char *ciphers;   /**< OpenSSL's list for TLS 1.2; NULL: its default */
    int min_version;       /**< 12 or 13; 0: 12 */
    unsigned flags;
    double handshake_timeout; /**< 0: 10 s; GEV_FOREVER: none */
} gev_tls_opts;

/** @name Configurations
 *  Counted, and shared by any number of connections, also of several threads.
 *  @{ */

/** Makes a configuration for clients. Reads the files, so it blocks for a
 *  moment.
 *
 *  Parks:  no.
 *  Owns:   the caller has a reference: gev_tls_unref(). Strings are copied.
 *  Thread: any thread.
 *  @param opts  NULL: the defaults
 *
 *  Errors:
 *    EINVAL    options that make no sense, or contradict each other
 *    GEV_ETLS  not a certificate, not its key, no such cipher
 *    ENOMEM    no memory
 *    and those of opening the files
 *  Source: ssl.create_default_context (SSL1)
 *  @since 0.1
 */
GEV_API gev_tls *gev_tls_client(const gev_tls_opts *opts);

/** Makes a configuration for servers. Reads the files, so it blocks for a
 *  moment.
 *
 *  Parks:  no.
 *  Owns:   the caller has a reference: gev_tls_unref(). Strings are copied.
 *  Thread: any thread.
 *
 *  Errors:
 *    EINVAL    no certificate or key, and those of gev_tls_client()
 *    GEV_ETLS, ENOMEM  as gev_tls_client()
 *  Source: ssl.create_default_context (SSL1)
 *  @since 0.1
 */
GEV_API gev_tls *gev_tls_server(const gev_tls_opts *opts);

/** Takes a reference. NULL is fine.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @return t
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_tls *gev_tls_ref(gev_tls *t);

/** Gives a reference back. Streams have their own. NULL is fine.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API void gev_tls_unref(gev_tls *t);

/** Reads certificate, key and authorities anew, from the same files: for the
 *  connections to come. On failure all stays as it is. Sessions that were made
 *  with the old authorities are not resumed, also if they are given out later,
 *  on a connection from before.
 *
 *  Parks:  no, but reads the files.
 *  Thread: any thread.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL    NULL
 *    GEV_ETLS, ENOMEM  as gev_tls_client()
 *    and those of opening the files
 *  @since 0.1
 */
GEV_API int gev_tls_reload(gev_tls *t);

/** OpenSSL's object, for settings that are not here; change it before the first
 *  connection. gev uses its callbacks for certificates
 *  (SSL_CTX_set_cert_verify_callback) and for new sessions.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *  @return it; NULL for NULL
 *
 *  Errors:
 *    EINVAL  NULL
 *  @since 0.1
 */
GEV_API struct ssl_ctx_st *gev_tls_ctx(gev_tls *t);

/** @}
 *  @name Streams @{ */

/** Connects and does the handshake, within @p timeout; the configuration's
 *  handshake timeout holds, too.
 *
 *  Parks:  yes.
 *  Owns:   the caller owns the stream.
 *  @param t  NULL: a client of all defaults
 *
 *  Errors:
 *    EINVAL     NULL, a server's configuration, not a host name
 *    ETIMEDOUT  not done in time
 *    and those of gev_tcp_connect() and gev_tls_wrap()
 *  Source: SSLContext.wrap_socket (SSL1)
 *  @since 0.1
 */
GEV_API gev_stream *gev_tls_connect(gev_tls *t, const char *host,
                                    const char *service, double timeout);

/** Does a client's handshake over a stream.
 *
 *  Parks:  yes.
 *  Owns:   lower, from now on: it is closed with the stream that is returned,
 *          and at once on failure.
 *  @param t     NULL: a client of all defaults
 *  @param host  name or address the certificate must be for; a name is told
 *               the server (SNI). NULL only with GEV_TLS_INSECURE
 *
 *  Errors:
 *    GEV_ETLSCERT  the server's certificate does not verify
 *    GEV_ETLSNAME  it is for another name
 *    GEV_ETLS      the handshake failed
 *    EPROTO        bytes were buffered in lower: not TLS's, but somebody's
 *    ECONNRESET    the connection was closed
 *    ETIMEDOUT     not done in time
 *    EINVAL        NULL, a server's configuration, not a host name
 *    ENOMEM        no memory
 *    and those of lower, and of any park
 *  Source: SSLContext.wrap_socket, do_handshake (SSL1, SSL2, SSL4)
 *  @since 0.1
 */
GEV_API gev_stream *gev_tls_wrap(gev_tls *t, gev_stream *lower,
                                 const char *host);

/** Does a server's handshake over a stream. gev_server does this for each
 *  connection, if it is given a configuration.
 *
 *  Parks:  yes.
 *  Owns:   lower, from now on: it is closed with the stream that is returned,
 *          and at once on failure.
 *
 *  Errors:
 *    GEV_ETLSCERT  the client's certificate does not verify, or is missing
 *    GEV_ETLS      the handshake failed
 *    EPROTO        plain bytes were buffered before the handshake
 *    ECONNRESET    the connection was closed
 *    ETIMEDOUT     not done in time
 *    EINVAL        NULL, or a client's configuration
 *    ENOMEM        no memory
 *    and those of lower, and of any park
 *  Source: SSLContext.wrap_socket, StreamServer's (SSL1, SSL4, SRV10)
 *  @since 0.1
 */
GEV_API gev_stream *gev_tls_accept(gev_tls *t, gev_stream *lower);

/** Ends TLS, close_notify both ways, and gives the lower stream back; what
 *  comes on it next is plain text. A peer that has closed the connection
 *  instead is no failure. It takes at most the handshake's time.
 *
 *  Parks:  yes.
 *  Owns:   the caller owns what is returned, and s is gone; on failure s is
 *          still the caller's, with close_notify sent: read what is there, try
 *          again, or close it.
 *
 *  Errors:
 *    EBUSY      bytes are unread, or another greenlet is in a call
 *    ETIMEDOUT  the peer did not answer in time
 *    ENOTSUP    not a TLS stream
 *    EINVAL     NULL
 *    and those of gev_stream_shutdown() and gev_stream_read()
 *  Source: SSLSocket.unwrap (SSL8)
 *  @since 0.1
 */
GEV_API gev_stream *gev_tls_unwrap(gev_stream *s);

/** @}
 *  @name What was agreed @{ */

/** The protocol's version: "TLSv1.3".
 *
 *  Parks:  no.
 *  Owns:   constant.
 *  @return it; NULL with errno ENOTSUP: not a TLS stream
 *  Source: SSLSocket.version (SSL6)
 *  @since 0.1
 */
GEV_API const char *gev_tls_version(const gev_stream *s);

/** The cipher suite, by OpenSSL's name.
 *
 *  Parks:  no.
 *  Owns:   constant.
 *  @return it; NULL with errno ENOTSUP: not a TLS stream
 *  Source: SSLSocket.cipher (SSL6)
 *  @since 0.1
 */
GEV_API const char *gev_tls_cipher(const gev_stream *s);

/** The application protocol (ALPN).
 *
 *  Parks:  no.
 *  Owns:   the stream's.
 *  @return it; NULL with errno 0: none; NULL with ENOTSUP: not a TLS stream
 *  Source: SSLSocket.selected_alpn_protocol (SSL6)
 *  @since 0.1
 */
GEV_API const char *gev_tls_alpn(const gev_stream *s);

/** Whether an earlier session was resumed.
 *
 *  Parks:  no.
 *  Source: SSLSocket.session_reused (SSL6)
 *  @since 0.1
 */
GEV_API bool gev_tls_resumed(const gev_stream *s);

/** Why the current greenlet's last call on TLS failed, as a text for people;
 *  "" if it had nothing to do with TLS.
 *
 *  Parks:  no.
 *  Owns:   the greenlet's, until its next call on TLS.
 *  Source: ssl.SSLError (SSL7)
 *  @since 0.1
 */
GEV_API const char *gev_tls_reason(void);

/** OpenSSL's object, for what is not here: the peer's certificate, channel
 *  binding. Not for reading, writing, or ending it.
 *
 *  Parks:  no.
 *  Owns:   borrowed.
 *
 *  Errors:
 *    ENOTSUP  not a TLS stream
 *  Source: SSLSocket.getpeercert, get_channel_binding (SSL6)
 *  @since 0.1
 */
GEV_API struct ssl_st *gev_tls_ssl(gev_stream *s);

/** @} */

GEV_END_DECLS
#endif
