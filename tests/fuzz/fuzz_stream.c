/* SPDX-License-Identifier: MIT */

/* A libFuzzer target: the readers of a stream against a naive model. The input
 * is a number of calls, that many of them (a byte each), and then what the
 * peer says, which comes in pieces and now and then not in time. */
#include <gev.h>

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

struct peer {
    const uint8_t *text;
    size_t size;
    size_t told; /* bytes that the stream has read */
    unsigned turn;
    unsigned piece;
    bool stalls;
};

static ssize_t tell(void *self, void *buf, size_t n)
{
    struct peer *p = self;
    size_t most = 1 + (p->turn * 7 + p->piece) % (p->piece + 1u);
    p->turn++;
    if (p->stalls && p->turn % 3 == 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    n = n < most ? n : most;
    n = n < p->size - p->told ? n : p->size - p->told;
    memcpy(buf, p->text + p->told, n);
    p->told += n;
    return (ssize_t)n;
}

static ssize_t take(void *self, const void *buf, size_t n)
{
    (void)self;
    (void)buf;
    return (ssize_t)n;
}

static int leave(void *self)
{
    (void)self;
    return 0;
}

/* --- the model ------------------------------------------------------------ */

struct reader {
    gev_stream *s;
    const struct peer *peer;
    size_t at; /* bytes that the program has read */
};

static size_t rest(const struct reader *r)
{
    return r->peer->size - r->at;
}

/* A call gave n bytes, which are the next ones. */
static void consume(struct reader *r, const void *data, size_t n)
{
    CHECK(n <= rest(r));
    CHECK(n == 0 || memcmp(data, r->peer->text + r->at, n) == 0);
    r->at += n;
}

static bool is_late(const struct reader *r, ssize_t rc)
{
    CHECK(rc >= 0 || errno == EMSGSIZE || errno == ETIMEDOUT);
    CHECK(rc >= 0 || errno != ETIMEDOUT || r->peer->stalls);
    return rc < 0 && errno == ETIMEDOUT;
}

/* Length of a piece up to and with the delimiter; 0: it is not there. */
static size_t find(const struct reader *r, const char *delimiter, size_t len)
{
    const void *begin = r->peer->text + r->at;
    const char *p =
        rest(r) == 0 ? NULL : memmem(begin, rest(r), delimiter, len);
    return p == NULL ? 0 : (size_t)(p - (const char *)begin) + len;
}

/* What read_line and read_until gave is what they had to. */
static void judge_piece(struct reader *r, ssize_t rc, const char *piece,
                        size_t length, size_t limit)
{
    if (is_late(r, rc)) {
        return;
    }
    if (rc < 0) { /* there must be more than that */
        CHECK(length == 0 ? rest(r) >= limit : length > limit);
        return;
    }
    CHECK((size_t)rc <= limit);
    CHECK((size_t)rc == (length > 0 ? length : rest(r)));
    CHECK(rc == 0 || piece[rc] == '\0');
    consume(r, piece, (size_t)rc);
}

static void read_piece(struct reader *r, size_t n, unsigned which)
{
    static const char *const delimiters[] = {"\n", "\r\n", "--x", "aab"};
    const char *delimiter = delimiters[which];
    char *piece = NULL;
    size_t len = strlen(delimiter);
    size_t length = find(r, delimiter, len);
    size_t limit = n + len;
    ssize_t rc =
        which == 0 ? gev_stream_read_line(r->s, &piece, limit)
                   : gev_stream_read_until(r->s, delimiter, len, &piece, limit);
    judge_piece(r, rc, piece, length, limit);
}

static void read_bytes(struct reader *r, size_t n, bool exactly)
{
    char buf[2000];
    errno = 0;
    ssize_t rc = exactly ? gev_stream_read_exactly(r->s, buf, n)
                         : gev_stream_read(r->s, buf, n);
    if (is_late(r, rc)) {
        return;
    }
    CHECK(rc >= 0 && (size_t)rc <= n);
    if (exactly && (size_t)rc < n) {
        CHECK(errno == ETIMEDOUT || (errno == 0 && (size_t)rc == rest(r)));
    }
    CHECK(exactly || rc > 0 || n == 0 || rest(r) == 0);
    consume(r, buf, (size_t)rc);
}

static void look(struct reader *r, size_t n)
{
    const void *seen = NULL;
    ssize_t rc = gev_stream_peek(r->s, &seen, n);
    if (is_late(r, rc)) {
        return;
    }
    CHECK((size_t)rc >= n || (size_t)rc == rest(r));
    size_t before = r->at;
    consume(r, seen, (size_t)rc);
    r->at = before;
}

static void read_all(struct reader *r, size_t limit)
{
    char *all = NULL;
    ssize_t rc = gev_stream_read_all(r->s, &all, limit);
    if (is_late(r, rc)) {
        return;
    }
    if (rc < 0) {
        CHECK(rest(r) > limit);
        return;
    }
    CHECK((size_t)rc == rest(r) && (size_t)rc <= limit && all[rc] == '\0');
    consume(r, all, (size_t)rc);
    free(all);
}

static void call(struct reader *r, unsigned what)
{
    size_t n = (what / 7) * (what / 7); /* to 1296 */
    switch (what % 7) {
    case 0:
        read_piece(r, n, 0);
        break;
    case 1:
        read_piece(r, n, 1 + what / 7 % 3);
        break;
    case 2:
        read_bytes(r, n, false);
        break;
    case 3:
        read_bytes(r, n, true);
        break;
    case 4:
        look(r, n);
        break;
    case 5:
        read_all(r, n);
        break;
    default:
        CHECK(gev_stream_trim(r->s) == 0);
    }
    CHECK(gev_stream_buffered(r->s) == r->peer->told - r->at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gev_transport ops = {
        .size = sizeof(ops), .read = tell, .write = take, .close = leave};
    if (size < 2) {
        return 0;
    }
    size_t calls = data[0] < size - 2 ? data[0] : size - 2;
    struct peer peer = {.text = data + 2 + calls,
                        .size = size - 2 - calls,
                        .piece = data[1] / 2,
                        .stalls = data[1] % 2};
    struct reader r = {.s = gev_stream_new(&ops, &peer), .peer = &peer};
    CHECK(r.s != NULL);
    for (size_t i = 0; i < calls; i++) {
        call(&r, data[2 + i]);
    }
    CHECK(gev_stream_close(r.s) == 0);
    return 0;
}
