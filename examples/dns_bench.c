/* SPDX-License-Identifier: MIT */

/* Measures look-ups: so many at once, how many a second, how long each takes.
 * Without a name server to ask it is one itself, on the loopback interface. */
#include <gev.h>

#include "example.h"

#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

static const char help[] =
    "usage: dns_bench [-s server] [-c concurrency] [-n look-ups] [-f file]\n"
    "                 [-6] [-t seconds] [-d seconds]\n"
    "Looks names up, many at once, and prints how many a second, how long "
    "they\n"
    "took, and what failed. Ctrl-C ends it early.\n"
    "  -s ADDR  ask this name server: 9.9.9.9, 127.0.0.1:5353, [::1]:53; you\n"
    "           should have its owner's leave (a server of its own, in the "
    "same\n"
    "           thread, that knows each name but those under .invalid)\n"
    "  -c N     so many at once, 1 to 10000 (100)\n"
    "  -n N     so many in all (10000; with -f: each name once)\n"
    "  -f FILE  take the names from there, one a line, again and again (all\n"
    "           different ones); words after a name are passed over\n"
    "  -6       ask for IPv6 addresses, too: two questions a name\n"
    "  -t S     give a look-up up after so many seconds (10)\n"
    "  -d S     its own server answers only after so many seconds (0)\n"
    "Exit status: 0 if all were answered, 1 if some were not, 2 for bad "
    "usage.\n";

#define NAME_MAX_LENGTH 255
#define LOOKUPS_MAX 10000000

/* --- a name server -------------------------------------------------------- */

#define HEADER_LENGTH 12
#define MESSAGE_MAX 512

enum { TYPE_A = 1, TYPE_AAAA = 28, NO_SUCH_NAME = 3 };

/* The length of the name in a question, with its labels' lengths and the final
 * 0; *ret_known: it is not under .invalid. 0: it is malformed. */
static size_t read_name(const unsigned char *name, size_t n, bool *ret_known)
{
    static const unsigned char invalid[] = "\7invalid";
    size_t at = 0;
    *ret_known = true;
    while (at < n && name[at] != 0) {
        const size_t label = 1U + name[at];
        if (label > 64 || at + label >= n) {
            return 0;
        }
        *ret_known = label != 8 || memcmp(name + at, invalid, 8) != 0;
        at += label;
    }
    return at < n ? at + 1 : 0;
}

/* Makes the answer in place of the question: the same with other flags, and an
 * address. Returns its length, 0 for a message that is none of ours. */
static size_t make_answer(unsigned char *m, size_t n)
{
    /* A name like at offset 12, a type, class IN, a time of 60 s. */
    static const unsigned char record[] = {
        0xc0, HEADER_LENGTH, 0, 0, 0, 1, 0, 0, 0, 60};
    static const unsigned char ipv4[] = {0, 4, 192, 0, 2, 1};
    static const unsigned char ipv6[] = {0, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0,
                                         0, 0,  0,    0, 0,    0,    0, 0, 1};
    bool known;
    if (n < HEADER_LENGTH || (m[2] & 0xf8) != 0 || m[4] != 0 || m[5] != 1) {
        return 0; /* not one question */
    }
    const size_t name = read_name(m + HEADER_LENGTH, n - HEADER_LENGTH, &known);
    const size_t end = HEADER_LENGTH + name + 4;
    if (name == 0 || end > n || end > MESSAGE_MAX) {
        return 0;
    }
    const unsigned type = (unsigned)m[end - 4] << 8 | m[end - 3];
    const unsigned char *data = type == TYPE_A ? ipv4 : ipv6;
    const size_t length = type == TYPE_A ? sizeof(ipv4) : sizeof(ipv6);
    const bool found = known && (type == TYPE_A || type == TYPE_AAAA);
    m[2] |= 0x84; /* an answer, with authority */
    m[3] = (unsigned char)(0x80 | (known ? 0 : NO_SUCH_NAME));
    memset(m + 6, 0, 6); /* no further records ... */
    if (!found) {
        return end;
    }
    m[7] = 1; /* ... but this */
    memcpy(m + end, record, sizeof(record));
    m[end + 3] = (unsigned char)type;
    memcpy(m + end + sizeof(record), data, length);
    return end + sizeof(record) + length;
}

/* In a greenlet for each question. */
static void answer(gev_datagram_server *server, const void *data, size_t n,
                   const struct sockaddr *peer, socklen_t len, void *arg)
{
    const double *delay = arg;
    unsigned char message[MESSAGE_MAX + 64];
    if (n > MESSAGE_MAX) {
        return;
    }
    memcpy(message, data, n);
    const size_t length = make_answer(message, n);
    if (length == 0 || (*delay > 0 && gev_sleep(*delay) < 0)) {
        return;
    }
    /* One that is lost is asked again. */
    (void)gev_datagram_server_send(server, message, length, peer, len);
}

static gev_datagram_server *start_server(double *delay, char *address,
                                         size_t size)
{
    const gev_server_opts opts = {.size = sizeof(opts), .host = "127.0.0.1"};
    gev_datagram_server *server = gev_datagram_server_new(&opts, answer, delay);
    if (server == NULL || gev_datagram_server_start(server) < 0) {
        perror("the server");
        gev_datagram_server_free(server);
        return NULL;
    }
    snprintf(address, size, "127.0.0.1:%d", gev_datagram_server_port(server));
    return server;
}

/* --- the names ------------------------------------------------------------ */

struct names {
    char **list;
    size_t n;
};

static int add_name(struct names *names, char *line)
{
    const char *name = strtok(line, " \t\r\n");
    if (name == NULL) {
        return 0;
    }
    if ((names->n & (names->n - 1)) == 0) { /* full: a power of two */
        char **list = realloc(names->list, (names->n == 0 ? 1 : 2 * names->n) *
                                               sizeof(*list));
        if (list == NULL) {
            return -1;
        }
        names->list = list;
    }
    names->list[names->n] = strdup(name);
    return names->list[names->n++] == NULL ? -1 : 0;
}

/* Before anything runs that this could hold up. */
static int read_names(struct names *names, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int rc = file == NULL ? -1 : 0;
    while (rc == 0 && getline(&line, &size, file) >= 0) {
        rc = add_name(names, line);
    }
    if (rc < 0 || ferror(file)) {
        perror(path);
        rc = -1;
    } else if (names->n == 0) {
        fprintf(stderr, "%s: no names\n", path);
        rc = -1;
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return rc;
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        free(names->list[i]);
    }
    free(names->list);
}

/* --- looking up ----------------------------------------------------------- */

#define CODES_MAX 32

/* What failed for one reason: an EAI_* code, or an errno. */
struct failure {
    int code;
    int error;
    size_t n;
};

struct bench {
    struct names names;
    size_t concurrency;
    size_t most;
    int family;
    double timeout;
    size_t begun;
    size_t answered;
    double *seconds; /* of each that was answered */
    struct failure failures[CODES_MAX];
    size_t failed;
    bool bad_server;
    gev_group *group;
};

static void count_failure(struct bench *b, int code, int error)
{
    struct failure *f = b->failures;
    error = code == EAI_SYSTEM ? error : 0;
    b->failed++;
    while (f < b->failures + CODES_MAX - 1 && f->n > 0 &&
           (f->code != code || f->error != error)) {
        f++;
    }
    f->code = code;
    f->error = error;
    f->n++;
}

static void look_up(struct bench *b, const char *name)
{
    const struct addrinfo hints = {.ai_family = b->family,
                                   .ai_socktype = SOCK_STREAM};
    gev_timeout limit = {0};
    const double start = now();
    int code = EAI_SYSTEM;
    if (gev_timeout_begin(&limit, b->timeout) == 0) {
        code = gev_getaddrinfo(name, NULL, &hints, NULL);
    }
    const int error = errno;
    gev_timeout_end(&limit);
    if (code == 0) {
        b->seconds[b->answered++] = now() - start;
    } else if (code == EAI_SYSTEM && error == EINVAL) {
        b->bad_server = true;
        b->most = 0;
    } else if (code != EAI_SYSTEM || error != ECANCELED) {
        count_failure(b, code, error);
    }
}

/* One of those that are at work at once: one look-up after the other. */
static void *look_up_names(void *arg)
{
    struct bench *b = arg;
    while (b->begun < b->most) {
        const size_t i = b->begun++;
        char made[NAME_MAX_LENGTH + 1];
        const char *name = made;
        if (b->names.n > 0) {
            name = b->names.list[i % b->names.n];
        } else {
            /* All different, as one question to several at once is one. The
             * last dot: without search domains. */
            snprintf(made, sizeof(made), "host%zu.bench.example.", i);
        }
        look_up(b, name);
    }
    return NULL;
}

static void *stop(void *arg)
{
    struct bench *b = arg;
    b->most = 0;
    gev_group_kill(b->group, GEV_FOREVER);
    return NULL;
}

static int run(struct bench *b)
{
    b->group = gev_group_new();
    b->seconds = malloc(b->most * sizeof(*b->seconds));
    gev_signal_handler *interrupt = gev_signal(SIGINT, stop, b);
    int rc = b->group == NULL || b->seconds == NULL || interrupt == NULL;
    for (size_t i = 0; rc == 0 && i < b->concurrency; i++) {
        rc = gev_group_spawn(b->group, look_up_names, b) == NULL;
    }
    if (rc != 0 || gev_group_join(b->group, GEV_FOREVER) < 0) {
        perror("dns_bench");
        rc = -1;
    }
    gev_signal_cancel(interrupt);
    gev_group_free(b->group);
    return rc;
}

/* --- the result ----------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* In ms: what so many percent of the look-ups took at most. */
static double percentile(const struct bench *b, size_t percent)
{
    const size_t rank = (percent * b->answered + 99) / 100; /* from 1 */
    return 1e3 * b->seconds[rank - 1];
}

static void print_result(const struct bench *b, double took)
{
    printf("%zu answered, %zu failed in %.3f s: %.0f look-ups a second\n",
           b->answered, b->failed, took,
           (double)(b->answered + b->failed) / took);
    if (b->answered > 0) {
        qsort(b->seconds, b->answered, sizeof(*b->seconds), compare);
        printf("ms: p50 %.3f, p90 %.3f, p99 %.3f, max %.3f\n",
               percentile(b, 50), percentile(b, 90), percentile(b, 99),
               percentile(b, 100));
    }
    for (const struct failure *f = b->failures;
         f < b->failures + CODES_MAX && f->n > 0; f++) {
        printf("failed: %zu: %s\n", f->n,
               f->code == EAI_SYSTEM ? gev_strerror(f->error)
                                     : gai_strerror(f->code));
    }
}

/* Against that server. Returns the program's exit status. */
static int measure(struct bench *b, const char *server, const char *whose)
{
    if (b->most == 0) {
        b->most = b->names.n > 0 ? b->names.n : 10000;
    }
    printf("%zu look-ups, %zu at once, server %s%s\n", b->most, b->concurrency,
           server, whose);
    fflush(stdout);
    setenv("GEV_DNS_SERVERS", server, 1); /* read at the first look-up */
    const double start = now();
    if (run(b) < 0) {
        return EXIT_FAILURE;
    }
    if (b->bad_server) {
        fprintf(stderr, "dns_bench: -s: '%s' is no address of a server\n",
                server);
        return bad_usage("dns_bench");
    }
    print_result(b, now() - start);
    return b->failed == 0 && b->answered > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int measure_own(struct bench *b, double delay)
{
    char address[32];
    gev_datagram_server *own = start_server(&delay, address, sizeof(address));
    const int status =
        own == NULL ? EXIT_FAILURE : measure(b, address, " (its own)");
    gev_datagram_server_free(own);
    return status;
}

int main(int argc, char **argv)
{
    struct bench b = {.concurrency = 100, .family = AF_INET, .timeout = 10};
    const char *server = NULL;
    const char *path = NULL;
    double delay = 0;
    int option;
    while ((option = next_option(argc, argv, "hs:c:n:f:6t:d:")) != -1) {
        switch (option) {
        case 's':
            server = optarg;
            break;
        case 'c':
            b.concurrency = (size_t)parse_count("-c", optarg, 1, 10000);
            break;
        case 'n':
            b.most = (size_t)parse_count("-n", optarg, 1, LOOKUPS_MAX);
            break;
        case 'f':
            path = optarg;
            break;
        case '6':
            b.family = AF_UNSPEC;
            break;
        case 't':
            b.timeout = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'd':
            delay = parse_number("-d", optarg, 0, 3600);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }
    if (path != NULL && read_names(&b.names, path) < 0) {
        free_names(&b.names);
        return EXIT_FAILURE;
    }
    const int status =
        server == NULL ? measure_own(&b, delay) : measure(&b, server, "");
    free(b.seconds);
    free_names(&b.names);
    gev_hub_close();
    return end_output(status);
}
