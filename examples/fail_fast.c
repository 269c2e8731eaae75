/* SPDX-License-Identifier: MIT */

/* Tasks that stand or fall together: the first failure cancels the rest, and
 * nothing runs on when that is reported. */
#include "example.h"

static const char help[] =
    "usage: fail_fast [-n tasks] [-f which] [-d milliseconds]\n"
    "Runs tasks at once; number I takes I times the delay. When one fails, "
    "the\n"
    "others are cancelled, clean up, and are gone before the program goes on.\n"
    "  -n N  so many tasks, 1 to 1000 (6)\n"
    "  -f I  the task that fails; 0: none (3)\n"
    "  -d N  delay, 1 to 10000 milliseconds (100)\n"
    "Exit status: 0 if all tasks were done, 1 if one failed, 2 for bad "
    "usage.\n";

struct run {
    long failing;
    double delay;
    int done;
    int failed;
    int cancelled;
};

struct task {
    struct run *run;
    long number;
};

/* A cancelled task may still wait for something, if it says so. */
static void clean_up(void)
{
    gev_shield_begin();
    (void)gev_sleep(0.01);
    gev_shield_end();
}

static void *work(void *arg)
{
    const struct task *task = arg;
    struct run *run = task->run;

    if (gev_sleep((double)task->number * run->delay) < 0) {
        const int error = errno; /* ECANCELED: somebody else has failed */
        clean_up();
        printf("task %ld is cancelled\n", task->number);
        run->cancelled++;
        return gev_fail(error);
    }
    if (task->number == run->failing) {
        printf("task %ld fails\n", task->number);
        run->failed++;
        return gev_fail(EIO); /* this is what gev_group_join_error() gives */
    }
    printf("task %ld is done\n", task->number);
    run->done++;
    return NULL;
}

/* The failures are main's to report. */
static void say_nothing(gev_greenlet *g, int error, void *arg)
{
    (void)g;
    (void)error;
    (void)arg;
}

static int run_tasks(struct run *run, struct task *tasks, long n)
{
    gev_group *group = gev_group_new();
    if (group == NULL) {
        return -1;
    }
    int rc = 0;
    for (long i = 0; i < n && rc == 0; i++) {
        tasks[i] = (struct task){run, i + 1};
        rc = gev_group_spawn(group, work, &tasks[i]) == NULL ? -1 : 0;
    }
    if (rc == 0) {
        rc = gev_group_join_error(group, GEV_FOREVER);
    }
    const int error = errno;
    gev_group_free(group); /* kills and joins whatever an error left */
    errno = error;
    return rc;
}

int main(int argc, char **argv)
{
    struct run run = {.failing = 3, .delay = 0.1};
    long n = 6;
    int option;
    while ((option = next_option(argc, argv, "hn:f:d:")) != -1) {
        switch (option) {
        case 'h':
            return print_help(help);
        case 'n':
            n = parse_count("tasks", optarg, 1, 1000);
            break;
        case 'f':
            run.failing = parse_count("the failing task", optarg, 0, 1000);
            break;
        case 'd':
            run.delay = (double)parse_count("delay", optarg, 1, 10000) / 1000.0;
            break;
        default:
            return bad_usage(argv[0]);
        }
    }
    if (has_extra(argc, argv)) {
        return bad_usage(argv[0]);
    }
    struct task *tasks = calloc((size_t)n, sizeof(tasks[0]));
    if (tasks == NULL) {
        perror("calloc");
        return EXIT_FAILURE;
    }
    gev_set_error_handler(say_nothing, NULL);
    const double start = now();
    const int rc = run_tasks(&run, tasks, n);
    const int error = errno;
    const double seconds = now() - start;
    free(tasks);
    if (rc < 0) {
        printf("failed: %s\n", gev_strerror(error));
    }
    printf("%d done, %d failed, %d cancelled in %.3f s\n", run.done, run.failed,
           run.cancelled, seconds);
    const int closed = gev_hub_close();
    return rc == 0 && closed == 0 && fflush(stdout) == 0 ? EXIT_SUCCESS
                                                         : EXIT_FAILURE;
}
