/* SPDX-License-Identifier: MIT */

/* The target: RFC 9112, section 3.2. */
#include "http/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The path in plain; false: a bad escape, or a NUL. */
static bool decode(const char *from, size_t n, char *to)
{
    for (const char *end = from + n; from < end; from++) {
        char c = *from;
        if (c == '%') {
            int high = end - from < 3 ? -1 : hex(from[1]);
            int low = high < 0 ? -1 : hex(from[2]);
            if (low < 0 || high + low == 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            from += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return true;
}

/* The authority of "http://authority": its length, 0: that is no such target.
 */
static size_t find_authority(const char *target, const char **ret_authority)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    size_t n = scheme == 0 ? 0 : strcspn(target + scheme, "/?");

    *ret_authority = target + scheme;
    return gev__http_are(target + scheme, n, GEV__HTTP_HOST) ? n : 0;
}

/* "host:port", the whole of a CONNECT's target. */
static bool has_port(const char *target)
{
    const char *colon = strrchr(target, ':');
    size_t n = colon == NULL ? 0 : strspn(colon + 1, "0123456789");
    long port = n > 0 && n <= 5 ? strtol(colon + 1, NULL, 10) : 0;

    return port > 0 && port <= 65535 && colon[1 + n] == '\0' &&
           colon > target &&
           gev__http_are(target, strlen(target), GEV__HTTP_HOST);
}

/* Where the path begins; NULL: a target of no form. */
static const char *find_path(const struct gev_http *h)
{
    const char *target = h->target;
    const char *authority;

    if (h->is_connect) {
        return has_port(target) ? target + strlen(target) : NULL;
    }
    if (target[0] == '/') {
        return target;
    }
    if (strcmp(target, "*") == 0) {
        return strcmp(h->method, "OPTIONS") == 0 ? target : NULL;
    }
    size_t n = find_authority(target, &authority);
    return n == 0 ? NULL : authority + n;
}

/* The host of a target goes before what the header says (RFC 9112, section
 * 3.2.2): two places to look at are one too many. -1: no memory. */
static int replace_host(struct gev_http *h)
{
    const char *authority;
    size_t n = find_authority(h->target, &authority);

    for (unsigned i = 0; n > 0 && i < h->n_fields; i++) {
        struct gev__http_field *f = &h->fields[i];
        if (f->name == NULL || !gev__http_same(f->name, f->name_len, "Host")) {
            continue;
        }
        f->value = gev__http_alloc(&h->conn->arena, n + 1);
        if (f->value == NULL) {
            return -1;
        }
        memcpy(f->value, authority, n);
        f->value[n] = '\0';
        f->value_len = n;
    }
    return 0;
}

int gev__http_split_target(struct gev_http *h)
{
    const char *from = find_path(h);

    if (from == NULL) {
        return gev__http_refuse(h, 400, "a malformed target");
    }
    if (from != h->target && !h->is_connect && replace_host(h) < 0) {
        return -1;
    }
    size_t n = strcspn(from, "?");
    h->query = from[n] == '?' ? from + n + 1 : from + n;
    if (n == 0 && from != h->target && !h->is_connect) {
        h->path = "/"; /* http://host */
        return 0;
    }
    if (memchr(from, '%', n) == NULL && from[n] == '\0') {
        h->path = from;
        return 0;
    }
    char *path = gev__http_alloc(&h->conn->arena, n + 1);
    if (path == NULL) {
        return -1;
    }
    h->path = path;
    if (!decode(from, n, path)) {
        h->path = "";
        return gev__http_refuse(h, 400, "a bad escape in the path");
    }
    return 0;
}
