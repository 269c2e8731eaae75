/* SPDX-License-Identifier: MIT */
#include "curl/server.h"

#include "support/gev_test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX ((size_t)16384)

struct web {
    pid_t pid;
    uint16_t port;
};

/* Of the server's process. */
static atomic_uint hung;
static atomic_uint connections;

struct connection {
    int fd;
    unsigned number;
    char head[HEAD_MAX]; /* and what came of the body */
    size_t filled;
    size_t head_size;
    size_t body_size;
    bool continues; /* the client waits for a 100 */
};

/* --- the server's process ------------------------------------------------- */

static bool send_all(int fd, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool read_more(struct connection *c)
{
    if (c->filled == HEAD_MAX - 1) {
        return false;
    }
    ssize_t n = recv(c->fd, c->head + c->filled, HEAD_MAX - 1 - c->filled, 0);
    if (n <= 0) {
        return false;
    }
    c->filled += (size_t)n;
    c->head[c->filled] = '\0';
    return true;
}

static bool read_head(struct connection *c)
{
    char *end;

    c->head[c->filled] = '\0';
    while ((end = strstr(c->head, "\r\n\r\n")) == NULL) {
        if (!read_more(c)) {
            return false;
        }
    }
    c->head_size = (size_t)(end - c->head) + 4;
    const char *length = strcasestr(c->head, "\r\nContent-Length:");
    c->body_size =
        length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    const char *expect = strcasestr(c->head, "\r\nExpect: 100");
    c->continues = expect != NULL && expect < end;
    return true;
}

static bool send_head(struct connection *c, size_t n)
{
    char head[128];
    int length = snprintf(head, sizeof(head),
                          "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);

    return send_all(c->fd, head, (size_t)length);
}

/* Bytes from..to of the pattern. */
static bool send_pattern(struct connection *c, size_t from, size_t to)
{
    char part[10000];

    while (from < to) {
        size_t n = to - from < sizeof(part) ? to - from : sizeof(part);
        for (size_t i = 0; i < n; i++) {
            part[i] = (char)('0' + (from + i) % 10);
        }
        if (!send_all(c->fd, part, n)) {
            return false;
        }
        from += n;
    }
    return true;
}

static bool send_number(struct connection *c, unsigned number)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", number);

    return send_head(c, (size_t)n) && send_all(c->fd, text, (size_t)n);
}

static bool echo(struct connection *c)
{
    size_t here = c->filled - c->head_size;
    size_t left = c->body_size;

    if (c->continues && here == 0 &&
        !send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) {
        return false;
    }
    char *body = malloc(left + 1);
    size_t n = here < left ? here : left;
    memcpy(body, c->head + c->head_size, n);
    while (n < left) {
        ssize_t got = recv(c->fd, body + n, left - n, 0);
        if (got <= 0) {
            free(body);
            return false;
        }
        n += (size_t)got;
        c->filled += (size_t)got;
    }
    c->filled = c->head_size + left; /* nobody pipelines behind a body */
    bool ok = send_head(c, left) && send_all(c->fd, body, left);
    free(body);
    return ok;
}

static bool hang(struct connection *c)
{
    char byte;

    while (recv(c->fd, &byte, 1, 0) > 0) {
    }
    atomic_fetch_add(&hung, 1);
    return false;
}

static bool reset(struct connection *c)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    send_head(c, 1000);
    send_pattern(c, 0, 500);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    return false;
}

/* False: the connection ends. */
static bool answer(struct connection *c)
{
    size_t bytes = 0;
    unsigned ms = 0;
    const char *path = strchr(c->head, ' ');

    if (path == NULL) {
        return false;
    }
    path++;
    if (sscanf(path, "/n/%zu", &bytes) == 1) {
        return send_head(c, bytes) && send_pattern(c, 0, bytes);
    }
    if (sscanf(path, "/wait/%zu/%u", &bytes, &ms) == 2) {
        usleep(ms * 1000);
        return send_head(c, bytes) && send_pattern(c, 0, bytes);
    }
    if (sscanf(path, "/late/%zu/%u", &bytes, &ms) == 2) {
        bool ok = send_head(c, bytes) && send_pattern(c, 0, bytes / 2);
        usleep(ms * 1000);
        return ok && send_pattern(c, bytes / 2, bytes);
    }
    if (strncmp(path, "/echo", 5) == 0) {
        return echo(c);
    }
    if (strncmp(path, "/connection", 11) == 0) {
        return send_number(c, c->number);
    }
    if (strncmp(path, "/hung", 5) == 0) {
        return send_number(c, atomic_load(&hung));
    }
    if (strncmp(path, "/hang", 5) == 0) {
        return hang(c);
    }
    if (strncmp(path, "/reset", 6) == 0) {
        return reset(c);
    }
    return false; /* /drop */
}

static void *serve_connection(void *arg)
{
    struct connection *c = arg;

    while (read_head(c) && answer(c)) {
        size_t used = c->head_size + c->body_size;
        used = used < c->filled ? used : c->filled;
        memmove(c->head, c->head + used, c->filled - used);
        c->filled -= used;
    }
    close(c->fd);
    free(c);
    return NULL;
}

static _Noreturn void serve(int listener)
{
    pthread_attr_t attr;

    signal(SIGPIPE, SIG_IGN);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)256 * 1024);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            _exit(1);
        }
        struct connection *c = calloc(1, sizeof(*c));
        const int on = 1;
        /* Heads do not wait for the client's word before bodies follow. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c->fd = fd;
        c->number = atomic_fetch_add(&connections, 1) + 1;
        if (pthread_create(&thread, &attr, serve_connection, c) != 0) {
            close(fd);
            free(c);
        }
    }
}

/* --- here ----------------------------------------------------------------- */

struct web *web_start(void)
{
    struct web *w = calloc(1, sizeof(*w));
    int listener = test_tcp_listener(&w->port);
    pid_t parent = getpid();

    listen(listener, 1000);
    w->pid = fork();
    if (w->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        serve(listener);
    }
    close(listener);
    if (w->pid < 0) {
        expect_never("fork failed");
        free(w);
        return NULL;
    }
    return w;
}

void web_stop(struct web *w)
{
    int status;

    if (w == NULL) {
        return;
    }
    kill(w->pid, SIGKILL);
    expect_int_eq(waitpid(w->pid, &status, 0), w->pid);
    free(w);
}

const char *web_url(const struct web *w, const char *format, ...)
{
    static _Thread_local char urls[64][256];
    static _Thread_local unsigned next;
    char *url = urls[next++ % 64];
    va_list args;

    int n = snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%u", w->port);
    va_start(args, format);
    vsnprintf(url + n, sizeof(urls[0]) - (size_t)n, format, args);
    va_end(args);
    return url;
}

uint16_t web_port(const struct web *w)
{
    return w->port;
}
