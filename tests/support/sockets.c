/* SPDX-License-Identifier: MIT */
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void test_pair(int type, int fds[2])
{
    expect_ok(gev_socketpair(AF_UNIX, type, 0, fds));
}

void test_close_both(const int fds[2])
{
    expect_ok(gev_close(fds[0]));
    expect_ok(gev_close(fds[1]));
}

struct sockaddr_in test_loopback(void)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
}

void test_expect_flags(int fd)
{
    expect_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    expect_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

void test_make_path(char path[108])
{
    strcpy(path, "/tmp/gev-test-XXXXXX");
    close(mkstemp(path));
    unlink(path);
}

static gev_stats stats(void)
{
    gev_stats s = {.size = sizeof(s)};
    gev_hub_stats(gev_hub_get(), &s);
    return s;
}

uint64_t test_turns(void)
{
    return stats().turns;
}

uint64_t test_switches(void)
{
    return stats().switches;
}

void test_join(gev_greenlet *g)
{
    expect_ok(gev_join(g, GEV_FOREVER));
    gev_unref(g);
}

static void *note(struct test_call *c, ssize_t rc)
{
    c->rc = rc;
    c->error = errno;
    c->is_done = true;
    return NULL;
}

void *test_do_recv(void *call)
{
    struct test_call *c = call;
    return note(c, gev_recv(c->fd, c->buf, sizeof(c->buf), c->flags));
}

void *test_do_accept(void *call)
{
    struct test_call *c = call;
    return note(c, gev_accept(c->fd, NULL, NULL));
}
