/* SPDX-License-Identifier: MIT */
#include "support/dns_server.h"

#include "support/gev_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER 12
#define UDP_ROOM 512
#define TCP_ROOM 65535
#define MAX_CONNECTIONS 16
#define MAX_LATE 8192
#define MAX_ASKED 32768

enum { CNAME = 5, CLASS_IN = 1 };
enum { RCODE_NONE = 0, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, REFUSED = 5 };

struct question {
    uint16_t id;
    int type;
    char name[256];
    size_t end; /* of the question's section in the packet */
};

/* A TCP connection and how much of a question it has sent. */
struct connection {
    int fd;
    size_t got;
    uint8_t in[2 + UDP_ROOM];
};

/* An answer that is to go out later, by UDP. */
struct late {
    double due; /* 0: none in this place */
    struct sockaddr_in to;
    size_t size;
    uint8_t packet[UDP_ROOM];
};

struct asked {
    char name[128];
    int type;
    bool tcp;
};

/* Shared by both processes. Only what is marked so changes after the fork. */
struct dns_server {
    const struct dns_rule *rules;
    pid_t pid;
    int life; /* a pipe: the server ends when the writing end, here, is closed
               */
    int udp;
    int listener;
    uint16_t port;
    struct connection connections[MAX_CONNECTIONS]; /* the server's own */
    struct late late[MAX_LATE];                     /* the server's own */
    size_t n_late;                                  /* places ever used */
    struct asked asked[MAX_ASKED]; /* written by the server, then counted */
    atomic_size_t n_asked;
};

/* --- packets -------------------------------------------------------------- */

struct packet {
    uint8_t *data;
    size_t size;
    size_t room;
    bool full; /* something did not fit */
};

static void put(struct packet *p, const void *data, size_t n)
{
    if (p->full || n > p->room - p->size) {
        p->full = true;
        return;
    }
    memcpy(p->data + p->size, data, n);
    p->size += n;
}

static void put16(struct packet *p, unsigned value)
{
    const uint8_t b[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(p, b, 2);
}

static void put_name(struct packet *p, const char *name)
{
    while (*name != '\0') {
        size_t n = strcspn(name, ".");
        const uint8_t len = (uint8_t)n;
        put(p, &len, 1);
        put(p, name, n);
        name += n + (name[n] == '.');
    }
    put(p, "", 1);
}

/* All but the data. */
static void put_record(struct packet *p, const char *name, int type,
                       size_t size)
{
    put_name(p, name);
    put16(p, (unsigned)type);
    put16(p, CLASS_IN);
    put16(p, 0);
    put16(p, 60); /* TTL */
    put16(p, (unsigned)size);
}

static void put_name_record(struct packet *p, const char *name, int type,
                            const char *target)
{
    uint8_t data[256];
    struct packet name_data = {.data = data, .room = sizeof(data)};
    put_name(&name_data, target);
    put_record(p, name, type, name_data.size);
    put(p, data, name_data.size);
}

static bool read_question(const uint8_t *data, size_t size,
                          struct question *ret_question)
{
    struct question q = {.id = 0};
    size_t at = HEADER;
    size_t n = 0;
    if (size < HEADER) {
        return false;
    }
    q.id = (uint16_t)(data[0] << 8 | data[1]);
    while (at < size && data[at] != 0) {
        size_t len = data[at++];
        if (len > 63 || at + len > size || n + len + 2 > sizeof(q.name)) {
            return false;
        }
        if (n > 0) {
            q.name[n++] = '.';
        }
        memcpy(q.name + n, data + at, len);
        n += len;
        at += len;
    }
    if (at + 5 > size) {
        return false;
    }
    q.type = data[at + 1] << 8 | data[at + 2];
    q.end = at + 5;
    *ret_question = q;
    return true;
}

/* --- answers -------------------------------------------------------------- */

static const struct dns_rule *find_rule(const struct dns_server *s,
                                        const char *name)
{
    for (const struct dns_rule *r = s->rules; r->name != NULL; r++) {
        if (strcmp(r->name, "*") == 0 || strcasecmp(r->name, name) == 0) {
            return r;
        }
    }
    return NULL;
}

static void put_addresses(struct packet *p, const struct dns_rule *rule,
                          const char *name, int type, unsigned *count)
{
    for (unsigned i = 1; type == DNS_A && i <= rule->v4; i++) {
        const uint8_t a[4] = {127, 1, (uint8_t)(i >> 8), (uint8_t)i};
        put_record(p, name, DNS_A, sizeof(a));
        put(p, a, sizeof(a));
        ++*count;
    }
    for (unsigned i = 1; type == DNS_AAAA && i <= rule->v6; i++) {
        const uint8_t a[16] = {
            0xfd, [13] = 1, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i};
        put_record(p, name, DNS_AAAA, sizeof(a));
        put(p, a, sizeof(a));
        ++*count;
    }
    if (type == DNS_PTR && rule->target != NULL) {
        put_name_record(p, name, DNS_PTR, rule->target);
        ++*count;
    }
}

static unsigned put_records(struct packet *p, const struct dns_rule *rule,
                            const struct question *q)
{
    unsigned count = 0;
    char name[320];
    char next[320];
    snprintf(name, sizeof(name), "%s", q->name);
    for (unsigned i = 1; i <= rule->aliases; i++) {
        snprintf(next, sizeof(next), "alias%u.%s", i, q->name);
        put_name_record(p, name, CNAME, next);
        memcpy(name, next, sizeof(name));
        count++;
    }
    put_addresses(p, rule, name, q->type, &count);
    return count;
}

/* What the rule says, in as much room as there is. */
static void answer(struct packet *p, const uint8_t *asked,
                   const struct question *q, const struct dns_rule *rule,
                   bool tcp)
{
    unsigned code = RCODE_NONE;
    unsigned count = 0;
    put(p, asked, q->end);
    if (rule == NULL || rule->mood == DNS_NXDOMAIN) {
        code = RCODE_NXDOMAIN;
    } else if (rule->mood == DNS_SERVFAIL) {
        code = RCODE_SERVFAIL;
    } else if (rule->mood == DNS_REFUSED) {
        code = REFUSED;
    } else if (rule->mood == DNS_GARBAGE) {
        put(p, "\xff\xff\xff\xff\xff\xff", 6);
        count = 3;
    } else if (tcp ||
               (rule->mood != DNS_TRUNCATES && rule->mood != DNS_RESETS)) {
        count = put_records(p, rule, q);
    } else {
        p->full = true;
    }
    if (p->full) {
        p->size = q->end;
        count = 0;
    }
    p->data[2] = (uint8_t)(0x84 | (p->full ? 0x02 : 0) | (asked[2] & 1));
    p->data[3] = (uint8_t)(0x80 | code);
    p->data[4] = 0;
    p->data[5] = 1;
    p->data[6] = (uint8_t)(count >> 8);
    p->data[7] = (uint8_t)count;
    memset(p->data + 8, 0, 4);
}

static unsigned count_asked(struct dns_server *s, const char *name, int type,
                            bool only_tcp)
{
    unsigned count = 0;
    size_t n = atomic_load(&s->n_asked);
    for (size_t i = 0; i < n; i++) {
        const struct asked *a = &s->asked[i];
        count += (type == 0 || a->type == type) && (a->tcp || !only_tcp) &&
                 (name == NULL || strcasecmp(a->name, name) == 0);
    }
    return count;
}

static void note_question(struct dns_server *s, const struct question *q,
                          bool tcp)
{
    size_t n = atomic_load(&s->n_asked);
    if (n < MAX_ASKED) {
        struct asked *a = &s->asked[n];
        snprintf(a->name, sizeof(a->name), "%.127s", q->name);
        a->type = q->type;
        a->tcp = tcp;
        atomic_store(&s->n_asked, n + 1);
    }
}

static void send_late(struct dns_server *s, double now)
{
    for (size_t i = 0; i < s->n_late; i++) {
        struct late *l = &s->late[i];
        if (l->due > 0 && l->due <= now) {
            sendto(s->udp, l->packet, l->size, MSG_NOSIGNAL,
                   (struct sockaddr *)(void *)&l->to, sizeof(l->to));
            l->due = 0;
        }
    }
    while (s->n_late > 0 && s->late[s->n_late - 1].due <= 0) {
        s->n_late--;
    }
}

static struct late *find_place(struct dns_server *s)
{
    for (size_t i = 0; i < s->n_late; i++) {
        if (s->late[i].due <= 0) {
            return &s->late[i];
        }
    }
    return s->n_late < MAX_LATE ? &s->late[s->n_late++] : NULL;
}

static void answer_udp(struct dns_server *s)
{
    uint8_t in[UDP_ROOM];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    struct question q;
    ssize_t n = recvfrom(s->udp, in, sizeof(in), MSG_DONTWAIT,
                         (struct sockaddr *)(void *)&from, &len);
    if (n < 0 || !read_question(in, (size_t)n, &q)) {
        return;
    }
    note_question(s, &q, false);
    const struct dns_rule *rule = find_rule(s, q.name);
    if (rule != NULL && (rule->mood == DNS_SILENT ||
                         (rule->mood == DNS_SILENT_ONCE &&
                          count_asked(s, q.name, q.type, false) == 1))) {
        return;
    }
    struct late *l = find_place(s);
    if (l == NULL) {
        return;
    }
    struct packet p = {.data = l->packet, .room = sizeof(l->packet)};
    answer(&p, in, &q, rule, false);
    l->size = p.size;
    l->to = from;
    l->due = test_now() + (rule != NULL ? rule->delay / 1000.0 : 0);
}

/* --- TCP ------------------------------------------------------------------ */

static void drop_connection(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void accept_one(struct dns_server *s)
{
    int fd = accept(s->listener, NULL, NULL);
    for (int i = 0; fd >= 0 && i < MAX_CONNECTIONS; i++) {
        if (s->connections[i].fd < 0) {
            s->connections[i] = (struct connection){.fd = fd};
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* False: the connection is to be closed. */
static bool answer_tcp(struct dns_server *s, struct connection *c)
{
    static uint8_t out[2 + TCP_ROOM];
    struct question q;
    if (!read_question(c->in + 2, c->got - 2, &q)) {
        return false;
    }
    note_question(s, &q, true);
    const struct dns_rule *rule = find_rule(s, q.name);
    if (rule != NULL && rule->mood == DNS_RESETS) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        return false;
    }
    struct packet p = {.data = out + 2, .room = TCP_ROOM};
    answer(&p, c->in + 2, &q, rule, true);
    out[0] = (uint8_t)(p.size >> 8);
    out[1] = (uint8_t)p.size;
    /* In two pieces, so that the reader has to put them together. */
    return send(c->fd, out, 1, MSG_NOSIGNAL) == 1 &&
           send(c->fd, out + 1, p.size + 1, MSG_NOSIGNAL) ==
               (ssize_t)p.size + 1;
}

static void read_tcp(struct dns_server *s, struct connection *c)
{
    size_t wanted = c->got < 2 ? 2 : 2 + (size_t)(c->in[0] << 8 | c->in[1]);
    if (wanted > sizeof(c->in)) {
        drop_connection(c);
        return;
    }
    ssize_t n = recv(c->fd, c->in + c->got, wanted - c->got, 0);
    if (n <= 0) {
        drop_connection(c);
        return;
    }
    c->got += (size_t)n;
    if (c->got > 2 && c->got == 2 + (size_t)(c->in[0] << 8 | c->in[1])) {
        bool more = answer_tcp(s, c);
        c->got = 0;
        if (!more) {
            drop_connection(c);
        }
    }
}

/* --- the process ---------------------------------------------------------- */

/* Milliseconds until the next late answer; -1: none. */
static int patience(const struct dns_server *s, double now)
{
    double first = -1;
    for (size_t i = 0; i < s->n_late; i++) {
        double due = s->late[i].due;
        if (due > 0 && (first < 0 || due < first)) {
            first = due;
        }
    }
    return first < 0 ? -1 : first <= now ? 0 : (int)((first - now) * 1000) + 1;
}

static void serve(struct dns_server *s, int life)
{
    for (;;) {
        struct pollfd fds[3 + MAX_CONNECTIONS] = {
            {.fd = life, .events = POLLIN},
            {.fd = s->udp, .events = POLLIN},
            {.fd = s->listener, .events = POLLIN},
        };
        for (int i = 0; i < MAX_CONNECTIONS; i++) {
            fds[3 + i] =
                (struct pollfd){.fd = s->connections[i].fd, .events = POLLIN};
        }
        if (poll(fds, 3 + MAX_CONNECTIONS, patience(s, test_now())) < 0 &&
            errno != EINTR) {
            return;
        }
        if (fds[0].revents != 0) {
            return;
        }
        if (fds[1].revents != 0) {
            answer_udp(s);
        }
        if (fds[2].revents != 0) {
            accept_one(s);
        }
        for (int i = 0; i < MAX_CONNECTIONS; i++) {
            if (fds[3 + i].fd >= 0 && fds[3 + i].revents != 0) {
                read_tcp(s, &s->connections[i]);
            }
        }
        send_late(s, test_now());
    }
}

/* The same port by UDP and TCP: tried until both are free. */
static bool open_sockets(struct dns_server *s)
{
    for (int i = 0; i < 100; i++) {
        s->listener = test_tcp_listener(&s->port);
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in addr = {.sin_family = AF_INET,
                                   .sin_port = htons(s->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (s->listener >= 0 && s->udp >= 0 &&
            bind(s->udp, (struct sockaddr *)(void *)&addr, sizeof(addr)) == 0) {
            return true;
        }
        close(s->listener);
        close(s->udp);
    }
    return false;
}

static bool start_process(struct dns_server *s)
{
    int life[2];
    if (pipe2(life, O_CLOEXEC) < 0) {
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(life[1]);
        serve(s, life[0]);
        _exit(0);
    }
    close(life[0]);
    if (pid < 0) {
        close(life[1]);
        return false;
    }
    s->pid = pid;
    s->life = life[1];
    return true;
}

struct dns_server *dns_server_start(const struct dns_rule *rules)
{
    struct dns_server *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!expect_true(s != MAP_FAILED)) {
        return NULL;
    }
    s->rules = rules;
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        s->connections[i].fd = -1;
    }
    if (!expect_true(open_sockets(s))) {
        munmap(s, sizeof(*s));
        return NULL;
    }
    bool started = expect_true(start_process(s));
    close(s->udp);
    close(s->listener);
    if (!started) {
        munmap(s, sizeof(*s));
        return NULL;
    }
    return s;
}

void dns_server_stop(struct dns_server *s)
{
    if (s == NULL) {
        return;
    }
    int status = -1;
    close(s->life);
    kill(s->pid, SIGTERM); /* servers started later hold the pipe as well */
    expect_int_eq(waitpid(s->pid, &status, 0), s->pid);
    expect_true(status == 0 || WTERMSIG(status) == SIGTERM);
    munmap(s, sizeof(*s));
    unsetenv("GEV_DNS_SERVERS");
    unsetenv("GEV_DNS_TIMEOUT");
    unsetenv("GEV_DNS_TRIES");
}

uint16_t dns_server_port(const struct dns_server *s)
{
    return s->port;
}

void dns_server_use(const struct dns_server *s, double timeout, int tries)
{
    char text[64];
    snprintf(text, sizeof(text), "127.0.0.1:%u", s->port);
    setenv("GEV_DNS_SERVERS", text, 1);
    snprintf(text, sizeof(text), "%g", timeout);
    setenv("GEV_DNS_TIMEOUT", text, 1);
    snprintf(text, sizeof(text), "%d", tries);
    setenv("GEV_DNS_TRIES", text, 1);
}

unsigned dns_server_asked(struct dns_server *s, const char *name, int type)
{
    return count_asked(s, name, type, false);
}

unsigned dns_server_asked_tcp(struct dns_server *s, const char *name)
{
    return count_asked(s, name, 0, true);
}
