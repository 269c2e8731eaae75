/* SPDX-License-Identifier: MIT */
#ifndef GEV_HTTP_HTTP_H
#define GEV_HTTP_HTTP_H

/* The inside of the HTTP server. It knows gev by its public functions only, and
 * has their convention: -1 and errno.
 *
 *     server.c    connections, one request after the other
 *     head.c      where a head ends, and what it says (llhttp)
 *     framing.c   what its lines say of the body and the connection
 *     target.c    path and query
 *     request.c   what handlers ask of a request
 *     body.c      its body: lengths, chunks, trailers, lines
 *     response.c  status, headers, and how they are written
 *     write.c     the response's body, and its end
 *     event.c     server-sent events
 *     arena.c     the memory of a request
 *     words.c     reason phrases, the date, tables of characters */

#include "http/arena.h"

#include <gev/http.h>

#include <sys/un.h>

/* A header line of the request. */
struct gev__http_field {
    char *name; /* NULL: dropped */
    char *value;
    size_t name_len;
    size_t value_len;
    char *joined; /* with the values of the lines of its name; NULL: not yet */
};

/* One of the response. */
struct gev__http_line {
    struct gev__http_line *next;
    size_t name_len;
    size_t value_len;
    char *value; /* both in the memory behind this */
    char name[];
};

/* How the end of the response's body is told. */
enum gev__http_framing {
    GEV__HTTP_NO_BODY, /* 1xx, 204, 304 */
    GEV__HTTP_LENGTH,
    GEV__HTTP_CHUNKED,
    GEV__HTTP_UNTIL_CLOSE
};

/* What is left of the request's body. */
enum gev__http_rest {
    GEV__HTTP_ENDED,
    GEV__HTTP_BYTES,      /* h->left of them */
    GEV__HTTP_CHUNK,      /* h->left of this chunk; 0: its CRLF comes */
    GEV__HTTP_CHUNK_SIZE, /* the line of the next chunk's size comes */
    GEV__HTTP_TRAILERS    /* what follows the last chunk */
};

struct gev__http_conn;

/* A request and its response; all-zero but conn, until its head is there. */
struct gev_http {
    struct gev__http_conn *conn;

    /* The request. */
    const char *method;
    const char *target;
    const char *path;
    const char *query;
    int version;
    bool is_head;    /* its method is HEAD */
    bool is_connect; /* ... CONNECT */
    bool keep_alive; /* the client would have it so */
    bool expects;    /* 100 Continue, not sent yet */
    struct gev__http_field *fields;
    unsigned n_fields;
    int64_t content_length;
    double began;

    /* Its body. */
    enum gev__http_rest rest;
    uint64_t left;
    uint64_t received;
    uint64_t overhead; /* bytes of chunks' lines, beyond what is usual */
    struct {
        double until; /* all of them have to be there */
        size_t bytes;
        unsigned lines;
    } trailers;      /* so far */
    int body_error;  /* errno of the read that failed for good; 0: none did */
    int body_status; /* what such a failure is answered with; 0: see there */

    /* The response. */
    int status;
    const char *reason;           /* NULL: the usual words */
    struct gev__http_line *first; /* in order */
    struct gev__http_line **last;
    int64_t length;                 /* the Content-Length that was set, or -1 */
    uint64_t sent;                  /* bytes of the body, buffered ones too */
    size_t buffered;                /* in conn->out */
    enum gev__http_framing framing; /* valid once the head is out */
    bool head_out;
    bool hijacked;
    bool close;      /* the connection ends after this response */
    int broken;      /* errno of the write that failed; 0: none did */
    const char *why; /* for the log */
};

/* What connections use one after the other. */
struct gev__http_shared {
    struct gev__http_spares blocks; /* of arenas */
    struct gev__http_spares outs;   /* of GEV__HTTP_OUT_SIZE */
};

/* A connection. */
struct gev__http_conn {
    gev_stream *stream;
    const gev_http_opts *opts; /* without zeros */
    gev_http_fn fn;
    void *arg;
    bool in_server; /* it can be idle */
    bool is_plain;  /* what it writes goes to its descriptor as it is */
    unsigned n_requests;
    double timeout;                  /* the stream's, now */
    struct gev__http_shared *shared; /* with others, or own */
    struct gev__http_shared own;
    struct gev__http_arena arena;
    char *out; /* what was written of the body; or NULL */
    /* What gev_http_read_line() has read ahead: in[in_start .. in_end). */
    char *in;
    size_t in_start;
    size_t in_end;
    size_t in_size;
    char *nul; /* where it put a NUL over the byte below, or NULL */
    char under_nul;
    struct gev_http request;
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_un un;
    } peer;
};

/* Of the buffer of a response's body. */
#define GEV__HTTP_OUT_SIZE ((size_t)16 * 1024)

/* --- head.c, framing.c, target.c ------------------------------------------ */

/* Looks for the end of a head that comes in pieces; zero at its beginning. */
struct gev__http_scan {
    size_t line;     /* where the current line begins */
    size_t searched; /* its bytes up to here hold no newline */
    size_t request;  /* where the request line begins */
    size_t headers;  /* where the header lines do; 0: not there yet */
    unsigned lines;  /* header lines */
    unsigned blanks; /* empty lines before the request line */
};

/* data: all there is of it. The head's length; 0: more is needed; -1: *ret_why
 * and *ret_status say what is wrong with it. */
ssize_t gev__http_scan(struct gev__http_scan *scan, const char *data, size_t n,
                       const gev_http_opts *opts, int *ret_status,
                       const char **ret_why);

/* Reads a whole head that is in the arena, with room for a NUL behind it.
 * 0, or the status to refuse it with, with h->why set; -1: no memory. */
int gev__http_parse(struct gev_http *h, char *text, size_t n,
                    const struct gev__http_scan *scan);

/* What the header lines say of the body and the connection: the same. */
int gev__http_frame(struct gev_http *h);

/* Takes the target apart: the same. */
int gev__http_split_target(struct gev_http *h);

/* Refuses: sets h->why, returns status. */
static inline int gev__http_refuse(struct gev_http *h, int status,
                                   const char *why)
{
    h->why = why;
    return status;
}

/* --- body.c --------------------------------------------------------------- */

/* Reads what the handler left. False: the connection cannot be used again. */
bool gev__http_discard(struct gev_http *h);

/* Whether that can work, as far as one can know. */
static inline bool gev__http_can_discard(const struct gev_http *h)
{
    return h->body_error == 0 && !(h->expects && h->rest != GEV__HTTP_ENDED) &&
           (h->rest != GEV__HTTP_BYTES ||
            h->left <= h->conn->opts->max_discard);
}

/* A chunk's size in its line, without the newline; -1: malformed. */
int64_t gev__http_chunk_size(const char *line, size_t n);

/* Whether a trailer's line, without the newline, is well-formed. */
bool gev__http_is_field(const char *line, size_t n);

/* --- response.c, write.c -------------------------------------------------- */

/* The head as bytes of the arena, with room for some more behind it; sets
 * framing, close and head_out. NULL: no memory. whole: the body is what has
 * been written so far. */
char *gev__http_make_head(struct gev_http *h, bool whole, size_t room,
                          size_t *ret_n);

/* Whether the status can have no body. */
bool gev__http_is_bodiless(const struct gev_http *h);

/* An interim answer: the client may send the body. */
int gev__http_send_continue(struct gev_http *h);

/* Ends the response. -1: it could not be sent whole. */
int gev__http_finish(struct gev_http *h);

/* Answers with an error and its words, if the head is not out. */
int gev__http_send_error(struct gev_http *h, int status);

/* The response ends before its end: the client must not take it for whole. */
void gev__http_cut(struct gev_http *h);

/* --- words.c -------------------------------------------------------------- */

#define GEV__HTTP_TOKEN 1  /* of names and methods */
#define GEV__HTTP_TEXT 2   /* of values: no control characters but the tab */
#define GEV__HTTP_TARGET 4 /* of targets */
#define GEV__HTTP_HOST 8   /* of the value of Host */

extern const unsigned char gev__http_class[256]
    __attribute__((visibility("hidden")));

static inline bool gev__http_is(char c, int class)
{
    return (gev__http_class[(unsigned char)c] & class) != 0;
}

/* Whether all are of the class. */
bool gev__http_are(const char *text, size_t n, int class);

/* Whether a text that is not terminated is this word, in any case. */
bool gev__http_same(const char *text, size_t n, const char *word);

/* Whether a list of tokens with commas has this one. */
bool gev__http_has_token(const char *list, size_t n, const char *token);

const char *gev__http_words(int status);

/* "Sun, 06 Nov 1994 08:49:37 GMT", as of now. */
#define GEV__HTTP_DATE_LEN 29
const char *gev__http_date(void);

double gev__http_now(void); /* monotonic seconds */

/* --- the connection ------------------------------------------------------- */

/* Sets the time limit of the stream's next calls. */
static inline void gev__http_limit(struct gev__http_conn *c, double seconds)
{
    if (c->timeout != seconds) {
        c->timeout = seconds;
        (void)gev_stream_settimeout(c->stream, seconds);
    }
}

#endif
