/* SPDX-License-Identifier: MIT */

/* Resolves many names at once. */
#include <gev.h>

#include "example.h"

#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char help[] =
    "usage: resolve [-c concurrency] [-t seconds] [name...]\n"
    "Looks up the addresses of many names at once, and prints each as soon as\n"
    "it is known. Without a name it reads them from standard input, one a\n"
    "line.\n"
    "  -c N  so many at once, 1 to 10000 (50)\n"
    "  -t S  give a name up after so many seconds (10)\n"
    "Exit status: 0 if all were found, 1 if some were not, 2 for bad usage.\n";

#define NAME_MAX_LENGTH 255

struct run {
    double timeout; /* of one name */
    struct slots slots;
    size_t found;
    size_t failed;
};

struct lookup {
    struct run *run;
    char name[NAME_MAX_LENGTH + 1];
};

static void print_addresses(const char *name, const struct addrinfo *list)
{
    const char *separator = " -> ";
    fputs(name, stdout);
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        char text[64];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0,
                        NI_NUMERICHOST) == 0) {
            printf("%s%s", separator, text);
            separator = ", ";
        }
    }
    putchar('\n');
}

/* One name. The argument is on this greenlet's own stack. */
static void *look_up(void *arg)
{
    struct lookup *self = arg;
    struct run *run = self->run;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    gev_timeout limit = {0};

    int code = EAI_SYSTEM;
    if (gev_timeout_begin(&limit, run->timeout) == 0) {
        code = gev_getaddrinfo(self->name, NULL, &hints, &list);
    }
    const int error = errno;
    gev_timeout_end(&limit);

    if (code == 0) {
        print_addresses(self->name, list);
        gev_freeaddrinfo(list);
        run->found++;
    } else {
        printf("%s: %s\n", self->name,
               code == EAI_SYSTEM ? gev_strerror(error) : gai_strerror(code));
        run->failed++;
    }
    slot_give(&run->slots);
    return NULL;
}

/* Begins to look a name up, as soon as there is a slot for it. */
static int submit(struct run *run, const char *name, size_t length)
{
    struct lookup lookup = {.run = run};
    if (length > NAME_MAX_LENGTH || memchr(name, '\0', length) != NULL) {
        printf("%.*s...: not a name\n", length < 40 ? (int)length : 40, name);
        run->failed++;
        return 0;
    }
    memcpy(lookup.name, name, length);
    if (slot_take(&run->slots, GEV_FOREVER) < 0) {
        return -1;
    }
    gev_greenlet *g = gev_spawn_copy(look_up, &lookup, sizeof(lookup));
    if (g == NULL) {
        slot_give(&run->slots);
        return -1;
    }
    gev_unref(g);
    return 0;
}

/* A line of input as far as it came; one byte more than a name may have, which
 * stands for any number of them. */
struct line {
    char text[NAME_MAX_LENGTH + 1];
    size_t length;
};

/* Blanks around a name and empty lines do not count. */
static int submit_line(struct run *run, struct line *line)
{
    size_t length = line->length;
    while (length > 0 && strchr(" \t\r", line->text[length - 1]) != NULL) {
        length--;
    }
    line->length = 0;
    return length > 0 ? submit(run, line->text, length) : 0;
}

static int submit_bytes(struct run *run, struct line *line, const char *bytes,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char c = bytes[i];
        if (c == '\n') {
            if (submit_line(run, line) < 0) {
                return -1;
            }
        } else if (line->length < sizeof(line->text) &&
                   (line->length > 0 || (c != ' ' && c != '\t'))) {
            line->text[line->length++] = c;
        }
    }
    return 0;
}

/* Waits for input as a greenlet does, so that look-ups go on meanwhile; stdin
 * may be a pipe or a terminal that has nothing to say for a long time. */
static int submit_input(struct run *run)
{
    struct line line = {.length = 0};
    for (;;) {
        char buffer[4096];
        if (gev_wait_fd(STDIN_FILENO, GEV_READ, GEV_FOREVER) < 0) {
            return -1;
        }
        const ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
        if (n == 0) {
            return submit_line(run, &line); /* may lack its end */
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -1;
        }
        if (n > 0 && submit_bytes(run, &line, buffer, (size_t)n) < 0) {
            return -1;
        }
    }
}

static int submit_arguments(struct run *run, char *const names[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (submit(run, names[i], strlen(names[i])) < 0) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct run run = {.timeout = 10, .slots = {.total = 50}};
    int option;
    while ((option = next_option(argc, argv, "hc:t:")) != -1) {
        switch (option) {
        case 'c':
            run.slots.total = (size_t)parse_count("-c", optarg, 1, 10000);
            break;
        case 't':
            run.timeout = parse_number("-t", optarg, 0.001, 1e6);
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line as it comes */
    const size_t n = (size_t)(argc - optind);
    const double start = now();
    int status = EXIT_SUCCESS;
    if ((n > 0 ? submit_arguments(&run, argv + optind, n)
               : submit_input(&run)) < 0 ||
        slots_drain(&run.slots, GEV_FOREVER) < 0) {
        perror("resolve");
        status = EXIT_FAILURE;
    }
    fprintf(stderr, "%zu found, %zu failed in %.3f s\n", run.found, run.failed,
            now() - start);
    if (run.failed > 0) {
        status = EXIT_FAILURE;
    }
    gev_hub_close();
    return end_output(status);
}
