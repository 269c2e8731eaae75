/* SPDX-License-Identifier: MIT */

/* A libFuzzer target: a connection whose client sends anything, in pieces of
 * any size. The first byte chooses the pieces, the second what the handler
 * does. */
#include <gev.h>
#include <gev/http.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(c)                                                               \
    do {                                                                       \
        if (!(c)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

struct client {
    const uint8_t *next;
    size_t left;
    size_t piece;
    char start[9]; /* of what the server says */
    size_t n;
};

static ssize_t read_piece(void *self, void *buf, size_t n)
{
    struct client *c = self;
    n = n < c->piece ? n : c->piece;
    n = n < c->left ? n : c->left;
    memcpy(buf, c->next, n);
    c->next += n;
    c->left -= n;
    return (ssize_t)n;
}

static ssize_t take(void *self, const void *buf, size_t n)
{
    struct client *c = self;
    size_t room = sizeof(c->start) - c->n;
    size_t some = n < room ? n : room;
    memcpy(c->start + c->n, buf, some);
    c->n += some;
    return (ssize_t)n;
}

static int close_client(void *self)
{
    (void)self;
    return 0;
}

/* What a handler is shown is well-formed. */
static void look(const gev_http *h)
{
    const char *name;
    const char *value;
    size_t i = 0;
    CHECK(gev_http_method(h)[0] != '\0');
    CHECK(gev_http_target(h)[0] != '\0');
    CHECK(strpbrk(gev_http_target(h), " \t\r\n") == NULL);
    CHECK(strpbrk(gev_http_query(h), " \t\r\n") == NULL);
    CHECK(gev_http_version(h) == 10 || gev_http_version(h) == 11);
    CHECK(gev_http_content_length(h) >= -1);
    CHECK(gev_http_version(h) == 10 || gev_http_header(h, "Host") != NULL);
    while (gev_http_header_next(h, &i, &name, &value)) {
        CHECK(name[0] != '\0' && strpbrk(name, "_ \t\r\n:") == NULL);
        CHECK(strpbrk(value, "\r\n") == NULL);
        CHECK(gev_http_header(h, name) != NULL);
    }
}

static int handle(gev_http *h, void *arg)
{
    const unsigned mode = *(const uint8_t *)arg;
    char piece[7];
    char *text;
    ssize_t n;
    look(h);
    switch (mode % 4) {
    case 0:
        return 0;
    case 1:
        n = gev_http_read_all(h, &text, 5000);
        if (n < 0) {
            return -1;
        }
        int rc = gev_http_reply(h, 200, "text/plain", text, (size_t)n);
        free(text);
        return rc;
    case 2:
        while ((n = gev_http_read_line(h, &text, 50)) > 0) {
            CHECK(text[n] == '\0');
            if (gev_http_write(h, text, (size_t)n) < 0) {
                return -1;
            }
        }
        return n < 0 ? -1 : gev_http_flush(h);
    default:
        while ((n = gev_http_read(h, piece, sizeof(piece))) > 0) {
            if (gev_http_write(h, piece, (size_t)n) < 0 ||
                gev_http_flush(h) < 0) {
                return -1;
            }
        }
        return (int)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gev_transport ops = {.size = sizeof(ops),
                                      .read = read_piece,
                                      .write = take,
                                      .close = close_client};
    const gev_http_opts opts = {.size = sizeof(opts),
                                .max_line = 200,
                                .max_header = 500,
                                .max_headers = 10,
                                .max_body = 2000,
                                .max_discard = 100};
    if (size < 2) {
        return 0;
    }
    struct client client = {
        .next = data + 2, .left = size - 2, .piece = (size_t)data[0] + 1};
    gev_stream *conn = gev_stream_new(&ops, &client);
    CHECK(conn != NULL);
    CHECK(gev_http_serve_stream(conn, &opts, handle,
                                (void *)(uintptr_t)(data + 1)) == 0);
    CHECK(gev_stream_close(conn) == 0);
    CHECK(client.n == 0 || (client.n == sizeof(client.start) &&
                            memcmp(client.start, "HTTP/1.1 ", 9) == 0));
    return 0;
}
