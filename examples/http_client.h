/* SPDX-License-Identifier: MIT */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

/** @file http_client.h
 *  Just enough HTTP/1.1 to fetch a document: one GET a connection. It reads
 *  like code for blocking sockets; that other greenlets run while one waits is
 *  not to be seen anywhere.
 *
 *  Every function that can fail returns -1 and leaves a sentence in `error`.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** A status line and all header fields, or all trailer fields, or a chunk's
 *  line, may take so many bytes. */
#define HTTP_HEAD_MAX 16384
#define HTTP_URL_MAX 4096
#define HTTP_ERROR_MAX 192

/** The parts of an http:// or https:// URL. */
struct http_url {
    bool tls;         /**< https:// */
    char host[256];   /**< a name or an address, without brackets */
    char port[6];     /**< digits */
    char field[272];  /**< for the Host field: as it is in the URL */
    const char *path; /**< path and query in the URL's text; may be empty */
    int path_length;
};

/** How the end of a body is known. */
enum http_framing {
    HTTP_ENDED,      /**< nothing more to read */
    HTTP_LENGTH,     /**< after `left` bytes */
    HTTP_CHUNKED,    /**< after the chunk of size 0 */
    HTTP_UNTIL_CLOSE /**< when the server closes the connection */
};

/** One request and its answer. */
struct http {
    int status;                 /**< 200, 404 ... */
    char error[HTTP_ERROR_MAX]; /**< why a call failed */

    int fd;
    struct gev_stream *tls; /* https://, and fd is -1; or NULL */
    enum http_framing framing;
    uint64_t left;     /* of the body, or of this chunk */
    uint64_t received; /* bytes of the body so far */
    bool in_chunks;    /* the first chunk has begun */
    bool has_length;
    char reason[64];   /* the words after the status */
    char location[96]; /* where a redirection points to */
    size_t head_left;  /* how much the head may still take */
    size_t start;      /* buffer[start..end) is read and not used */
    size_t end;
    char buffer[HTTP_HEAD_MAX];
};

/** Takes a URL apart. @p url borrows @p text.
 *
 *  @param error  set on failure; HTTP_ERROR_MAX bytes
 *  @return 0, or -1: not a URL, or not one for us
 */
int http_parse_url(struct http_url *url, const char *text, char *error);

/** Connects, sends the request and reads the head of the answer. Anything but
 *  a status of 200 to 299 is an error. Parks.
 *
 *  Call http_close() in any case.
 *  @return 0 or -1
 */
int http_get(struct http *http, const struct http_url *url);

/** Reads some of the body. Parks.
 *
 *  @return how many bytes, 0 at the body's proper end, -1 on error
 */
ssize_t http_read(struct http *http, void *buffer, size_t size);

/** Closes the connection. */
void http_close(struct http *http);

#endif
