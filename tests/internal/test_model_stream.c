/* SPDX-License-Identifier: MIT */

/* Random reads of a stream against a naive model: an array and a position.
 *
 * A seed makes the bytes, a transport that hands them out in random pieces,
 * with errors at random places and parks in between, and a script of reads,
 * peeks and writes. The model knows from the array alone what each of them has
 * to give. A failure prints its seed: GEV_MODEL_SEED=n runs that one alone. */
#include <gev.h>

#include "support/gev_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 60000, ERRORS = 4, CALLS = 40, SEEDS = 4000 };

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t below(size_t n)
{
    return n == 0 ? 0 : (size_t)(next_random() % n);
}

/* --- the world ------------------------------------------------------------ */

struct fault {
    size_t at; /* when so many bytes have been handed out */
    int error;
};

static struct {
    char bytes[MOST];
    size_t total;
    size_t handed; /* out, by the transport */
    size_t piece;  /* at most */
    bool parks;
    struct fault faults[ERRORS]; /* by place; those to come */
    size_t n_faults;
    char taken[CALLS * 64]; /* by the transport's write */
    size_t n_taken;
    char written[CALLS * 64];
    size_t n_written;
    size_t pos; /* of the model */
} w;

static ssize_t world_read(void *self, void *buf, size_t n)
{
    (void)self;
    if (w.parks && below(2) == 0 && gev_yield() < 0) {
        return -1;
    }
    if (w.n_faults > 0 && w.faults[0].at == w.handed) {
        errno = w.faults[0].error;
        w.n_faults--;
        memmove(w.faults, w.faults + 1, w.n_faults * sizeof(w.faults[0]));
        return -1;
    }
    size_t most = (w.n_faults > 0 ? w.faults[0].at : w.total) - w.handed;
    size_t piece = 1 + below(w.piece);
    most = most < piece ? most : piece;
    most = most < n ? most : n;
    memcpy(buf, w.bytes + w.handed, most);
    w.handed += most;
    return (ssize_t)most;
}

static ssize_t world_write(void *self, const void *buf, size_t n)
{
    (void)self;
    n = 1 + below(n);
    memcpy(w.taken + w.n_taken, buf, n);
    w.n_taken += n;
    return (ssize_t)n;
}

static int world_close(void *self)
{
    (void)self;
    return 0;
}

static const gev_transport world = {.size = sizeof(world),
                                    .read = world_read,
                                    .write = world_write,
                                    .close = world_close};

static int compare_faults(const void *a, const void *b)
{
    const struct fault *x = a;
    const struct fault *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static void make_world(uint64_t seed)
{
    static const int errors[] = {EIO, ETIMEDOUT, ECONNRESET, EAGAIN, EINTR};

    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    memset(&w, 0, sizeof(w));
    w.total = below(8) == 0 ? below(MOST) : below(80);
    unsigned variety = 1 + (unsigned)below(4);
    for (size_t i = 0; i < w.total; i++) {
        /* Few kinds of bytes, so that delimiters come, in part too. */
        w.bytes[i] = below(200) < 20 + 200 / variety
                         ? "\n;-\0"[below(variety)]
                         : (char)('a' + below(variety));
        if (w.total > 1000 && below(100) != 0) {
            w.bytes[i] = 'z';
        }
    }
    w.piece = below(3) == 0 ? 1 : 1 + below(below(2) ? 20 : 20000);
    w.parks = below(2) == 0;
    w.n_faults = below(2) == 0 ? 0 : below(ERRORS);
    for (size_t i = 0; i < w.n_faults; i++) {
        w.faults[i].at = below(w.total + 1);
        w.faults[i].error = errors[below(sizeof(errors) / sizeof(errors[0]))];
    }
    qsort(w.faults, w.n_faults, sizeof(w.faults[0]), compare_faults);
}

/* --- the model ------------------------------------------------------------ */

struct outcome {
    ssize_t rc;
    int error;
    bool may_be_too_long; /* it would have to wait to know */
};

/* What is left: up to the next error, which *ret_error is then, or the end. */
static size_t left(int *ret_error)
{
    *ret_error = w.n_faults > 0 ? w.faults[0].error : 0;
    return (w.n_faults > 0 ? w.faults[0].at : w.total) - w.pos;
}

static struct outcome failure(int error)
{
    return (struct outcome){.rc = -1, .error = error};
}

static struct outcome expect_exactly(size_t n)
{
    int error;
    size_t have = left(&error);

    if (have >= n) {
        return (struct outcome){.rc = (ssize_t)n};
    }
    return have == 0 && error != 0
               ? failure(error)
               : (struct outcome){.rc = (ssize_t)have, .error = error};
}

static struct outcome expect_piece(const char *delim, size_t len, size_t limit)
{
    int error;
    size_t have = left(&error);
    const char *data = w.bytes + w.pos;
    const char *found = memmem(data, have, delim, len);

    if (found != NULL) {
        size_t end = (size_t)(found - data) + len;
        return end > limit ? failure(EMSGSIZE)
                           : (struct outcome){.rc = (ssize_t)end};
    }
    if (have > limit || limit == 0) {
        return failure(EMSGSIZE);
    }
    if (have == limit && error == EAGAIN) {
        return failure(EMSGSIZE);
    }
    struct outcome o =
        error != 0 ? failure(error) : (struct outcome){.rc = (ssize_t)have};
    o.may_be_too_long = have == limit && w.parks;
    return o;
}

static struct outcome expect_all(size_t limit)
{
    int error;
    size_t have = left(&error);

    return have > limit ? failure(EMSGSIZE)
           : error != 0 ? failure(error)
                        : (struct outcome){.rc = (ssize_t)have};
}

static struct outcome expect_peek(size_t n)
{
    int error;
    size_t have = left(&error);

    return have < n && error != 0 ? failure(error)
                                  : (struct outcome){.rc = (ssize_t)n};
}

/* --- calls ---------------------------------------------------------------- */

static bool agree(const char *call, ssize_t rc, int error, struct outcome o)
{
    if (o.may_be_too_long && rc == -1 && error == EMSGSIZE) {
        return true;
    }
    if (rc != o.rc || (rc < 0 && error != o.error)) {
        expect_never("%s gave %zd (%d), not %zd (%d)", call, rc, error, o.rc,
                     o.error);
        return false;
    }
    return true;
}

static void do_read(gev_stream *s)
{
    static char buf[MOST + 1];
    int left_error;
    size_t buffered = w.handed - w.pos;
    size_t have = left(&left_error);
    size_t n = 1 + below(below(4) ? 30 : MOST);
    ssize_t rc = gev_stream_read(s, buf, n);
    int error = errno;

    if (buffered > 0) {
        expect_int_eq(rc, n < buffered ? n : buffered);
    } else if (have == 0 && left_error != 0) {
        agree("read", rc, error, failure(left_error));
    } else {
        expect_true(rc >= (have > 0) && (size_t)rc <= n);
    }
    if (rc > 0) {
        expect_mem_eq(buf, w.bytes + w.pos, (size_t)rc);
        w.pos += (size_t)rc;
    }
}

static void do_exactly(gev_stream *s)
{
    static char buf[MOST + 1];
    size_t n = below(below(4) ? 30 : MOST);
    struct outcome o = expect_exactly(n);
    errno = -1;
    ssize_t rc = gev_stream_read_exactly(s, buf, n);
    int error = errno;

    agree("read_exactly", rc, error, o);
    if (rc >= 0 && (size_t)rc < n) {
        expect_int_eq(error, o.error);
    }
    if (rc > 0) {
        expect_mem_eq(buf, w.bytes + w.pos, (size_t)rc);
        w.pos += (size_t)rc;
    }
}

static size_t random_limit(void)
{
    switch (below(4)) {
    case 0:
        return SIZE_MAX;
    case 1:
        return below(12000);
    default:
        return below(50);
    }
}

static void do_piece(gev_stream *s)
{
    static const struct {
        const char *text;
        size_t len;
    } delims[] = {{"\n", 1}, {";", 1}, {"\n\n", 2}, {"-;-", 3}, {"\0", 1}};
    size_t limit = random_limit();
    size_t i = below(sizeof(delims) / sizeof(delims[0]));
    struct outcome o = expect_piece(delims[i].text, delims[i].len, limit);
    char *const untouched = w.taken;
    char *data = untouched;
    ssize_t rc = i == 0 ? gev_stream_read_line(s, &data, limit)
                        : gev_stream_read_until(s, delims[i].text,
                                                delims[i].len, &data, limit);

    if (!agree("read_until", rc, errno, o) || rc <= 0) {
        expect_ptr_eq(data, untouched);
        return;
    }
    expect_mem_eq(data, w.bytes + w.pos, (size_t)rc);
    expect_int_eq(data[rc], '\0');
    w.pos += (size_t)rc;
}

static void do_all(gev_stream *s)
{
    size_t limit = random_limit();
    struct outcome o = expect_all(limit);
    char *data = NULL;
    ssize_t rc = gev_stream_read_all(s, &data, limit);

    if (agree("read_all", rc, errno, o) && rc >= 0) {
        expect_mem_eq(data, w.bytes + w.pos, (size_t)rc);
        expect_int_eq(data[rc], '\0');
        w.pos += (size_t)rc;
    }
    free(data);
}

static void do_peek(gev_stream *s)
{
    size_t n = below(below(4) ? 30 : MOST);
    struct outcome o = expect_peek(n);
    const void *data = NULL;
    ssize_t rc = gev_stream_peek(s, &data, n);

    if (rc < 0 || o.rc < 0) {
        agree("peek", rc, errno, o);
        return;
    }
    expect_true((size_t)rc >= n || w.pos + (size_t)rc == w.total);
    expect_uint_eq(rc, w.handed - w.pos);
    if (rc > 0) {
        expect_mem_eq(data, w.bytes + w.pos, (size_t)rc);
    }
}

static void do_write(gev_stream *s)
{
    size_t n = below(64);

    for (size_t i = 0; i < n; i++) {
        w.written[w.n_written + i] = (char)below(256);
    }
    expect_ok(gev_stream_write(s, w.written + w.n_written, n));
    w.n_written += n;
}

static void run_seed(uint64_t seed)
{
    static void (*const calls[])(gev_stream *) = {
        do_read, do_exactly, do_piece, do_piece, do_piece, do_peek, do_write};

    test_note("GEV_MODEL_SEED=%llu", (unsigned long long)seed);
    make_world(seed);
    gev_stream *s = gev_stream_new(&world, NULL);
    if (!expect_not_null(s)) {
        return;
    }
    for (int i = 0; i < CALLS && !test_failed(); i++) {
        if (below(30) == 0) {
            do_all(s);
        } else {
            calls[below(sizeof(calls) / sizeof(calls[0]))](s);
        }
        expect_uint_eq(gev_stream_buffered(s), w.handed - w.pos);
    }
    expect_ok(gev_stream_close(s));
    expect_uint_eq(w.n_taken, w.n_written);
    expect_mem_eq(w.taken, w.written, w.n_written);
    test_note(NULL);
}

GEV_TEST(random_reads_agree_with_the_model)
{
    const char *one = getenv("GEV_MODEL_SEED");
    const char *count = getenv("GEV_MODEL_COUNT");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 0);
    uint64_t n = count != NULL ? strtoull(count, NULL, 0)
                 : one != NULL ? 1
                               : SEEDS;

    for (uint64_t seed = first; seed < first + n && !test_failed(); seed++) {
        run_seed(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_reads_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
