/* SPDX-License-Identifier: MIT */

/* What a client remembers of the servers it has talked to, so that the next
 * handshake is short. The lock is the configuration's. */
#include "tls/tls.h"

#include <string.h>

#include <openssl/err.h>

/* All together, and of one server: a server gives out several at once, and of
 * TLS 1.3 each is good for one connection. */
#define SESSIONS_MAX 256
#define SESSIONS_A_SERVER 4

struct kept {
    char *server;
    SSL_SESSION *session;
};

/* kept[0 .. n), the oldest first. */
struct gev__tls_sessions {
    size_t n;
    struct kept kept[SESSIONS_MAX];
};

struct gev__tls_sessions *gev__tls_sessions_new(void)
{
    return OPENSSL_zalloc(sizeof(struct gev__tls_sessions));
}

static void free_kept(struct kept *k)
{
    OPENSSL_free(k->server);
    SSL_SESSION_free(k->session);
}

static void forget(struct gev__tls_sessions *cache, size_t i)
{
    free_kept(&cache->kept[i]);
    cache->n--;
    memmove(&cache->kept[i], &cache->kept[i + 1],
            (cache->n - i) * sizeof(cache->kept[0]));
}

void gev__tls_sessions_clear(struct gev__tls_sessions *cache)
{
    while (cache->n > 0) {
        free_kept(&cache->kept[--cache->n]);
    }
}

void gev__tls_sessions_free(struct gev__tls_sessions *cache)
{
    if (cache != NULL) {
        gev__tls_sessions_clear(cache);
        OPENSSL_free(cache);
    }
}

/* Makes room for one more of that server. */
static void make_room(struct gev__tls_sessions *cache, const char *server)
{
    size_t same = 0;

    for (size_t i = cache->n; i-- > 0;) {
        if (strcmp(cache->kept[i].server, server) == 0 &&
            ++same >= SESSIONS_A_SERVER) {
            forget(cache, i);
        }
    }
    if (cache->n == SESSIONS_MAX) {
        forget(cache, 0);
    }
}

bool gev__tls_sessions_put(struct gev__tls_sessions *cache, const char *server,
                           SSL_SESSION *session)
{
    /* OpenSSL calls: its queue is to stay as it is. */
    ERR_set_mark();
    char *copy = OPENSSL_strdup(server);
    ERR_pop_to_mark();
    if (copy == NULL) {
        return false;
    }
    make_room(cache, server);
    cache->kept[cache->n++] = (struct kept){copy, session};
    return true;
}

SSL_SESSION *gev__tls_sessions_take(struct gev__tls_sessions *cache,
                                    const char *server)
{
    for (size_t i = cache->n; i-- > 0;) {
        if (strcmp(cache->kept[i].server, server) != 0) {
            continue;
        }
        SSL_SESSION *session = cache->kept[i].session;
        if (!SSL_SESSION_is_resumable(session)) {
            forget(cache, i);
            continue;
        }
        SSL_SESSION_up_ref(session);
        if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION) {
            forget(cache, i);
        }
        return session;
    }
    return NULL;
}
