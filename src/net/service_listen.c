/* SPDX-License-Identifier: MIT */

/* Services: bound descriptors. */
#include "net/service.h"

#include "base/error.h"
#include "base/sys.h"
#include "hub/fd.h"
#include "net/listen.h"
#include "net/socket.h"

#include <netinet/in.h>

#define BACKLOG 1024
#define UNIX_MODE 0600

/* --- the file of a Unix socket -------------------------------------------- */

/* It may be somebody else's by now, who took a path over that seemed stale, and
 * of a forked child it never was. */
static bool is_ours(const struct gev__service *v)
{
    const struct gev__socket_file *file = &v->file;
    struct stat st;

    return file->process == gev__sys_getpid() &&
           gev__sys_lstat(v->opts.unix_path, &st) == 0 &&
           st.st_dev == file->device && st.st_ino == file->inode;
}

static void note_file(struct gev__service *v)
{
    struct stat st;

    v->file = (struct gev__socket_file){.process = 0};
    if (gev__sys_lstat(v->opts.unix_path, &st) == 0) {
        v->file = (struct gev__socket_file){
            .device = st.st_dev,
            .inode = st.st_ino,
            .process = gev__sys_getpid(),
        };
    }
}

/* --- descriptors ---------------------------------------------------------- */

/* A bound socket of the right kind; one that listens already keeps its backlog
 * unless another is wanted. */
static int adopt_listener(struct gev__service *v, int *ret_fd)
{
    int fd = v->opts.listen_fd;
    struct gev__fd *entry;
    int type = 0;
    int listens = 0;
    socklen_t len = sizeof(int);

    if (fd == -1) {
        return -EBADF; /* it was the caller's once */
    }
    int rc = gev__fd_adopt(v->hub, fd, &entry);
    if (rc == 0) {
        rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    }
    if (rc == 0 && type != v->ops->type) {
        rc = -EINVAL;
    }
    if (rc == 0 && type == SOCK_STREAM) {
        len = sizeof(int);
        rc = gev__sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
        if (rc == 0 && (!listens || v->opts.backlog > 0)) {
            rc = gev__sys_listen(fd, v->opts.backlog == 0 ? BACKLOG
                                                          : v->opts.backlog);
        }
    }
    *ret_fd = fd;
    return rc < 0 ? rc : 1;
}

int gev__listeners_open(struct gev__service *v, int *fds)
{
    const gev_server_opts *o = &v->opts;

    if (o->listen_fd != 0) {
        return adopt_listener(v, fds);
    }
    int backlog = o->backlog == 0 ? BACKLOG : o->backlog;
    if (o->unix_path != NULL) {
        int rc = gev__bind_path(v->hub, v->ops->type, o->unix_path, backlog,
                                UNIX_MODE);
        fds[0] = rc;
        if (rc < 0) {
            return rc;
        }
        note_file(v);
        return 1;
    }
    return gev__bind_all(v->hub, v->ops->type, o->host, o->service, backlog,
                         o->reuse_port, fds, GEV__LISTENERS);
}

void gev__listeners_discard(struct gev__service *v, const int *fds, size_t n)
{
    if (v->opts.unix_path != NULL && n > 0 && is_ours(v)) {
        gev__sys_unlink(v->opts.unix_path);
    }
    for (size_t i = 0; i < n; i++) {
        gev__close(v->hub, fds[i]);
    }
}

void gev__listeners_close(struct gev__service *v)
{
    int fds[GEV__LISTENERS];
    size_t n = v->n_listeners;

    for (size_t i = 0; i < n; i++) {
        fds[i] = v->listeners[i].fd;
    }
    v->n_listeners = 0;
    gev__listeners_discard(v, fds, n);
}

int gev__service_fd(const struct gev__service *v)
{
    return v->state == GEV__SERVICE_ON ? v->listeners[0].fd : -ENOTCONN;
}

int gev__service_port(const struct gev__service *v)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int fd = gev__service_fd(v);

    if (fd < 0 ||
        gev__sys_getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
        return -ENOTCONN;
    }
    if (addr.ss_family == AF_INET) {
        return ntohs(((struct sockaddr_in *)(void *)&addr)->sin_port);
    }
    if (addr.ss_family == AF_INET6) {
        return ntohs(((struct sockaddr_in6 *)(void *)&addr)->sin6_port);
    }
    return -ENOTCONN;
}
