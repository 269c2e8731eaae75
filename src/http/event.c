/* SPDX-License-Identifier: MIT */

/* Server-sent events: the event stream of HTML's EventSource. */
#include "http/http.h"

#include <errno.h>
#include <string.h>

/* Lines may end with LF, CR or both. */
static int write_lines(struct gev_http *h, const char *data)
{
    for (;;) {
        size_t n = strcspn(data, "\r\n");
        if (gev_http_write(h, "data: ", 6) < 0 ||
            gev_http_write(h, data, n) < 0 || gev_http_write(h, "\n", 1) < 0) {
            return -1;
        }
        data += n;
        if (*data == '\0') {
            return 0;
        }
        data += data[0] == '\r' && data[1] == '\n' ? 2 : 1;
    }
}

static int begin(struct gev_http *h)
{
    if (gev_http_set_header(h, "Content-Type", "text/event-stream") < 0) {
        return -1;
    }
    return gev_http_set_header(h, "Cache-Control", "no-store");
}

int gev_http_event(gev_http *h, const char *event, const char *data)
{
    if (h == NULL || (event != NULL && strpbrk(event, "\r\n") != NULL)) {
        errno = EINVAL;
        return -1;
    }
    if (!h->head_out && begin(h) < 0) {
        return -1;
    }
    if (data == NULL) {
        if (gev_http_write(h, ":\n\n", 3) < 0) {
            return -1;
        }
    } else {
        if (event != NULL && (gev_http_write(h, "event: ", 7) < 0 ||
                              gev_http_write(h, event, strlen(event)) < 0 ||
                              gev_http_write(h, "\n", 1) < 0)) {
            return -1;
        }
        if (write_lines(h, data) < 0 || gev_http_write(h, "\n", 1) < 0) {
            return -1;
        }
    }
    return gev_http_flush(h);
}
