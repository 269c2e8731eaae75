/* SPDX-License-Identifier: MIT */
#include "net/channel.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sys.h"
#include "hub/watch.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Of GEV_DNS_SERVERS: how many, and how long one is with brackets and port. */
#define SERVERS_MAX 16
#define SERVER_LENGTH_MAX 64

/* One of c-ares's sockets. */
struct dns_socket {
    struct gev__list link; /* on ch->sockets or ch->spares */
    struct gev__channel *channel;
    int fd;
    int events; /* watched for */
    struct gev__watch watch;
};

/* --- memory --------------------------------------------------------------- */

static atomic_ulong refusals;

unsigned long gev__channel_refusals(void)
{
    return atomic_load_explicit(&refusals, memory_order_relaxed);
}

static void *refuse_if_null(void *p, size_t n)
{
    if (p == NULL && n != 0) {
        atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
    }
    return p;
}

static void *ares_gets(size_t n)
{
    return refuse_if_null(gev__malloc(n), n);
}

static void *ares_resizes(void *p, size_t n)
{
    return refuse_if_null(gev__realloc(p, n), n);
}

static void ares_frees(void *p)
{
    gev__free(p);
}

static void init_library(void)
{
    /* Fails on Windows only. */
    (void)ares_library_init_mem(ARES_LIB_INIT_ALL, ares_gets, ares_frees,
                                ares_resizes);
}

/* --- system calls --------------------------------------------------------- */

/* c-ares calls these instead of the system: to have sockets non-blocking and
 * close-on-exec from the start, no SIGPIPE, and fault points. They return -1
 * and set errno. */

static ares_socket_t call_socket(int family, int type, int protocol, void *arg)
{
    (void)arg;
    int fd =
        gev__sys_socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd >= 0 && type == SOCK_STREAM) {
        const int on = 1;
        (void)gev__sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                                  sizeof(on));
    }
    return (ares_socket_t)gev__ret(fd);
}

static int call_close(ares_socket_t fd, void *arg)
{
    (void)arg;
    return (int)gev__ret(gev__sys_close(fd));
}

static int call_connect(ares_socket_t fd, const struct sockaddr *addr,
                        ares_socklen_t len, void *arg)
{
    (void)arg;
    return (int)gev__ret(gev__sys_connect(fd, addr, len));
}

static ares_ssize_t call_recvfrom(ares_socket_t fd, void *buf, size_t n,
                                  int flags, struct sockaddr *from,
                                  ares_socklen_t *len, void *arg)
{
    (void)arg;
    return gev__ret(gev__sys_recvfrom(fd, buf, n, flags, from, len));
}

static ares_ssize_t call_sendv(ares_socket_t fd, const struct iovec *iov, int n,
                               void *arg)
{
    struct msghdr msg = {.msg_iovlen = (size_t)n};

    (void)arg;
    /* msghdr has no const; sendmsg() does not write there. */
    memcpy(&msg.msg_iov, &iov, sizeof(msg.msg_iov));
    ssize_t rc = gev__sys_sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (rc == -ECONNREFUSED) {
        /* The fate of an earlier datagram. c-ares would charge this one with
         * it and let that one time out; when this one is refused too, a read
         * tells it, and all questions move on at once. */
        rc = gev__sys_sendmsg(fd, &msg, MSG_NOSIGNAL);
    }
    return gev__ret(rc);
}

static const struct ares_socket_functions socket_calls = {
    .asocket = call_socket,
    .aclose = call_close,
    .aconnect = call_connect,
    .arecvfrom = call_recvfrom,
    .asendv = call_sendv,
};

/* --- sockets -------------------------------------------------------------- */

static void on_event(struct gev__watch *w, int events)
{
    struct dns_socket *s = w->arg;
    struct gev__channel *ch = s->channel;

    ares_process_fd(ch->ares,
                    (events & GEV_READ) != 0 ? s->fd : ARES_SOCKET_BAD,
                    (events & GEV_WRITE) != 0 ? s->fd : ARES_SOCKET_BAD);
    gev__channel_settle(ch);
}

static struct dns_socket *find_socket(struct gev__channel *ch, int fd)
{
    gev__list_foreach(it, &ch->sockets) {
        struct dns_socket *s = gev__container_of(it, struct dns_socket, link);
        if (s->fd == fd) {
            return s;
        }
    }
    return NULL;
}

/* A new socket. Here, unlike in on_state(), c-ares can be told no: it then
 * closes the socket and moves on to the next try. */
static int on_create(ares_socket_t fd, int type, void *arg)
{
    struct gev__channel *ch = arg;
    struct gev__list *node = gev__list_pop(&ch->spares);
    struct dns_socket *s =
        node != NULL ? gev__container_of(node, struct dns_socket, link)
                     : gev__calloc(1, sizeof(*s));

    (void)type;
    if (refuse_if_null(s, sizeof(*s)) == NULL) {
        return -1;
    }
    gev__list_init(&s->link);
    s->channel = ch;
    s->fd = fd;
    s->watch.fn = on_event;
    s->watch.arg = s;
    if (gev__watch_start(ch->hub, &s->watch, fd, GEV_READ) < 0) {
        (void)refuse_if_null(NULL, sizeof(s->watch));
        gev__list_push_back(&ch->spares, &s->link);
        return -1;
    }
    s->events = GEV_READ;
    gev__list_push_back(&ch->sockets, &s->link);
    return 0;
}

/* What c-ares wants to know of a socket; nothing: it is about to close it, and
 * may open one with the same number before it returns to us. */
static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct gev__channel *ch = arg;
    struct dns_socket *s = find_socket(ch, fd);
    int events = (readable ? GEV_READ : 0) | (writable ? GEV_WRITE : 0);

    if (s == NULL || events == s->events) {
        return;
    }
    s->events = events;
    if (events != 0) {
        /* Watched already: this only changes the events and cannot fail. */
        if (!ch->detached) {
            (void)gev__watch_start(ch->hub, &s->watch, fd, events);
        }
        return;
    }
    if (!ch->detached) {
        gev__watch_stop(ch->hub, &s->watch);
    }
    gev__list_remove(&s->link);
    gev__list_push_back(&ch->spares, &s->link);
}

/* --- time ----------------------------------------------------------------- */

/* When c-ares next wants to be called, in ns from now. It counts in whole
 * milliseconds, rounded down; without the one more it would be called early
 * and asked again for nothing. The call looks at every question, so it is made
 * only when the timer has fired. */
static int64_t next_timeout(struct gev__channel *ch)
{
    struct timeval tv;

    if (ares_timeout(ch->ares, NULL, &tv) == NULL) {
        return ch->timeout;
    }
    return tv.tv_sec * GEV__SEC + tv.tv_usec * (GEV__MS / 1000) + GEV__MS;
}

static void on_timeout(struct gev__timer *t)
{
    struct gev__channel *ch = gev__container_of(t, struct gev__channel, timer);

    ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    int64_t deadline = gev__clock_add(gev__clock_now(), next_timeout(ch));
    if (ch->asked > 0 &&
        gev__timer_arm(ch->hub, &ch->timer, GEV__SLEEPS, deadline) < 0) {
        /* Without a timer a lost packet would mean for ever. */
        (void)refuse_if_null(NULL, sizeof(ch->timer));
        ares_cancel(ch->ares);
    }
    gev__channel_settle(ch);
}

int gev__channel_begin(struct gev__channel *ch)
{
    /* A new question times out first, unless older ones do: the timer may be
     * early, but is never late. */
    int64_t deadline = gev__clock_add(gev__clock_now(), ch->timeout + GEV__MS);

    if (!gev__timer_is_armed(&ch->timer) || ch->timer.deadline > deadline) {
        gev__timer_disarm(ch->hub, &ch->timer);
        int rc = gev__timer_arm(ch->hub, &ch->timer, GEV__SLEEPS, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    ch->asked++;
    return 0;
}

void gev__channel_settle(struct gev__channel *ch)
{
    if (ch->asked == 0) {
        gev__timer_disarm(ch->hub, &ch->timer);
    }
    ch->idle(ch, ch->idle_arg);
}

/* --- opening -------------------------------------------------------------- */

/* -errno of what c-ares's init says. It goes on without memory, with defaults
 * in the place of what it could not read. */
static int init_error(int status, unsigned long refusals_before)
{
    if (status == ARES_ENOMEM || gev__channel_refusals() != refusals_before) {
        return -ENOMEM;
    }
    return status == ARES_SUCCESS ? 0 : -EINVAL;
}

static int init_ares(const struct gev__dns_conf *conf, ares_channel *ret_ares,
                     struct ares_options *options, int mask)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned long before = gev__channel_refusals();
    ares_channel ares;

    (void)pthread_once(&once, init_library);
    options->resolvconf_path = conf->resolv_conf;
    int status = ares_init_options(&ares, options, mask | ARES_OPT_RESOLVCONF);
    int rc = init_error(status, before);
    if (rc < 0 && status == ARES_SUCCESS) {
        ares_destroy(ares);
    }
    if (rc == 0) {
        *ret_ares = ares;
    }
    return rc;
}

int gev__channel_lookups(const struct gev__dns_conf *conf,
                         char ret_lookups[GEV__LOOKUPS_MAX + 1])
{
    unsigned long before = gev__channel_refusals();
    struct ares_options options = {.flags = 0};
    struct ares_options saved = {.flags = 0};
    ares_channel ares;
    int mask;

    int rc = init_ares(conf, &ares, &options, 0);
    if (rc < 0) {
        return rc;
    }
    int status = ares_save_options(ares, &saved, &mask);
    rc = init_error(status, before);
    if (rc == 0) {
        strncpy(ret_lookups, saved.lookups, GEV__LOOKUPS_MAX);
        ret_lookups[GEV__LOOKUPS_MAX] = '\0';
    }
    ares_destroy_options(&saved);
    ares_destroy(ares);
    return rc;
}

/* One of GEV_DNS_SERVERS: "9.9.9.9", "9.9.9.9:53", "::1", "[::1]:53". Cuts the
 * text up. (c-ares's own reader takes 1.2.3 for 1.2.3.0, and any port.) */
static bool parse_server(char *text, struct ares_addr_port_node *ret_server)
{
    char *colon = strrchr(text, ':');
    char *port = NULL;

    *ret_server = (struct ares_addr_port_node){.family = AF_INET};
    if (*text == '[') {
        char *end = strchr(text++, ']');
        if (end == NULL || (end[1] != ':' && end[1] != '\0')) {
            return false;
        }
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
        ret_server->family = AF_INET6;
    } else if (colon != NULL && colon == strchr(text, ':')) {
        port = colon + 1;
        *colon = '\0';
    } else if (colon != NULL) {
        ret_server->family = AF_INET6;
    }
    if (port != NULL) {
        char *end;
        unsigned long number = strtoul(port, &end, 10);
        if (*port < '0' || *port > '9' || *end != '\0' || number == 0 ||
            number > UINT16_MAX) {
            return false;
        }
        ret_server->udp_port = (int)number;
        ret_server->tcp_port = (int)number;
    }
    return inet_pton(ret_server->family, text, &ret_server->addr) == 1;
}

static int set_servers(ares_channel ares, const char *text)
{
    struct ares_addr_port_node servers[SERVERS_MAX];
    char word[SERVER_LENGTH_MAX + 1];
    size_t n = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, ", \t");
        if (len > SERVER_LENGTH_MAX || n == SERVERS_MAX) {
            return -EINVAL;
        }
        memcpy(word, text, len);
        word[len] = '\0';
        text += len + (text[len] != '\0');
        if (len == 0) {
            continue;
        }
        if (!parse_server(word, &servers[n])) {
            return -EINVAL;
        }
        if (n > 0) {
            servers[n - 1].next = &servers[n];
        }
        n++;
    }
    if (n == 0) {
        return -EINVAL;
    }
    unsigned long before = gev__channel_refusals();
    return init_error(ares_set_servers_ports(ares, servers), before);
}

static int open_ares(struct gev__channel *ch, const struct gev__dns_conf *conf)
{
    char lookups[] = "b"; /* the hosts file is ours */
    struct ares_options options = {
        .lookups = lookups,
        .sock_state_cb = on_state,
        .sock_state_cb_data = ch,
    };

    int rc = gev__dns_conf_patience(conf, &options.timeout, &options.tries);
    if (rc < 0) {
        return rc;
    }
    ch->timeout = options.timeout * GEV__MS;
    rc = init_ares(conf, &ch->ares, &options,
                   ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
                       ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (rc < 0) {
        return rc;
    }
    ares_set_socket_functions(ch->ares, &socket_calls, NULL);
    ares_set_socket_callback(ch->ares, on_create, ch);
    if (conf->servers != NULL) {
        rc = set_servers(ch->ares, conf->servers);
    }
    if (rc < 0) {
        ares_destroy(ch->ares);
    }
    return rc;
}

int gev__channel_open(struct gev_hub *hub, const struct gev__dns_conf *conf,
                      struct gev__channel **ret_channel)
{
    struct gev__channel *ch = gev__calloc(1, sizeof(*ch));

    if (ch == NULL) {
        return -ENOMEM;
    }
    ch->hub = hub;
    gev__list_init(&ch->link);
    gev__list_init(&ch->sockets);
    gev__list_init(&ch->spares);
    gev__timer_init(&ch->timer, on_timeout);
    int rc = open_ares(ch, conf);
    if (rc < 0) {
        gev__free(ch);
        return rc;
    }
    *ret_channel = ch;
    return 0;
}

void gev__channel_close(struct gev__channel *ch)
{
    struct gev__list *node;

    ares_destroy(ch->ares);
    if (!ch->detached) {
        gev__timer_disarm(ch->hub, &ch->timer);
    }
    assert(gev__list_is_empty(&ch->sockets));
    while ((node = gev__list_pop(&ch->spares)) != NULL) {
        gev__free(gev__container_of(node, struct dns_socket, link));
    }
    gev__list_remove(&ch->link);
    gev__free(ch);
}
