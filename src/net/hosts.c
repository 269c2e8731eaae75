/* SPDX-License-Identifier: MIT */
#include "net/hosts.h"

#include "base/alloc.h"
#include "base/error.h"

#include <string.h>
#include <strings.h>

struct gev__host {
    struct gev__addr addr;
    const char *name; /* the first on the line: the canonical one */
};

struct gev__host_name {
    const char *name;
    uint32_t hash;
    uint32_t host; /* index of its line */
    uint32_t next; /* index + 1 in the same bucket, in the file's order; 0: end
                    */
};

uint32_t gev__name_hash(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        if (c >= 'A' && c <= 'Z') {
            c = (unsigned char)(c | 0x20);
        }
        hash = (hash ^ c) * 16777619u;
    }
    return hash;
}

/* Makes room for one more, doubling. */
static int reserve(void **array, uint32_t count, size_t size)
{
    if (count != 0 && (count < 16 || (count & (count - 1)) != 0)) {
        return 0; /* not at a power of two: there is room */
    }
    size_t room = count < 16 ? 16 : (size_t)count * 2;
    void *p = gev__reallocarray(*array, room, size);
    if (p == NULL) {
        return -ENOMEM;
    }
    *array = p;
    return 0;
}

static int add_name(struct gev__hosts *h, const char *name)
{
    void *names = h->names;
    int rc = reserve(&names, h->n_names, sizeof(h->names[0]));

    h->names = names;
    if (rc < 0) {
        return rc;
    }
    h->names[h->n_names++] = (struct gev__host_name){
        .name = name, .hash = gev__name_hash(name), .host = h->n_hosts - 1};
    return 0;
}

static int add_line(struct gev__hosts *h, char *line)
{
    struct gev__host host = {.name = NULL};
    bool bad_zone;

    line[strcspn(line, "#")] = '\0';
    char *address = gev__text_word(&line);
    char *name = gev__text_word(&line);
    if (address == NULL || name == NULL ||
        !gev__addr_parse(address, &host.addr, &bad_zone) || bad_zone) {
        return 0; /* not ours to complain */
    }
    void *hosts = h->hosts;
    int rc = reserve(&hosts, h->n_hosts, sizeof(host));
    h->hosts = hosts;
    if (rc < 0) {
        return rc;
    }
    host.name = name;
    h->hosts[h->n_hosts++] = host;
    for (; rc == 0 && name != NULL; name = gev__text_word(&line)) {
        rc = add_name(h, name);
    }
    return rc;
}

/* Backwards, so that each chain is in the file's order. */
static int hash_names(struct gev__hosts *h)
{
    if (h->n_names == 0) {
        return 0;
    }
    uint32_t n = 16;
    while (n < h->n_names) {
        n *= 2;
    }
    h->buckets = gev__calloc(n, sizeof(h->buckets[0]));
    if (h->buckets == NULL) {
        return -ENOMEM;
    }
    h->n_buckets = n;
    for (uint32_t i = h->n_names; i > 0; i--) {
        uint32_t *bucket = &h->buckets[h->names[i - 1].hash & (n - 1)];
        h->names[i - 1].next = *bucket;
        *bucket = i;
    }
    return 0;
}

static int parse(struct gev__hosts *h, char *text)
{
    char *line;
    int rc = 0;

    h->text = text;
    while (rc == 0 && (line = gev__text_line(&text)) != NULL) {
        rc = add_line(h, line);
    }
    return rc == 0 ? hash_names(h) : rc;
}

int gev__hosts_update(struct gev__hosts *h, const char *path)
{
    struct gev__file_version version = h->version;
    struct gev__hosts fresh = {.text = NULL};
    char *text;
    size_t size;

    if (!gev__file_changed(path, &version)) {
        return 0;
    }
    int rc = gev__file_read(path, &text, &size);
    if (rc < 0) {
        return rc;
    }
    rc = parse(&fresh, text);
    if (rc < 0) {
        gev__hosts_fini(&fresh);
        return rc;
    }
    gev__hosts_fini(h);
    *h = fresh;
    h->version = version;
    return 0;
}

/* The next entry from index + 1 on for this name and family; NULL: none. */
static const struct gev__host *next_match(const struct gev__hosts *h,
                                          const char *name, uint32_t hash,
                                          int family, uint32_t *index)
{
    while (*index != 0) {
        const struct gev__host_name *n = &h->names[*index - 1];
        const struct gev__host *host = &h->hosts[n->host];
        *index = n->next;
        if (n->hash == hash && strcasecmp(n->name, name) == 0 &&
            (family == AF_UNSPEC || family == host->addr.family)) {
            return host;
        }
    }
    return NULL;
}

static void add_once(struct gev__answer *answer, const struct gev__addr *addr)
{
    for (unsigned i = 0; i < answer->count; i++) {
        if (gev__addr_is_equal(&answer->addrs[i], addr)) {
            return;
        }
    }
    answer->addrs[answer->count++] = *addr;
}

int gev__hosts_find(const struct gev__hosts *h, const char *name, int family,
                    struct gev__answer **ret_answer)
{
    uint32_t hash = gev__name_hash(name);
    size_t count = 0;
    const char *canonical = NULL;
    const struct gev__host *host;

    *ret_answer = NULL;
    if (h->n_buckets == 0) {
        return 0;
    }
    uint32_t first = h->buckets[hash & (h->n_buckets - 1)];
    uint32_t index = first;
    while ((host = next_match(h, name, hash, family, &index)) != NULL) {
        canonical = count++ == 0 ? host->name : canonical;
    }
    if (count == 0) {
        return 0;
    }
    struct gev__answer *answer = gev__answer_new(canonical, count);
    if (answer == NULL) {
        return -ENOMEM;
    }
    index = first;
    while ((host = next_match(h, name, hash, family, &index)) != NULL) {
        add_once(answer, &host->addr);
    }
    *ret_answer = answer;
    return 0;
}

const char *gev__hosts_name(const struct gev__hosts *h,
                            const struct gev__addr *addr)
{
    for (uint32_t i = 0; i < h->n_hosts; i++) {
        if (gev__addr_is_equal(&h->hosts[i].addr, addr)) {
            return h->hosts[i].name;
        }
    }
    return NULL;
}

void gev__hosts_fini(struct gev__hosts *h)
{
    gev__free(h->text);
    gev__free(h->hosts);
    gev__free(h->names);
    gev__free(h->buckets);
    *h = (struct gev__hosts){.text = NULL};
}
