/* SPDX-License-Identifier: MIT */
#include "demo_server.h"

#include <gev.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_MAX 8192
#define PIECE 1000         /* bytes of a chunk */
#define BODY_MAX 100000000 /* bytes of a document */
#define DELAY_MAX 60000    /* milliseconds */

/* Reads a request's head. Returns 0, or -1: none came. */
static int read_request(int fd, char *request, size_t size)
{
    size_t have = 0;
    while (have < size - 1) {
        const ssize_t n = gev_recv(fd, request + have, size - 1 - have, 0);
        if (n <= 0) {
            return -1;
        }
        have += (size_t)n;
        request[have] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            return 0;
        }
    }
    return -1;
}

static int send_text(int fd, const char *text)
{
    const size_t length = strlen(text);
    return gev_send_all(fd, text, length) == (ssize_t)length ? 0 : -1;
}

static int send_body(int fd, size_t size, bool chunked)
{
    static const char line[] = "All greenlets, great and small. ";
    char piece[PIECE];
    for (size_t i = 0; i < sizeof(piece); i++) {
        piece[i] = line[i % (sizeof(line) - 1)];
    }
    while (size > 0) {
        const size_t n = size < sizeof(piece) ? size : sizeof(piece);
        char before[24];
        snprintf(before, sizeof(before), "%zx\r\n", n);
        if ((chunked && send_text(fd, before) < 0) ||
            gev_send_all(fd, piece, n) != (ssize_t)n ||
            (chunked && send_text(fd, "\r\n") < 0)) {
            return -1;
        }
        size -= n;
    }
    return chunked ? send_text(fd, "0\r\n\r\n") : 0;
}

/* Page number `page` of a site: it links to two more, to the first, to a page
 * elsewhere, and, on some, to one that is not there. */
static int send_page(int fd, unsigned pages, unsigned delay, unsigned page)
{
    char text[600];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 200 OK\r\n"
                     "Content-Type: text/html\r\n"
                     "Connection: close\r\n\r\n"
                     "<title>Page %u</title>\n<a href=\"0#top\">first</a>\n"
                     "<a href=\"http://elsewhere.invalid/\">elsewhere</a>\n",
                     page);
    for (unsigned i = 2 * page + 1; i <= 2 * page + 2 && i < pages; i++) {
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "<a href=\"/site/%u/%u/%u\">page %u</a>\n", pages, delay,
                      i, i);
    }
    if (page % 20 == 7) {
        snprintf(text + n, sizeof(text) - (size_t)n,
                 "<a href=\"/missing/%u\">lost</a>\n", page);
    }
    return gev_sleep(delay / 1000.0) < 0 ? -1 : send_text(fd, text);
}

static int answer(int fd, const char *request)
{
    char kind[16];
    unsigned page;
    unsigned size;
    unsigned delay;
    char head[160] = "HTTP/1.1 404 Not Found\r\n"
                     "Content-Length: 0\r\n"
                     "Connection: close\r\n\r\n";
    if (sscanf(request, "GET /site/%9u/%9u/%9u HTTP/1.", &size, &delay,
               &page) == 3 &&
        page < size && delay <= DELAY_MAX) {
        return send_page(fd, size, delay, page);
    }
    if (sscanf(request, "GET /%15[a-z]/%9u/%9u HTTP/1.", kind, &size, &delay) !=
            3 ||
        size > BODY_MAX || delay > DELAY_MAX) {
        return send_text(fd, head);
    }
    const bool fixed = strcmp(kind, "fixed") == 0;
    const bool chunked = strcmp(kind, "chunked") == 0;
    if (!fixed && !chunked && strcmp(kind, "close") != 0) {
        return send_text(fd, head);
    }
    if (gev_sleep(delay / 1000.0) < 0) {
        return -1;
    }
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\n"
                     "Content-Type: text/plain\r\n"
                     "Connection: close\r\n");
    if (fixed) {
        n += snprintf(head + n, sizeof(head) - (size_t)n,
                      "Content-Length: %u\r\n", size);
    } else if (chunked) {
        n += snprintf(head + n, sizeof(head) - (size_t)n,
                      "Transfer-Encoding: chunked\r\n");
    }
    snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
    return send_text(fd, head) < 0 ? -1 : send_body(fd, size, chunked);
}

static void *serve_client(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    char request[REQUEST_MAX];
    if (read_request(fd, request, sizeof(request)) == 0) {
        /* A client that went away is no concern of the server's. */
        (void)answer(fd, request);
    }
    gev_close(fd);
    return NULL;
}

static void *accept_clients(void *arg)
{
    const int listener = (int)(intptr_t)arg;
    for (;;) {
        const int fd = gev_accept(listener, NULL, NULL);
        if (fd >= 0) {
            if (gev_spawn_raw(serve_client, (void *)(intptr_t)fd) < 0) {
                gev_close(fd); /* no memory: this client has to do without */
            }
            continue;
        }
        if (errno != EMFILE && errno != ENFILE && errno != ENOMEM &&
            errno != ENOBUFS) {
            return NULL; /* stopped */
        }
        /* No room for a connection: gev_accept() waits before it tries again,
         * and there soon will be. */
    }
}

int demo_server_start(struct demo_server *server)
{
    struct sockaddr_in address = {.sin_port = 0};
    socklen_t length = sizeof(address);
    server->fd = gev_tcp_listen("127.0.0.1", "0", SOMAXCONN);
    if (server->fd < 0) {
        return -1;
    }
    if (getsockname(server->fd, (struct sockaddr *)&address, &length) < 0 ||
        gev_spawn_raw(accept_clients, (void *)(intptr_t)server->fd) < 0) {
        const int error = errno;
        gev_close(server->fd);
        server->fd = -1;
        errno = error;
        return -1;
    }
    snprintf(server->port, sizeof(server->port), "%u",
             (unsigned)ntohs(address.sin_port));
    return 0;
}

void demo_server_stop(struct demo_server *server)
{
    gev_close(server->fd);
}
