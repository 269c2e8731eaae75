/* SPDX-License-Identifier: MIT */

/* A process's pipes, and what has gone through them: nothing here parks. What
 * was read is the process's, and so is what has not been written. */
#include "os/process.h"

#include "base/alloc.h"
#include "base/quiet.h"
#include "base/sys.h"
#include "hub/fd.h"

#include <string.h>

#define ROOM_FIRST ((size_t)4096) /* of an output */
#define ROOM_LEAST ((size_t)2048) /* to read into */
/* What may be left in a pipe whose writers are dead: its largest size. */
#define BYTES_LEFT ((size_t)1 << 20)

void gev__process_close_pipe(struct gev_process *p, int which)
{
    struct gev_hub *hub = gev__thread_hub;
    int fd = p->pipes[which];

    if (fd < 0) {
        return;
    }
    p->pipes[which] = -1;
    if (hub != NULL) {
        gev__fd_forget(hub, fd);
    }
    gev__sys_close(fd);
}

/* Writes what fits. Bytes moved, 0 if none could be; or -errno. */
static ssize_t feed(struct gev_process *p)
{
    struct gev__input *in = &p->input;
    struct gev__quiet quiet;

    if (p->pipes[0] < 0) {
        return 0;
    }
    ssize_t n = 0;
    if (in->done < in->len) {
        gev__quiet_begin(&quiet);
        n = gev__sys_write(p->pipes[0], in->data + in->done,
                           in->len - in->done);
        gev__quiet_end(&quiet, n);
    }
    if (n == -EPIPE) {
        in->done = in->len; /* it wants no more */
        n = 0;
    } else if (n > 0) {
        in->done += (size_t)n;
    }
    if (in->done == in->len) {
        gev__process_close_pipe(p, 0);
    }
    return n == -EAGAIN ? 0 : n;
}

/* Room to read into, and for the NUL. */
static int make_room(struct gev__output *out)
{
    if (out->capacity - out->len > ROOM_LEAST) {
        return 0;
    }
    size_t capacity = out->capacity == 0 ? ROOM_FIRST : out->capacity * 2;
    char *data = gev__realloc(out->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    out->data = data;
    out->capacity = capacity;
    return 0;
}

/* Reads what is there, once. As feed(). */
static ssize_t drink(struct gev_process *p, int which)
{
    struct gev__output *out = &p->outputs[which - 1];

    if (p->pipes[which] < 0) {
        return 0;
    }
    ssize_t n = make_room(out);
    if (n < 0) {
        return n;
    }
    n = gev__sys_read(p->pipes[which], out->data + out->len,
                      out->capacity - out->len - 1);
    if (n > 0) {
        out->len += (size_t)n;
    } else if (n == 0) {
        gev__process_close_pipe(p, which);
    }
    return n == -EAGAIN ? 0 : n;
}

void gev__process_drain(struct gev_process *p)
{
    for (int which = 1; which <= 2; which++) {
        size_t total = 0;
        ssize_t n;
        /* No more than that: somebody may still be writing. */
        while (total < BYTES_LEFT && (n = drink(p, which)) > 0) {
            total += (size_t)n;
        }
    }
}

ssize_t gev__process_move(struct gev_process *p)
{
    ssize_t fed = feed(p);
    ssize_t out = fed < 0 ? fed : drink(p, 1);
    ssize_t err = out < 0 ? out : drink(p, 2);

    return err < 0 ? err : fed + out + err;
}

bool gev__process_has_pipe(const struct gev_process *p)
{
    return p->pipes[0] >= 0 || p->pipes[1] >= 0 || p->pipes[2] >= 0;
}

/* --- what goes in -------------------------------------------------------- */

int gev__process_begin_input(struct gev_process *p,
                             const struct gev__input *input, bool copy)
{
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = p->piped[i + 1] ? make_room(&p->outputs[i]) : 0;
    }
    if (rc < 0 || p->fed) {
        return rc;
    }
    p->input = *input;
    if (copy && input->len > 0) {
        p->input.copy = gev__malloc(input->len); /* not touched yet */
        if (p->input.copy == NULL) {
            return -ENOMEM;
        }
    }
    p->fed = true;
    return 0;
}

void gev__process_keep_input(struct gev_process *p)
{
    struct gev__input *in = &p->input;

    if (in->copy != NULL && in->data != in->copy) {
        memcpy(in->copy + in->done, in->data + in->done, in->len - in->done);
        in->data = in->copy;
    }
}

void gev__process_drop_input(struct gev_process *p)
{
    gev__free(p->input.copy);
    p->input = (struct gev__input){.data = NULL};
}

/* --- what came out -------------------------------------------------------- */

static char *take_text(struct gev__output *out, size_t *ret_len)
{
    char *text = out->data;

    *ret_len = out->len;
    if (text != NULL) {
        text[out->len] = '\0';
        if (out->capacity - out->len > ROOM_FIRST) {
            char *smaller = gev__realloc(text, out->len + 1);
            text = smaller != NULL ? smaller : text;
        }
    }
    *out = (struct gev__output){.data = NULL};
    return text;
}

void gev__process_take_result(struct gev_process *p,
                              gev_process_result *ret_result)
{
    if (ret_result != NULL) {
        ret_result->status = p->ended ? p->status : -1;
        ret_result->out = take_text(&p->outputs[0], &ret_result->out_len);
        ret_result->err = take_text(&p->outputs[1], &ret_result->err_len);
    }
}

void gev__process_free_texts(struct gev_process *p)
{
    gev__process_drop_input(p);
    for (int i = 0; i < 2; i++) {
        gev__free(p->outputs[i].data);
        p->outputs[i] = (struct gev__output){.data = NULL};
    }
}
