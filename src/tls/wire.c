/* SPDX-License-Identifier: MIT */

/* The way between OpenSSL and the lower stream: a BIO that never waits, and the
 * waiting, which is done between calls of OpenSSL. */
#include "tls/tls.h"

#include <string.h>

#include <openssl/bio.h>

/* What a lower stream that cannot try a write takes whole or not at all. */
#define PIECE_MAX GEV_STREAM_BUF

/* An empty buffer that has grown beyond this is freed. */
#define BUFFER_KEEP ((size_t)20 * 1024)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method; /* NULL: there was no memory for it */

/* --- buffers -------------------------------------------------------------- */

static size_t held(const struct gev__tls_buffer *b)
{
    return b->end - b->start;
}

static void free_buffer(struct gev__tls_buffer *b)
{
    OPENSSL_free(b->data);
    *b = (struct gev__tls_buffer){.data = NULL};
}

/* An empty buffer begins anew. */
static void reset_empty(struct gev__tls_buffer *b)
{
    if (held(b) > 0) {
        return;
    }
    b->start = 0;
    b->end = 0;
    if (b->size > BUFFER_KEEP) {
        free_buffer(b);
    }
}

static bool make_room(struct gev__tls_buffer *b, size_t n)
{
    size_t size = b->size;

    if (size - b->end >= n) {
        return true;
    }
    size = b->end + n > 2 * size ? b->end + n : 2 * size;
    char *data = OPENSSL_realloc(b->data, size);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

bool gev__tls_reserve(struct gev__tls_conn *conn, size_t n)
{
    return make_room(&conn->out, n);
}

bool gev__tls_has_output(const struct gev__tls_conn *conn)
{
    return conn->dirty || held(&conn->out) > 0 || held(&conn->sending) > 0;
}

void gev__tls_free_buffers(struct gev__tls_conn *conn)
{
    free_buffer(&conn->out);
    free_buffer(&conn->sending);
}

void gev__tls_trim_buffers(struct gev__tls_conn *conn)
{
    if (!gev__tls_has_output(conn) && !gev_lock_locked(&conn->pumping)) {
        gev__tls_free_buffers(conn);
    }
}

/* --- what OpenSSL reads and writes: never waits --------------------------- */

static int read_lower(BIO *bio, char *buf, int n)
{
    struct gev__tls_conn *conn = BIO_get_data(bio);
    /* With a greenlet parked in a read of lower, this one would have to wait
     * for its turn. */
    size_t have = conn->waiting > 0 ? 0 : gev_stream_buffered(conn->lower);

    BIO_clear_retry_flags(bio);
    if (n <= 0) {
        return 0;
    }
    if (have == 0) {
        conn->want = (size_t)n;
        if (conn->ended) {
            return 0;
        }
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)gev_stream_read(conn->lower, buf,
                                have < (size_t)n ? have : (size_t)n);
}

/* A record may go from OpenSSL's buffer to the system, if nothing is before it;
 * failures will be found again when the rest is sent. */
static size_t send_directly(struct gev__tls_conn *conn, const char *buf,
                            size_t n)
{
    if (!conn->direct || gev__tls_has_output(conn) ||
        gev_lock_locked(&conn->pumping)) {
        return 0;
    }
    ssize_t taken = gev_stream_try_write(conn->lower, buf, n);
    return taken > 0 ? (size_t)taken : 0;
}

static int write_out(BIO *bio, const char *buf, int n)
{
    struct gev__tls_conn *conn = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (n <= 0) {
        return 0;
    }
    /* Nothing follows a close_notify, and nobody would read it: OpenSSL answers
     * the peer's key updates nevertheless. */
    if (conn->said_goodbye) {
        return n;
    }
    size_t sent = send_directly(conn, buf, (size_t)n);
    size_t rest = (size_t)n - sent;
    if (rest > 0) {
        if (!make_room(&conn->out, rest)) {
            conn->no_memory = true;
            return -1;
        }
        memcpy(conn->out.data + conn->out.end, buf + sent, rest);
        conn->out.end += rest;
    }
    return n;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    const struct gev__tls_conn *conn = BIO_get_data(bio);
    (void)number;
    (void)pointer;

    switch (command) {
    case BIO_CTRL_EOF:
        return conn->ended;
    case BIO_CTRL_FLUSH:
        return 1; /* gev__tls_pump() does it */
    default:
        return 0;
    }
}

static void make_method(void)
{
    int type = BIO_get_new_index();

    method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "gev_stream");
    if (method != NULL && (BIO_meth_set_read(method, read_lower) != 1 ||
                           BIO_meth_set_write(method, write_out) != 1 ||
                           BIO_meth_set_ctrl(method, control) != 1)) {
        BIO_meth_free(method);
        method = NULL;
    }
}

BIO *gev__tls_new_bio(struct gev__tls_conn *conn)
{
    BIO *bio = pthread_once(&once, make_method) != 0 || method == NULL
                   ? NULL
                   : BIO_new(method);

    if (bio != NULL) {
        BIO_set_data(bio, conn);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* --- parks ---------------------------------------------------------------- */

/* Around a park of the current greenlet, so that a close finds it. */
static int begin_park(const struct gev__tls_conn *conn,
                      struct gev__tls_parked *parked)
{
    if (conn->cancelled != 0) {
        return -conn->cancelled;
    }
    parked->greenlet = gev_current();
    parked->thrown = false;
    return 0;
}

static int end_park(const struct gev__tls_conn *conn,
                    struct gev__tls_parked *parked, int rc)
{
    bool was_thrown = parked->thrown;

    parked->greenlet = NULL;
    parked->thrown = false;
    if (conn->cancelled == 0) {
        return rc;
    }
    /* What was thrown after the park had ended would fail another one. */
    if (was_thrown && rc == 0) {
        (void)gev_yield();
    }
    return -conn->cancelled;
}

static void throw_into(struct gev__tls_parked *parked, int error)
{
    if (parked->greenlet != NULL && !parked->thrown) {
        parked->thrown = gev_throw(parked->greenlet, error) == 0;
    }
}

void gev__tls_cancel(struct gev__tls_conn *conn, int error)
{
    conn->cancelled = error;
    throw_into(&conn->reader, error);
    throw_into(&conn->writer, error);
}

/* --- output --------------------------------------------------------------- */

bool gev__tls_is_final(int rc)
{
    return rc == -EPIPE || rc == -ECONNRESET || rc == -ECONNABORTED ||
           rc == -ENOTCONN || rc == -EIO;
}

/* What failed for good is not kept. */
static int note_failure(struct gev__tls_conn *conn, int rc)
{
    if (gev__tls_is_final(rc)) {
        conn->unwritable = rc;
        conn->dirty = false;
        gev__tls_free_buffers(conn);
    }
    return rc;
}

/* Makes what OpenSSL has written since the next to be sent, if nothing else
 * is: what is being sent must not move. */
static struct gev__tls_buffer *next_piece(struct gev__tls_conn *conn)
{
    struct gev__tls_buffer *b = &conn->sending;

    if (held(b) == 0) {
        reset_empty(b);
        const struct gev__tls_buffer empty = *b;
        *b = conn->out;
        conn->out = empty;
    }
    return b;
}

/* Sends what goes out at once. -EAGAIN: not all does. */
static int send_now(struct gev__tls_conn *conn)
{
    while (gev__tls_has_output(conn)) {
        struct gev__tls_buffer *b = next_piece(conn);
        ssize_t n =
            gev_stream_try_write(conn->lower, b->data + b->start, held(b));
        if (n < 0) {
            return gev__tls_error();
        }
        b->start += (size_t)n;
        conn->dirty = false;
    }
    reset_empty(&conn->sending);
    return 0;
}

/* The same through a lower stream that cannot try: a piece is taken whole or
 * not at all. */
static int send_by_buffer(struct gev__tls_conn *conn)
{
    struct gev__tls_buffer *b = next_piece(conn);
    int rc = 0;

    while (held(b) > 0 && rc == 0) {
        size_t n = held(b) < PIECE_MAX ? held(b) : PIECE_MAX;
        rc = gev_stream_write(conn->lower, b->data + b->start, n) < 0
                 ? gev__tls_error()
                 : 0;
        b->start += rc == 0 ? n : 0;
        conn->dirty = true;
    }
    if (rc == 0) {
        rc = gev_stream_flush(conn->lower) < 0 ? gev__tls_error() : 0;
        conn->dirty = rc < 0;
    }
    reset_empty(b);
    return rc;
}

static int send_and_wait(struct gev__tls_conn *conn)
{
    int rc = send_now(conn);

    if (rc == -EAGAIN) {
        rc = gev_stream_wait(conn->lower, GEV_WRITE) < 0 ? gev__tls_error() : 0;
    }
    return rc == -ENOTSUP ? send_by_buffer(conn) : rc;
}

int gev__tls_push(struct gev__tls_conn *conn)
{
    if (!gev__tls_has_output(conn)) {
        return 0;
    }
    return gev_lock_locked(&conn->pumping) ? -EAGAIN
                                           : note_failure(conn, send_now(conn));
}

int gev__tls_pump(struct gev__tls_conn *conn, struct gev__tls_parked *parked)
{
    int rc = gev__tls_push(conn);

    if (rc != -EAGAIN && rc != -ENOTSUP) {
        return rc;
    }
    rc = begin_park(conn, parked);
    if (rc < 0) {
        return rc;
    }
    if (gev_lock_acquire(&conn->pumping, GEV_FOREVER) < 0) {
        return end_park(conn, parked, gev__tls_error());
    }
    while (gev__tls_has_output(conn) && rc == 0) {
        rc = conn->cancelled != 0 ? -conn->cancelled : send_and_wait(conn);
    }
    rc = note_failure(conn, rc);
    gev_lock_release(&conn->pumping);
    return end_park(conn, parked, rc);
}

/* It does not wait for a writer, who takes them along, nor does it fail a read
 * because the peer reads no more. */
static int push_aside(struct gev__tls_conn *conn,
                      struct gev__tls_parked *parked)
{
    int rc = gev__tls_push(conn);

    if (rc == -ENOTSUP) {
        rc = gev__tls_pump(conn, parked);
    }
    return gev__tls_is_final(rc) || rc == -EAGAIN ? 0 : rc;
}

void gev__tls_push_alert(struct gev__tls_conn *conn,
                         struct gev__tls_parked *parked)
{
    gev_timeout limit = {.priv = {0}};

    if (gev_timeout_begin(&limit, 0) == 0) {
        (void)push_aside(conn, parked);
        (void)gev_timeout_end(&limit);
    }
}

/* --- input ---------------------------------------------------------------- */

/* Until lower has n bytes, or is at its end. */
static int fill_lower(struct gev__tls_conn *conn, size_t n)
{
    ssize_t have = gev_stream_peek(conn->lower, NULL, n);

    if (have < 0) {
        return gev__tls_error();
    }
    conn->ended = (size_t)have < n;
    return 0;
}

/* Until there is something, or room for output. */
static int wait_both_ways(struct gev__tls_conn *conn)
{
    int ready = gev_stream_wait(conn->lower, GEV_READ | GEV_WRITE);

    if (ready < 0) {
        return gev__tls_error();
    }
    return ready & GEV_READ
               ? fill_lower(conn, gev_stream_buffered(conn->lower) + 1)
               : 0;
}

int gev__tls_wait(struct gev__tls_conn *conn, struct gev__tls_parked *parked)
{
    int rc = push_aside(conn, parked);
    bool both = gev__tls_has_output(conn) && !gev_lock_locked(&conn->pumping);

    if (rc == 0) {
        rc = begin_park(conn, parked);
    }
    if (rc < 0) {
        return rc;
    }
    conn->waiting++;
    rc = both ? wait_both_ways(conn)
              : fill_lower(conn, conn->want > 0 ? conn->want : 1);
    conn->waiting--;
    return end_park(conn, parked, rc);
}
