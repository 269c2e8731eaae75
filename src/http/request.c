/* SPDX-License-Identifier: MIT */

/* What handlers ask of a request. */
#include "http/http.h"

#include <string.h>

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

const char *gev_http_method(const gev_http *h)
{
    return text_or_empty(h == NULL ? NULL : h->method);
}

const char *gev_http_target(const gev_http *h)
{
    return text_or_empty(h == NULL ? NULL : h->target);
}

const char *gev_http_path(const gev_http *h)
{
    return text_or_empty(h == NULL ? NULL : h->path);
}

const char *gev_http_query(const gev_http *h)
{
    return text_or_empty(h == NULL ? NULL : h->query);
}

int gev_http_version(const gev_http *h)
{
    return h == NULL ? 0 : h->version;
}

int64_t gev_http_content_length(const gev_http *h)
{
    return h == NULL ? 0 : h->content_length;
}

const struct sockaddr *gev_http_peer(const gev_http *h)
{
    return h == NULL ? NULL : &h->conn->peer.any;
}

double gev_http_seconds(const gev_http *h)
{
    return h == NULL || h->began <= 0 ? 0 : gev__http_now() - h->began;
}

int gev_http_status(const gev_http *h)
{
    return h == NULL || h->hijacked ? 0 : h->status;
}

uint64_t gev_http_sent(const gev_http *h)
{
    return h == NULL || h->is_head ? 0 : h->sent;
}

/* The next line of that name, from *i on. */
static struct gev__http_field *find(const gev_http *h, unsigned *i,
                                    const char *name, size_t n)
{
    while (*i < h->n_fields) {
        struct gev__http_field *f = &h->fields[(*i)++];
        if (f->name != NULL && f->name_len == n &&
            gev__http_same(f->name, n, name)) {
            return f;
        }
    }
    return NULL;
}

/* All values of that name, the first of which is f; i is past it. */
static const char *join(const gev_http *h, struct gev__http_field *f,
                        unsigned i)
{
    const char *between =
        gev__http_same(f->name, f->name_len, "Cookie") ? "; " : ",";
    size_t n = f->value_len + 1;
    unsigned from = i;
    const struct gev__http_field *more;

    while ((more = find(h, &from, f->name, f->name_len)) != NULL) {
        n += strlen(between) + more->value_len;
    }
    f->joined = gev__http_alloc(&h->conn->arena, n);
    if (f->joined == NULL) {
        return NULL;
    }
    char *end = stpcpy(f->joined, f->value);
    while ((more = find(h, &i, f->name, f->name_len)) != NULL) {
        end = stpcpy(stpcpy(end, between), more->value);
    }
    return f->joined;
}

const char *gev_http_header(const gev_http *h, const char *name)
{
    unsigned i = 0;

    if (h == NULL || name == NULL) {
        return NULL;
    }
    size_t n = strlen(name);
    struct gev__http_field *f = find(h, &i, name, n);
    if (f == NULL) {
        return NULL;
    }
    if (f->joined != NULL) {
        return f->joined;
    }
    unsigned next = i;
    return find(h, &next, name, n) == NULL ? f->value : join(h, f, i);
}

bool gev_http_header_next(const gev_http *h, size_t *i, const char **name,
                          const char **value)
{
    if (h == NULL || i == NULL) {
        return false;
    }
    while (*i < h->n_fields) {
        const struct gev__http_field *f = &h->fields[(*i)++];
        if (f->name == NULL) {
            continue;
        }
        if (name != NULL) {
            *name = f->name;
        }
        if (value != NULL) {
            *value = f->value;
        }
        return true;
    }
    return false;
}
