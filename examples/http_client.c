/* SPDX-License-Identifier: MIT */
#include "http_client.h"

#include <gev.h>
#ifdef HAVE_GEV_TLS
#include <gev/tls.h>
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Of informational answers (100 to 199) in front of the real one. */
#define INTERIM_MAX 10

__attribute__((format(printf, 2, 3))) static int fail(struct http *http,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(http->error, sizeof(http->error), format, args);
    va_end(args);
    return -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* --- The URL ---------------------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static int
bad_url(char *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, HTTP_ERROR_MAX, format, args);
    va_end(args);
    return -1;
}

/* The scheme has to be http or https. Returns what follows "://", or NULL. */
static const char *skip_scheme(const char *text, bool *tls, char *error)
{
    const size_t length =
        strspn(text, "abcdefghijklmnopqrstuvwxyz"
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    if (length == 0 || strncmp(text + length, "://", 3) != 0) {
        bad_url(error, "not a URL: it does not begin with http://");
        return NULL;
    }
    *tls = length == 5 && strncasecmp(text, "https", 5) == 0;
    if (!*tls && (length != 4 || strncasecmp(text, "http", 4) != 0)) {
        bad_url(error,
                "%.*s:// is not supported, only http:// and https:// "
                "are",
                (int)(length < 20 ? length : 20), text);
        return NULL;
    }
#ifndef HAVE_GEV_TLS
    if (*tls) {
        bad_url(error, "https:// needs gev-tls, which was not built: OpenSSL "
                       "3 was missing");
        return NULL;
    }
#endif
    return text + length + 3;
}

static int parse_port(struct http_url *url, const char *text, size_t length,
                      char *error)
{
    if (length == 0) { /* "http://host:/" is allowed */
        strcpy(url->port, url->tls ? "443" : "80");
        return 0;
    }
    unsigned long port = 0;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]) || port > 65535) {
            port = 0;
            break;
        }
        port = port * 10 + (unsigned long)(text[i] - '0');
    }
    if (port < 1 || port > 65535) {
        return bad_url(error, "bad port in the URL");
    }
    snprintf(url->port, sizeof(url->port), "%u", (unsigned)port & 0xffff);
    return 0;
}

int http_parse_url(struct http_url *url, const char *text, char *error)
{
    const size_t size = strlen(text);
    if (size > HTTP_URL_MAX) {
        return bad_url(error, "the URL is longer than %d bytes", HTTP_URL_MAX);
    }
    for (size_t i = 0; i < size; i++) {
        /* Line breaks would end up in the request. */
        if (text[i] <= ' ' || text[i] > '~') {
            return bad_url(error, "the URL has a character that must be "
                                  "percent-encoded");
        }
    }
    const char *authority = skip_scheme(text, &url->tls, error);
    if (authority == NULL) {
        return -1;
    }
    const size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length) != NULL) {
        return bad_url(error, "user names in URLs are not supported");
    }

    const char *host = authority;
    size_t host_length = strcspn(authority, ":/?#");
    const char *after = host + host_length;
    if (authority[0] == '[') { /* an IPv6 address */
        host++;
        host_length = strcspn(host, "]/?#");
        after = host + host_length;
        if (*after++ != ']') {
            return bad_url(error, "no ']' after the address in the URL");
        }
    }
    if (host_length == 0) {
        return bad_url(error, "no host in the URL");
    }
    if (host_length >= sizeof(url->host)) {
        return bad_url(error, "the URL's host is too long");
    }
    const size_t rest = (size_t)(authority + length - after);
    if (rest > 0 && *after != ':') {
        return bad_url(error, "bad host in the URL");
    }
    if (length >= sizeof(url->field)) {
        return bad_url(error, "bad port in the URL");
    }
    if (parse_port(url, after + 1, rest > 0 ? rest - 1 : 0, error) < 0) {
        return -1;
    }
    memcpy(url->host, host, host_length);
    url->host[host_length] = '\0';
    memcpy(url->field, authority, length);
    url->field[length] = '\0';
    url->path = authority + length;
    url->path_length = (int)strcspn(url->path, "#");
    return 0;
}

/* --- The connection --------------------------------------------------------
 */

static ssize_t receive(struct http *http, void *buffer, size_t size)
{
    return http->tls != NULL ? gev_stream_read(http->tls, buffer, size)
                             : gev_recv(http->fd, buffer, size, 0);
}

static int send_all(struct http *http, const char *data, size_t n)
{
    if (http->tls != NULL) {
        return gev_stream_write(http->tls, data, n) < 0 ||
                       gev_stream_flush(http->tls) < 0
                   ? -1
                   : 0;
    }
    return gev_send_all(http->fd, data, n) == (ssize_t)n ? 0 : -1;
}

static int open_connection(struct http *http, const struct http_url *url)
{
    const char *reason = "";
    http->fd = -1;
    http->tls = NULL;
    if (!url->tls) {
        http->fd = gev_tcp_connect(url->host, url->port, GEV_FOREVER);
    }
#ifdef HAVE_GEV_TLS
    if (url->tls) {
        http->tls = gev_tls_connect(NULL, url->host, url->port, GEV_FOREVER);
        reason = http->tls == NULL ? gev_tls_reason() : "";
    }
#endif
    if (http->fd < 0 && http->tls == NULL) {
        return fail(http, "connecting: %s%s%s", gev_strerror(errno),
                    *reason != '\0' ? ": " : "", reason);
    }
    return 0;
}

/* --- Reading lines ---------------------------------------------------------
 */

/* Reads more into the buffer, which has room. 0 at the end of the stream. */
static ssize_t fill(struct http *http)
{
    const ssize_t n = receive(http, http->buffer + http->end,
                              sizeof(http->buffer) - http->end);
    if (n < 0) {
        return fail(http, "receiving: %s", gev_strerror(errno));
    }
    http->end += (size_t)n;
    return n;
}

/* Takes one line, without its end; it is valid until the next read. NULL on
 * error. Lines end in CR LF, and as everywhere a bare LF is taken, too. All
 * lines until head_left is set anew together are bounded. */
static char *read_line(struct http *http, const char *where)
{
    size_t seen = 0;
    for (;;) {
        char *begin = http->buffer + http->start;
        const size_t have = http->end - http->start;
        char *lf = memchr(begin + seen, '\n', have - seen);
        const size_t length = lf != NULL ? (size_t)(lf - begin) + 1 : have;
        if (length > http->head_left || length == sizeof(http->buffer)) {
            fail(http, "%s is longer than %d bytes", where, HTTP_HEAD_MAX);
            return NULL;
        }
        if (lf != NULL) {
            http->head_left -= length;
            http->start += length;
            *lf = '\0';
            if (lf > begin && lf[-1] == '\r') {
                *--lf = '\0';
            }
            if (memchr(begin, '\0', (size_t)(lf - begin)) != NULL) {
                fail(http, "a zero byte in %s", where);
                return NULL;
            }
            return begin;
        }
        seen = have;
        memmove(http->buffer, begin, have);
        http->start = 0;
        http->end = have;
        const ssize_t n = fill(http);
        if (n == 0) {
            fail(http, "connection closed %s %s", have == 0 ? "before" : "in",
                 where);
        }
        if (n <= 0) {
            return NULL;
        }
    }
}

/* --- The head --------------------------------------------------------------
 */

static int send_request(struct http *http, const struct http_url *url)
{
    /* The buffer is free until the answer comes, and larger than any URL. */
    const int n = snprintf(http->buffer, sizeof(http->buffer),
                           "GET %s%.*s HTTP/1.1\r\n"
                           "Host: %s\r\n"
                           "User-Agent: gev-fetch/" GEV_VERSION "\r\n"
                           "Accept: */*\r\n"
                           "Accept-Encoding: identity\r\n"
                           "Connection: close\r\n"
                           "\r\n",
                           url->path[0] == '/' ? "" : "/", url->path_length,
                           url->path, url->field);
    if (send_all(http, http->buffer, (size_t)n) < 0) {
        return fail(http, "sending: %s", gev_strerror(errno));
    }
    return 0;
}

/* "HTTP/1.1 200 OK" */
static int read_status(struct http *http)
{
    const char *line = read_line(http, "the status line");
    if (line == NULL) {
        /* Perhaps the server is none of our kind: then say that instead. */
        const size_t have = http->end - http->start;
        if (have > 0 && memcmp(http->buffer + http->start, "HTTP/",
                               have < 5 ? have : 5) != 0) {
            return fail(http, "the answer is not HTTP");
        }
        return -1;
    }
    if (strncmp(line, "HTTP/", 5) != 0) {
        return fail(http, "the answer is not HTTP");
    }
    if (strncmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7])) {
        return fail(http, "not HTTP/1.1: %.20s", line);
    }
    const char *code = line + 8;
    if (code[0] != ' ' || code[1] < '1' || !is_digit(code[1]) ||
        !is_digit(code[2]) || !is_digit(code[3]) ||
        (code[4] != ' ' && code[4] != '\0')) {
        return fail(http, "bad status line");
    }
    http->status =
        (code[1] - '0') * 100 + (code[2] - '0') * 10 + (code[3] - '0');
    snprintf(http->reason, sizeof(http->reason), "%s", code + 4);
    return 0;
}

/* Decimal digits and nothing else. */
static int take_length(struct http *http, const char *value)
{
    uint64_t length = 0;
    for (const char *p = value; *p != '\0' || p == value; p++) {
        if (!is_digit(*p) || __builtin_mul_overflow(length, 10, &length) ||
            __builtin_add_overflow(length, (uint64_t)(*p - '0'), &length)) {
            return fail(http, "bad Content-Length");
        }
    }
    if (http->has_length && length != http->left) {
        return fail(http, "two different Content-Lengths");
    }
    http->has_length = true;
    http->left = length;
    return 0;
}

static int take_field(struct http *http, char *line)
{
    char *colon = strchr(line, ':');
    if (colon == NULL || colon == line || line[0] == ' ' || line[0] == '\t' ||
        colon[-1] == ' ' || colon[-1] == '\t') {
        return fail(http, "bad header line: %.40s", line);
    }
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length > 0 && strchr(" \t", value[length - 1]) != NULL) {
        value[--length] = '\0';
    }
    if (strcasecmp(line, "Content-Length") == 0) {
        return take_length(http, value);
    }
    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        if (strcasecmp(value, "chunked") != 0 ||
            http->framing == HTTP_CHUNKED) {
            return fail(http, "unknown Transfer-Encoding: %.40s", value);
        }
        http->framing = HTTP_CHUNKED;
    } else if (strcasecmp(line, "Location") == 0) {
        snprintf(http->location, sizeof(http->location), "%s", value);
    }
    return 0;
}

static int read_head(struct http *http)
{
    http->head_left = HTTP_HEAD_MAX;
    http->framing = HTTP_UNTIL_CLOSE;
    http->has_length = false;
    if (read_status(http) < 0) {
        return -1;
    }
    for (;;) {
        char *line = read_line(http, "the header");
        if (line == NULL) {
            return -1;
        }
        if (line[0] == '\0') {
            break;
        }
        if (take_field(http, line) < 0) {
            return -1;
        }
    }
    if (http->framing == HTTP_CHUNKED && http->has_length) {
        /* Somebody may be trying to smuggle a second answer past us. */
        return fail(http, "both Content-Length and Transfer-Encoding");
    }
    if (http->framing == HTTP_UNTIL_CLOSE && http->has_length) {
        http->framing = HTTP_LENGTH;
    }
    if (http->status == 204 || http->status == 304) {
        http->framing = HTTP_ENDED;
    }
    if (http->framing == HTTP_CHUNKED) {
        http->left = 0;
    }
    return 0;
}

int http_get(struct http *http, const struct http_url *url)
{
    http->status = 0;
    http->error[0] = '\0';
    http->location[0] = '\0';
    http->received = 0;
    http->in_chunks = false;
    http->start = 0;
    http->end = 0;
    if (open_connection(http, url) < 0) {
        return -1;
    }
    if (send_request(http, url) < 0) {
        return -1;
    }
    int interim = 0;
    do {
        if (interim++ > INTERIM_MAX) {
            return fail(http, "only interim answers");
        }
        if (read_head(http) < 0) {
            return -1;
        }
    } while (http->status >= 100 && http->status < 200);

    if (http->status >= 300 && http->location[0] != '\0') {
        return fail(http, "HTTP %d%s, to %s: redirections are not followed",
                    http->status, http->reason, http->location);
    }
    if (http->status >= 300) {
        return fail(http, "HTTP %d%s", http->status, http->reason);
    }
    return 0;
}

/* --- The body --------------------------------------------------------------
 */

/* "1a2b; extension" */
static int read_chunk_size(struct http *http)
{
    const char *line;
    http->head_left = HTTP_HEAD_MAX;
    if (http->in_chunks) { /* the end of the chunk before */
        line = read_line(http, "a chunk's size");
        if (line == NULL) {
            return -1;
        }
        if (line[0] != '\0') {
            return fail(http, "a chunk is longer than it says");
        }
    }
    http->in_chunks = true;
    line = read_line(http, "a chunk's size");
    if (line == NULL) {
        return -1;
    }
    uint64_t size = 0;
    const char *p = line;
    for (;; p++) {
        unsigned digit;
        if (is_digit(*p)) {
            digit = (unsigned)(*p - '0');
        } else if ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f') {
            digit = (unsigned)((*p | 0x20) - 'a' + 10);
        } else {
            break;
        }
        if (__builtin_mul_overflow(size, 16, &size)) {
            return fail(http, "a chunk's size is too large");
        }
        size += digit;
    }
    if (p == line || (*p != '\0' && strchr("; \t", *p) == NULL)) {
        return fail(http, "bad chunk size");
    }
    http->left = size;
    return 0;
}

/* The fields after the last chunk; nothing of theirs is of use to us. */
static int skip_trailer(struct http *http)
{
    const char *line;
    http->head_left = HTTP_HEAD_MAX;
    do {
        line = read_line(http, "the trailer");
        if (line == NULL) {
            return -1;
        }
    } while (line[0] != '\0');
    http->framing = HTTP_ENDED;
    return 0;
}

/* What the buffer has, else what the socket has. */
static ssize_t read_some(struct http *http, void *buffer, size_t size)
{
    size_t have = http->end - http->start;
    if (have == 0) {
        const ssize_t n = receive(http, buffer, size);
        if (n < 0) {
            return fail(http, "receiving after %llu bytes: %s",
                        (unsigned long long)http->received,
                        gev_strerror(errno));
        }
        return n;
    }
    have = have < size ? have : size;
    memcpy(buffer, http->buffer + http->start, have);
    http->start += have;
    return (ssize_t)have;
}

ssize_t http_read(struct http *http, void *buffer, size_t size)
{
    if (http->framing == HTTP_CHUNKED && http->left == 0) {
        if (read_chunk_size(http) < 0 ||
            (http->left == 0 && skip_trailer(http) < 0)) {
            return -1;
        }
    }
    if (http->framing == HTTP_LENGTH && http->left == 0) {
        http->framing = HTTP_ENDED;
    }
    if (http->framing == HTTP_ENDED) {
        return 0;
    }
    if (http->framing != HTTP_UNTIL_CLOSE && http->left < size) {
        size = (size_t)http->left;
    }
    const ssize_t n = read_some(http, buffer, size);
    if (n < 0) {
        return -1;
    }
    if (n == 0) {
        if (http->framing == HTTP_UNTIL_CLOSE) {
            http->framing = HTTP_ENDED;
            return 0;
        }
        return fail(http, "the body is cut short: %llu bytes, %llu to come",
                    (unsigned long long)http->received,
                    (unsigned long long)http->left);
    }
    if (http->framing != HTTP_UNTIL_CLOSE) {
        http->left -= (uint64_t)n;
    }
    http->received += (uint64_t)n;
    return n;
}

void http_close(struct http *http)
{
    if (http->fd >= 0) {
        gev_close(http->fd);
        http->fd = -1;
    }
    gev_stream_close(http->tls);
    http->tls = NULL;
}
