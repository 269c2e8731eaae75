/* SPDX-License-Identifier: MIT */

/* A libFuzzer target: TLS over a lower stream that behaves as the input says.
 * The first byte chooses what:
 *
 *   0  a server whose client sends the input
 *   1  a client whose server does
 *   2  a connection of two that are good, whose bytes travel in pieces of the
 *      input's choice, until one is spoilt: what arrives is a part of what was
 *      said, from its beginning */
#include <gev.h>
#include <gev/tls.h>

#include "support/certs.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(c)                                                               \
    do {                                                                       \
        if (!(c)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

static const uint8_t *input;
static size_t left;

static unsigned next_byte(void)
{
    if (left == 0) {
        return 255;
    }
    left--;
    return *input++;
}

/* --- one side's bytes are the input --------------------------------------- */

static ssize_t read_input(void *self, void *buf, size_t n)
{
    size_t piece = *(size_t *)self;
    n = n < piece ? n : piece;
    n = n < left ? n : left;
    memcpy(buf, input, n);
    input += n;
    left -= n;
    return (ssize_t)n;
}

static ssize_t drop(void *self, const void *buf, size_t n)
{
    (void)self;
    (void)buf;
    return (ssize_t)n;
}

static int close_nothing(void *self)
{
    (void)self;
    return 0;
}

static const gev_transport input_transport = {.size = sizeof(gev_transport),
                                              .read = read_input,
                                              .write = drop,
                                              .close = close_nothing,
                                              .try_write = drop};

/* --- two sides ------------------------------------------------------------ */

/* What one says to the other. */
struct pipe {
    char *bytes;
    size_t start;
    size_t end;
    bool over;
};

struct plug {
    struct pipe *in;
    struct pipe *out;
};

static unsigned spoil_after; /* pieces; 0: never */

static ssize_t read_plug(void *self, void *buf, size_t n)
{
    struct pipe *p = ((struct plug *)self)->in;
    while (p->start == p->end) {
        if (p->over) {
            return 0;
        }
        if (gev_yield() < 0) {
            return -1;
        }
    }
    size_t most = 1 + next_byte() * 70;
    n = n < most ? n : most;
    n = n < p->end - p->start ? n : p->end - p->start;
    memcpy(buf, p->bytes + p->start, n);
    p->start += n;
    if (spoil_after > 0 && --spoil_after == 0) {
        ((char *)buf)[n / 2] ^= (char)(1 + next_byte() % 255);
    }
    return (ssize_t)n;
}

static ssize_t write_plug(void *self, const void *buf, size_t n)
{
    struct pipe *p = ((struct plug *)self)->out;
    size_t most = 1 + next_byte() * 70;
    n = n < most ? n : most;
    p->bytes = realloc(p->bytes, p->end + n);
    CHECK(p->bytes != NULL);
    memcpy(p->bytes + p->end, buf, n);
    p->end += n;
    return (ssize_t)n;
}

static ssize_t try_plug(void *self, const void *buf, size_t n)
{
    if (next_byte() % 3 == 1) {
        errno = EAGAIN;
        return -1;
    }
    return write_plug(self, buf, n);
}

static int wait_plug(void *self, int directions)
{
    const struct plug *p = self;
    for (;;) {
        bool readable = p->in->start < p->in->end || p->in->over;
        int ready = readable ? GEV_READ | GEV_WRITE : GEV_WRITE;
        if (ready & directions) {
            return ready & directions;
        }
        if (gev_yield() < 0) {
            return -1;
        }
    }
}

static int close_plug(void *self)
{
    struct plug *p = self;
    p->out->over = true;
    return 0;
}

static const gev_transport plug_transport = {.size = sizeof(gev_transport),
                                             .read = read_plug,
                                             .write = write_plug,
                                             .close = close_plug,
                                             .try_write = try_plug,
                                             .wait = wait_plug};

/* --- what is done with it ------------------------------------------------- */

static gev_tls *client;
static gev_tls *server;

static void expect_reason(void)
{
    CHECK(errno != 0);
    CHECK(errno < GEV_ETLS || errno > GEV_ETLSNAME ||
          gev_tls_reason()[0] != '\0');
    CHECK(ERR_peek_error() == 0);
}

static void talk(gev_stream *s)
{
    char *line;
    ssize_t n;
    while ((n = gev_stream_read_line(s, &line, 1000)) > 0) {
        (void)gev_stream_trim(s);
    }
    if (n < 0) {
        expect_reason();
    }
}

enum { SAID = 40000 };

static char said[SAID];

static void *serve_plug(void *arg)
{
    gev_stream *s =
        gev_tls_accept(server, gev_stream_new(&plug_transport, arg));
    size_t done = 0;
    if (s == NULL) {
        expect_reason();
        return NULL;
    }
    while (done < SAID) {
        size_t n = 1 + next_byte() * 80;
        n = n < SAID - done ? n : SAID - done;
        if (gev_stream_write(s, said + done, n) < 0) {
            break;
        }
        done += n;
    }
    (void)gev_stream_close(s);
    return NULL;
}

static void *ask_plug(void *arg)
{
    static char heard[SAID + 1];
    gev_stream *s =
        gev_tls_wrap(client, gev_stream_new(&plug_transport, arg), "localhost");
    bool spoils = spoil_after > 0;
    if (s == NULL) {
        expect_reason();
        return NULL;
    }
    ssize_t n = gev_stream_read_exactly(s, heard, SAID + 1);
    int error = errno;
    CHECK(n <= SAID);
    CHECK(n <= 0 || memcmp(heard, said, (size_t)n) == 0);
    CHECK(spoils || (n == SAID && error == 0));
    (void)gev_stream_close(s);
    return NULL;
}

static void connect_plugs(void)
{
    struct pipe pipes[2] = {{.over = false}};
    struct plug plugs[2] = {{&pipes[0], &pipes[1]}, {&pipes[1], &pipes[0]}};
    spoil_after = next_byte() % 100;
    gev_greenlet *g[2] = {gev_spawn(serve_plug, &plugs[0]),
                          gev_spawn(ask_plug, &plugs[1])};
    CHECK(gev_joinall(g, 2, GEV_FOREVER) == 2);
    gev_unrefall(g, 2);
    free(pipes[0].bytes);
    free(pipes[1].bytes);
}

static void make_configurations(void)
{
    gev_tls_opts c = {.size = sizeof(c),
                      .ca_file = certs_path("ca.pem"),
                      .flags = GEV_TLS_NO_SESSIONS,
                      .handshake_timeout = 0.2};
    gev_tls_opts s = {.size = sizeof(s),
                      .cert_file = certs_path("good.pem"),
                      .key_file = certs_path("good.key"),
                      .handshake_timeout = 0.2};
    client = gev_tls_client(&c);
    server = gev_tls_server(&s);
    CHECK(client != NULL && server != NULL);
    for (size_t i = 0; i < SAID; i++) {
        said[i] = (char)(i * 31 % 253);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (client == NULL) {
        make_configurations();
    }
    if (size < 2) {
        return 0;
    }
    input = data + 2;
    left = size - 2;
    if (data[0] % 3 == 2) {
        left++;
        input--;
        connect_plugs();
        return 0;
    }
    size_t piece = (size_t)data[1] + 1;
    gev_stream *lower = gev_stream_new(&input_transport, &piece);
    CHECK(lower != NULL);
    gev_stream *s = data[0] % 3 == 0 ? gev_tls_accept(server, lower)
                                     : gev_tls_wrap(client, lower, "localhost");
    if (s == NULL) {
        expect_reason();
        return 0;
    }
    talk(s);
    (void)gev_stream_close(s);
    return 0;
}
