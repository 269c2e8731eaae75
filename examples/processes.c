/* SPDX-License-Identifier: MIT */

/* Runs shell commands, several at once, each with a time limit, and prints a
 * table of how they ended. */
#include <gev.h>

#include "example.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static const char help[] =
    "usage: processes [-j jobs] [-t seconds] [-q] command...\n"
    "Runs each command in a shell, several at once, and prints a table.\n"
    "  -j N  how many at once, 1 to 10000 (4)\n"
    "  -t S  time limit of each, 0.001 to 86400 (10)\n"
    "  -q    does not print what they wrote\n"
    "Ends with 0 if all commands did, else with 1. An interrupt (^C) kills\n"
    "what runs, and starts no more.\n";

static double limit = 10;

/* One command, and what came of it. */
struct command {
    const char *text;
    struct slots *slots;
    gev_greenlet *greenlet; /* while it runs, and until all are joined */
    int error;              /* why gev_process_run() failed, or 0 */
    double seconds;
    gev_process_result result;
};

static void *run_command(void *arg)
{
    struct command *c = arg;
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"},
                          (char *)(uintptr_t)c->text, NULL};
    /* With a group of its own all that the shell started dies at the limit. */
    const gev_process_opts opts = {.size = sizeof(opts),
                                   .in = GEV_PROCESS_NULL,
                                   .out = GEV_PROCESS_PIPE,
                                   .err = GEV_PROCESS_STDOUT,
                                   .flags = GEV_PROCESS_NEW_GROUP};
    const double start = now();
    if (gev_process_run(argv, &opts, NULL, 0, &c->result, limit) < 0) {
        c->error = errno;
    }
    c->seconds = now() - start;
    slot_give(c->slots);
    return NULL;
}

static bool interrupted;
static gev_greenlet *main_greenlet;

/* Runs in a greenlet of its own when the signal comes. */
static void *on_interrupt(void *arg)
{
    interrupted = true;
    gev_kill(main_greenlet, 0);
    return arg;
}

/* How it ended, in a few letters. */
static const char *ending(const struct command *c, char *text, size_t size)
{
    if (c->error == ETIMEDOUT) {
        return "timeout";
    }
    if (c->error == ECANCELED) {
        return "killed";
    }
    if (c->error != 0) {
        return gev_strerror(c->error);
    }
    if (WIFSIGNALED(c->result.status)) {
        (void)snprintf(text, size, "signal %d", WTERMSIG(c->result.status));
    } else {
        (void)snprintf(text, size, "exit %d", WEXITSTATUS(c->result.status));
    }
    return text;
}

static void print_table(const struct command commands[], size_t n)
{
    char text[32];
    printf("%-10s %8s %10s  %s\n", "ended", "seconds", "bytes", "command");
    for (size_t i = 0; i < n; i++) {
        const struct command *c = &commands[i];
        printf("%-10s %8.3f %10zu  %s\n", ending(c, text, sizeof(text)),
               c->seconds, c->result.out_len, c->text);
    }
}

static void print_outputs(const struct command commands[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (commands[i].result.out_len > 0) {
            (void)fwrite(commands[i].result.out, 1, commands[i].result.out_len,
                         stdout);
        }
    }
}

/* Starts one after the other as slots become free; how many were started. */
static size_t start_all(struct command commands[], size_t n,
                        struct slots *slots)
{
    size_t started = 0;
    while (started < n && slot_take(slots, GEV_FOREVER) == 0) {
        struct command *c = &commands[started];
        c->slots = slots;
        c->greenlet = gev_spawn(run_command, c);
        if (c->greenlet == NULL) {
            perror("gev_spawn");
            break;
        }
        started++;
    }
    return started;
}

/* Waits for all of them, or kills them if there was an interrupt. */
static void finish_all(struct command commands[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!interrupted) {
            (void)gev_join(commands[i].greenlet, GEV_FOREVER);
        }
    }
    (void)gev_uncancel(); /* main was killed: that was to get here */
    for (size_t i = 0; i < n; i++) {
        (void)gev_kill(commands[i].greenlet, 0);
    }
    for (size_t i = 0; i < n; i++) {
        (void)gev_join(commands[i].greenlet, GEV_FOREVER);
        gev_unref(commands[i].greenlet);
    }
}

int main(int argc, char **argv)
{
    struct slots slots = {.total = 4};
    bool quiet = false;
    int option;
    while ((option = next_option(argc, argv, "+hj:t:q")) != -1) {
        switch (option) {
        case 'j':
            slots.total = (size_t)parse_count("-j", optarg, 1, 10000);
            break;
        case 't':
            limit = parse_number("-t", optarg, 0.001, 86400);
            break;
        case 'q':
            quiet = true;
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (optind == argc) {
        fputs("a command is needed\n", stderr);
        return bad_usage(argv[0]);
    }

    const size_t n = (size_t)(argc - optind);
    struct command *commands = calloc(n, sizeof(commands[0]));
    main_greenlet = gev_current();
    if (commands == NULL || main_greenlet == NULL ||
        gev_signal(SIGINT, on_interrupt, NULL) == NULL) {
        perror("processes");
        free(commands);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < n; i++) {
        commands[i].text = argv[optind + (int)i];
    }
    const size_t started = start_all(commands, n, &slots);
    finish_all(commands, started);

    if (!quiet) {
        print_outputs(commands, started);
    }
    print_table(commands, started);
    int status = started == n ? EXIT_SUCCESS : EXIT_FAILURE;
    for (size_t i = 0; i < started; i++) {
        if (commands[i].error != 0 || commands[i].result.status != 0) {
            status = EXIT_FAILURE;
        }
        gev_process_result_free(&commands[i].result);
    }
    free(commands);
    gev_hub_close();
    return end_output(status);
}
