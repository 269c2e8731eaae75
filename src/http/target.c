/* SPDX-License-Identifier: MIT */

/* The target: RFC 9112, section 3.2. */
#include "http/http.h"

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

/* Past "http://authority", or NULL. */
static const char *skip_authority(const char *target)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    size_t n = scheme == 0 ? 0 : strcspn(target + scheme, "/?");

    return n > 0 && gev__http_are(target + scheme, n, GEV__HTTP_HOST)
               ? target + scheme + n
               : NULL;
}

/* Where the path begins; NULL: a target of no form. */
static const char *find_path(const struct gev_http *h)
{
    const char *target = h->target;

    if (strcmp(h->method, "CONNECT") == 0) {
        size_t n = strlen(target);
        return gev__http_are(target, n, GEV__HTTP_HOST) ? target + n : NULL;
    }
    if (target[0] == '/') {
        return target;
    }
    if (strcmp(target, "*") == 0) {
        return strcmp(h->method, "OPTIONS") == 0 ? target : NULL;
    }
    return skip_authority(target);
}

int gev__http_split_target(struct gev_http *h)
{
    const char *from = find_path(h);

    if (from == NULL) {
        return gev__http_refuse(h, 400, "a malformed target");
    }
    size_t n = strcspn(from, "?");
    h->query = from[n] == '?' ? from + n + 1 : from + n;
    if (n == 0 && from != h->target && strcmp(h->method, "CONNECT") != 0) {
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
