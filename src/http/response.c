/* SPDX-License-Identifier: MIT */

/* The head of the response. */
#include "http/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

/* --- what handlers set ---------------------------------------------------- */

/* Whether the response may still be changed. */
static bool is_open(const struct gev_http *h)
{
    if (h == NULL || h->head_out || h->hijacked) {
        errno = h == NULL ? EINVAL : EALREADY;
        return false;
    }
    return true;
}

int gev_http_set_status(gev_http *h, int status, const char *reason)
{
    char *copy = NULL;

    if (!is_open(h)) {
        return -1;
    }
    size_t n = reason == NULL ? 0 : strlen(reason);
    if (status < 100 || status > 999 ||
        !gev__http_are(reason, n, GEV__HTTP_TEXT)) {
        return fail(EINVAL);
    }
    if (reason != NULL) {
        copy = gev__http_alloc(&h->conn->arena, n + 1);
        if (copy == NULL) {
            return -1;
        }
        memcpy(copy, reason, n + 1);
    }
    h->status = status;
    h->reason = copy;
    return 0;
}

static void remove_lines(struct gev_http *h, const char *name, size_t n)
{
    struct gev__http_line **at = &h->first;

    while (*at != NULL) {
        if ((*at)->name_len == n && gev__http_same((*at)->name, n, name)) {
            *at = (*at)->next;
        } else {
            at = &(*at)->next;
        }
    }
    h->last = at;
}

static int add_line(struct gev_http *h, const char *name, size_t name_len,
                    const char *value)
{
    size_t value_len = strlen(value);
    struct gev__http_line *line = gev__http_alloc(
        &h->conn->arena, sizeof(*line) + name_len + value_len + 2);

    if (line == NULL) {
        return -1;
    }
    line->next = NULL;
    line->name_len = name_len;
    line->value_len = value_len;
    line->value = line->name + name_len + 1;
    memcpy(line->name, name, name_len + 1);
    memcpy(line->value, value, value_len + 1);
    *h->last = line;
    h->last = &line->next;
    return 0;
}

/* The one header that is not only passed on. */
static int set_length(struct gev_http *h, const char *value)
{
    int64_t length = 0;

    if (value == NULL) {
        h->length = -1;
        return 0;
    }
    size_t n = strlen(value);
    if (n == 0 || n > 18 || strspn(value, "0123456789") != n) {
        return fail(EINVAL);
    }
    for (const char *p = value; *p != '\0'; p++) {
        length = length * 10 + (*p - '0');
    }
    if (h->sent > (uint64_t)length) {
        return fail(EMSGSIZE);
    }
    h->length = length;
    return 0;
}

static int set_line(struct gev_http *h, const char *name, const char *value,
                    bool replace)
{
    if (!is_open(h)) {
        return -1;
    }
    size_t n = name == NULL ? 0 : strlen(name);
    if (n == 0 || !gev__http_are(name, n, GEV__HTTP_TOKEN) ||
        (value == NULL && !replace) ||
        (value != NULL &&
         !gev__http_are(value, strlen(value), GEV__HTTP_TEXT))) {
        return fail(EINVAL);
    }
    if (gev__http_same(name, n, "Content-Length")) {
        return set_length(h, value);
    }
    if (gev__http_same(name, n, "Transfer-Encoding")) {
        return fail(EINVAL);
    }
    if (replace) {
        remove_lines(h, name, n);
    }
    return value == NULL ? 0 : add_line(h, name, n, value);
}

int gev_http_set_header(gev_http *h, const char *name, const char *value)
{
    return set_line(h, name, value, true);
}

int gev_http_add_header(gev_http *h, const char *name, const char *value)
{
    return set_line(h, name, value, false);
}

/* --- as bytes ------------------------------------------------------------- */

bool gev__http_is_bodiless(const struct gev_http *h)
{
    return h->status < 200 || h->status == 204 || h->status == 304;
}

static enum gev__http_framing choose_framing(struct gev_http *h, bool whole)
{
    if (gev__http_is_bodiless(h)) {
        return GEV__HTTP_NO_BODY;
    }
    if (h->is_connect && h->status < 300) {
        return GEV__HTTP_UNTIL_CLOSE; /* a tunnel, to the client */
    }
    if (h->length < 0 && whole) {
        if (h->is_head && h->sent == 0) {
            return GEV__HTTP_NO_BODY; /* who knows what GET would have had */
        }
        h->length = (int64_t)h->sent;
    }
    if (h->length >= 0) {
        return GEV__HTTP_LENGTH;
    }
    return h->version == 11 ? GEV__HTTP_CHUNKED : GEV__HTTP_UNTIL_CLOSE;
}

static bool has_line(const struct gev_http *h, const char *name,
                     const char *token)
{
    size_t n = strlen(name);

    for (const struct gev__http_line *l = h->first; l != NULL; l = l->next) {
        if (l->name_len == n && gev__http_same(l->name, n, name) &&
            (token == NULL ||
             gev__http_has_token(l->value, l->value_len, token))) {
            return true;
        }
    }
    return false;
}

/* Whether this response is the connection's last. */
static bool is_last(const struct gev_http *h)
{
    const struct gev__http_conn *c = h->conn;
    unsigned most = c->opts->max_requests;

    return h->close || !h->keep_alive || h->status < 200 ||
           (h->framing == GEV__HTTP_UNTIL_CLOSE && !h->is_head) ||
           (most > 0 && c->n_requests >= most) || !gev__http_can_discard(h) ||
           (c->in_server && gev_server_stopping(gev_server_of(c->stream))) ||
           has_line(h, "Connection", "close");
}

/* What this part adds by itself is no longer than that. */
#define OWN_LINES 256

static size_t measure(const struct gev_http *h, const char *reason)
{
    size_t n = OWN_LINES + strlen(reason);

    for (const struct gev__http_line *l = h->first; l != NULL; l = l->next) {
        n += l->name_len + l->value_len + 4;
    }
    return n;
}

static char *put(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

#define PUT(to, text) put((to), (text), sizeof(text) - 1)

static char *put_status(char *to, const struct gev_http *h, const char *reason)
{
    to = PUT(to, "HTTP/1.1 ");
    *to++ = (char)('0' + h->status / 100);
    *to++ = (char)('0' + h->status / 10 % 10);
    *to++ = (char)('0' + h->status % 10);
    *to++ = ' ';
    to = put(to, reason, strlen(reason));
    return PUT(to, "\r\n");
}

static char *put_number(char *to, uint64_t n)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return put(to, digits + i, sizeof(digits) - i);
}

static char *put_framing(char *to, const struct gev_http *h)
{
    bool length =
        h->framing == GEV__HTTP_LENGTH || (h->status == 304 && h->length >= 0);

    if (length) {
        to = PUT(to, "Content-Length: ");
        to = put_number(to, (uint64_t)h->length);
        to = PUT(to, "\r\n");
    } else if (h->framing == GEV__HTTP_CHUNKED) {
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    }
    return to;
}

static char *put_connection(char *to, const struct gev_http *h)
{
    if (h->status < 200) {
        return to; /* an upgrade has its own */
    }
    if (h->close && !has_line(h, "Connection", "close")) {
        return PUT(to, "Connection: close\r\n");
    }
    if (!h->close && h->version == 10 &&
        !has_line(h, "Connection", "keep-alive")) {
        return PUT(to, "Connection: keep-alive\r\n");
    }
    return to;
}

char *gev__http_make_head(struct gev_http *h, bool whole, size_t room,
                          size_t *ret_n)
{
    const char *reason =
        h->reason == NULL ? gev__http_words(h->status) : h->reason;
    char *head = gev__http_alloc(&h->conn->arena, measure(h, reason) + room);

    if (head == NULL) {
        return NULL;
    }
    h->framing = choose_framing(h, whole);
    h->close = is_last(h);
    char *to = put_status(head, h, reason);
    for (const struct gev__http_line *l = h->first; l != NULL; l = l->next) {
        to = put(to, l->name, l->name_len);
        to = PUT(to, ": ");
        to = put(to, l->value, l->value_len);
        to = PUT(to, "\r\n");
    }
    to = put_framing(to, h);
    if (!has_line(h, "Date", NULL)) {
        to = PUT(to, "Date: ");
        to = put(to, gev__http_date(), GEV__HTTP_DATE_LEN);
        to = PUT(to, "\r\n");
    }
    to = put_connection(to, h);
    to = PUT(to, "\r\n");
    h->head_out = true;
    *ret_n = (size_t)(to - head);
    return head;
}
