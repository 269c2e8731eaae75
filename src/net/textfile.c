/* SPDX-License-Identifier: MIT */
#include "net/textfile.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

/* A file system's time stamps step by up to this: two changes within it look
 * like one. */
#define STAMP_STEP 2 /* seconds */

#define SIZE_MAX_READ ((size_t)64 * 1024 * 1024)

static bool is_equal_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct gev__file_version *a,
                    const struct gev__file_version *b)
{
    if (a->exists != b->exists) {
        return false;
    }
    return !a->exists ||
           (a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
            is_equal_time(a->mtime, b->mtime) &&
            is_equal_time(a->ctime, b->ctime));
}

bool gev__file_changed(const char *path, struct gev__file_version *version)
{
    struct gev__file_version now = {.seen = true};
    struct stat st;

    if (stat(path, &st) == 0) {
        now.exists = true;
        now.young = time(NULL) - st.st_ctime <= STAMP_STEP;
        now.dev = st.st_dev;
        now.ino = st.st_ino;
        now.size = st.st_size;
        now.mtime = st.st_mtim;
        now.ctime = st.st_ctim;
    }
    bool changed = !version->seen || version->young || !is_same(version, &now);
    *version = now;
    return changed;
}

/* Reads until the end; the file may grow or shrink meanwhile. */
static int read_all(int fd, size_t expected, char **ret_text, size_t *ret_size)
{
    size_t room = expected + 1;
    size_t size = 0;
    char *text = gev__malloc(room);
    int rc = 0;

    if (text == NULL) {
        return -ENOMEM;
    }
    for (;;) {
        if (size + 1 == room) {
            char *more =
                room > SIZE_MAX_READ ? NULL : gev__realloc(text, room * 2);
            if (more == NULL) {
                rc = room > SIZE_MAX_READ ? -EFBIG : -ENOMEM;
                break;
            }
            text = more;
            room *= 2;
        }
        ssize_t n = gev__sys_read(fd, text + size, room - size - 1);
        if (n <= 0) {
            rc = (int)n;
            break;
        }
        size += (size_t)n;
    }
    if (rc < 0) {
        gev__free(text);
        return rc;
    }
    text[size] = '\0';
    *ret_text = text;
    *ret_size = size;
    return 0;
}

static int read_none(char **ret_text, size_t *ret_size)
{
    *ret_text = gev__calloc(1, 1);
    *ret_size = 0;
    return *ret_text != NULL ? 0 : -ENOMEM;
}

int gev__file_read(const char *path, char **ret_text, size_t *ret_size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return read_none(ret_text, ret_size);
    }
    int rc = gev__sys_fstat(fd, &st);
    if (rc == 0) {
        rc = S_ISREG(st.st_mode)
                 ? read_all(fd, (size_t)st.st_size, ret_text, ret_size)
                 : read_none(ret_text, ret_size);
    }
    (void)gev__sys_close(fd);
    return rc;
}

static const char blanks[] = " \t\r\v\f";

char *gev__text_word(char **text)
{
    char *word = *text + strspn(*text, blanks);
    char *end = word + strcspn(word, blanks);

    if (word == end) {
        return NULL;
    }
    *text = end;
    if (*end != '\0') {
        *end = '\0';
        *text = end + 1;
    }
    return word;
}

char *gev__text_line(char **text)
{
    char *line = *text;

    if (*line == '\0') {
        return NULL;
    }
    char *end = strchrnul(line, '\n');
    *text = end;
    if (*end != '\0') {
        *end = '\0';
        *text = end + 1;
    }
    return line;
}
