/* SPDX-License-Identifier: MIT */

/* Finds the open TCP ports of a host, many at once. */
#include <gev.h>

#include "example.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

static const char help[] =
    "usage: portscan [-c concurrency] [-t seconds] host [ports]\n"
    "Tries to connect to TCP ports of a host and prints the open ones. Scan\n"
    "only what is yours.\n"
    "  ports  like 22,80,8000-8099 (1-1024)\n"
    "  -c N   so many at once, 1 to 10000 (100)\n"
    "  -t S   wait so long for an answer (2)\n"
    "Exit status: 0 if every port was tried, 1 if not, 2 for bad usage.\n";

#define PORT_MAX 65535

enum port_state {
    PORT_SKIPPED,
    PORT_WANTED,
    PORT_OPEN,
    PORT_CLOSED,
    PORT_SILENT, /* no answer in time: filtered, most likely */
    PORT_UNTRIED /* an error of our own */
};

struct scan {
    char address[64]; /* the host's, numeric */
    double timeout;
    struct slots slots;
    unsigned char state[PORT_MAX + 1]; /* enum port_state */
    size_t count[PORT_UNTRIED + 1];
    int error; /* the last one of our own */
};

struct probe {
    struct scan *scan;
    unsigned port;
};

/* A connection to a port of one's own machine where nobody listens can meet
 * itself: the kernel chose the very same port for our end. */
static bool is_self_connected(int fd)
{
    struct sockaddr_storage ours;
    struct sockaddr_storage theirs;
    socklen_t ours_length = sizeof(ours);
    socklen_t theirs_length = sizeof(theirs);
    memset(&ours, 0, sizeof(ours));
    memset(&theirs, 0, sizeof(theirs));
    return getsockname(fd, (struct sockaddr *)&ours, &ours_length) == 0 &&
           getpeername(fd, (struct sockaddr *)&theirs, &theirs_length) == 0 &&
           ours_length == theirs_length &&
           memcmp(&ours, &theirs, ours_length) == 0;
}

static enum port_state try_port(struct scan *scan, unsigned port)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    const int fd = gev_tcp_connect(scan->address, service, scan->timeout);
    if (fd >= 0) {
        const bool self = is_self_connected(fd);
        gev_close(fd);
        return self ? PORT_CLOSED : PORT_OPEN;
    }
    switch (errno) {
    case ECONNREFUSED:
    case ECONNRESET:
        return PORT_CLOSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return PORT_SILENT;
    default:
        scan->error = errno;
        return PORT_UNTRIED;
    }
}

static void *probe(void *arg)
{
    const struct probe *self = arg;
    struct scan *scan = self->scan;
    const enum port_state state = try_port(scan, self->port);
    scan->state[self->port] = (unsigned char)state;
    scan->count[state]++;
    slot_give(&scan->slots);
    return NULL;
}

/* Marks the ports of "22,80,8000-8099". Returns how many, or -1. */
static int parse_ports(struct scan *scan, const char *text)
{
    int wanted = 0;
    for (;;) {
        char *end;
        unsigned long low = 0;
        if (*text >= '0' && *text <= '9') { /* no sign, no space */
            low = strtoul(text, &end, 10);
            text = end;
        }
        unsigned long high = low;
        if (*text == '-' && text[1] >= '0' && text[1] <= '9') {
            high = strtoul(text + 1, &end, 10);
            text = end;
        }
        if (low < 1 || high < low || high > PORT_MAX) {
            return -1;
        }
        for (unsigned long port = low; port <= high; port++) {
            wanted += scan->state[port] == PORT_SKIPPED;
            scan->state[port] = PORT_WANTED;
        }
        if (*text == '\0') {
            return wanted;
        }
        if (*text++ != ',') {
            return -1;
        }
    }
}

/* Once, so that not every port asks the name server again. */
static int resolve_host(struct scan *scan, const char *host)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int code = gev_getaddrinfo(host, NULL, &hints, &list);
    if (code == 0) {
        code = getnameinfo(list->ai_addr, list->ai_addrlen, scan->address,
                           sizeof(scan->address), NULL, 0, NI_NUMERICHOST);
        gev_freeaddrinfo(list);
    }
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", host,
                code == EAI_SYSTEM ? gev_strerror(errno) : gai_strerror(code));
        return -1;
    }
    return 0;
}

static int scan_ports(struct scan *scan)
{
    for (unsigned port = 1; port <= PORT_MAX; port++) {
        if (scan->state[port] != PORT_WANTED) {
            continue;
        }
        if (slot_take(&scan->slots, GEV_FOREVER) < 0) {
            return -1;
        }
        struct probe self = {scan, port};
        gev_greenlet *g = gev_spawn_copy(probe, &self, sizeof(self));
        if (g == NULL) {
            slot_give(&scan->slots);
            return -1;
        }
        gev_unref(g);
    }
    return slots_drain(&scan->slots, GEV_FOREVER);
}

static void print_open_ports(const struct scan *scan)
{
    for (unsigned port = 1; port <= PORT_MAX; port++) {
        if (scan->state[port] == PORT_OPEN) {
            const struct servent *service =
                getservbyport(htons((uint16_t)port), "tcp");
            printf("%u open%s%s\n", port, service != NULL ? " " : "",
                   service != NULL ? service->s_name : "");
        }
    }
}

int main(int argc, char **argv)
{
    static struct scan scan = {.timeout = 2, .slots = {.total = 100}};
    int option;
    while ((option = next_option(argc, argv, "hc:t:")) != -1) {
        switch (option) {
        case 'c':
            scan.slots.total = (size_t)parse_count("-c", optarg, 1, 10000);
            break;
        case 't':
            scan.timeout = parse_number("-t", optarg, 0.001, 3600);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    const int rest = argc - optind;
    if (rest < 1 || rest > 2) {
        fputs("a host is needed, and perhaps ports\n", stderr);
        return bad_usage(argv[0]);
    }
    const int wanted =
        parse_ports(&scan, rest == 2 ? argv[optind + 1] : "1-1024");
    if (wanted < 0) {
        fprintf(stderr, "'%s' is not a list of ports\n", argv[optind + 1]);
        return bad_usage(argv[0]);
    }

    allow_many_files();
    int status = EXIT_FAILURE;
    const double start = now();
    if (resolve_host(&scan, argv[optind]) == 0) {
        if (scan_ports(&scan) < 0) {
            perror("scanning");
        } else if (scan.count[PORT_UNTRIED] > 0) {
            fprintf(stderr, "%zu ports could not be tried: %s\n",
                    scan.count[PORT_UNTRIED], gev_strerror(scan.error));
        } else {
            status = EXIT_SUCCESS;
        }
        print_open_ports(&scan);
        printf("%s: %d ports, %zu open, %zu closed, %zu silent, in %.3f s\n",
               scan.address, wanted, scan.count[PORT_OPEN],
               scan.count[PORT_CLOSED], scan.count[PORT_SILENT], now() - start);
    }
    gev_hub_close();
    return end_output(status);
}
