/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_CURL_SERVER_H
#define GEV_TEST_CURL_SERVER_H

/* An HTTP/1.1 server on a free port of 127.0.0.1 that does what the path says:
 *
 *     /n/BYTES           a body of that many bytes: 0123456789012...
 *     /wait/BYTES/MS     the same, after a while
 *     /late/BYTES/MS     the first half of it, and the rest after a while
 *     /echo              the request's body
 *     /connection        the number of this connection, from 1
 *     /hung              how many clients have left a /hang
 *     /hang              no answer
 *     /reset             half an answer, then a reset
 *     /drop              closes without an answer
 *
 * It is a process of its own, so that its descriptors and threads are not
 * mistaken for gev's. */

#include <stddef.h>
#include <stdint.h>

struct web;

/* NULL, and a failure recorded, if it cannot be started. */
struct web *web_start(void);
void web_stop(struct web *w);

/* http://127.0.0.1:PORT and the path, which is printf-like; in one of a few
 * static buffers. */
const char *web_url(const struct web *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

uint16_t web_port(const struct web *w);

#endif
