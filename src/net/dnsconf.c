/* SPDX-License-Identifier: MIT */
#include "net/dnsconf.h"

#include "base/alloc.h"
#include "base/error.h"
#include "net/textfile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* c-ares's own since 1.20. With one server a look-up ends after 2 + 4 + 8
 * seconds at the latest. */
#define DEFAULT_TIMEOUT 2000
#define DEFAULT_TRIES 3

/* What resolv.conf(5) allows at most. */
#define CONF_TIMEOUT_MAX 30000
#define CONF_TRIES_MAX 5

static int get_copy(const char *name, const char *otherwise, char **ret_copy)
{
    const char *value = secure_getenv(name);

    if (value == NULL || *value == '\0') {
        value = otherwise;
    }
    *ret_copy = NULL;
    if (value != NULL) {
        *ret_copy = gev__strdup(value);
        return *ret_copy != NULL ? 0 : -ENOMEM;
    }
    return 0;
}

/* A number over 0 and up to max, times scale, rounded up; 0: not set. */
static int get_number(const char *name, double max, double scale, int *ret)
{
    const char *value = secure_getenv(name);
    char *end;

    *ret = 0;
    if (value == NULL || *value == '\0') {
        return 0;
    }
    double number = strtod(value, &end);
    if (*end != '\0' || !(number > 0 && number <= max)) {
        return -EINVAL;
    }
    *ret = (int)ceil(number * scale);
    return 0;
}

int gev__dns_conf_load(struct gev__dns_conf *c)
{
    *c = (struct gev__dns_conf){.servers = NULL};
    int rc = get_copy("GEV_DNS_SERVERS", NULL, &c->servers);
    if (rc == 0) {
        rc = get_copy("GEV_DNS_HOSTS", "/etc/hosts", &c->hosts);
    }
    if (rc == 0) {
        rc = get_copy("GEV_DNS_RESOLV_CONF", "/etc/resolv.conf",
                      &c->resolv_conf);
    }
    if (rc == 0) {
        rc = get_number("GEV_DNS_TIMEOUT", 3600, 1000, &c->timeout);
    }
    if (rc == 0) {
        rc = get_number("GEV_DNS_TRIES", 100, 1, &c->tries);
    }
    if (rc < 0) {
        gev__dns_conf_fini(c);
    }
    return rc;
}

void gev__dns_conf_fini(struct gev__dns_conf *c)
{
    gev__free(c->servers);
    gev__free(c->hosts);
    gev__free(c->resolv_conf);
    *c = (struct gev__dns_conf){.servers = NULL};
}

/* The number behind the last word of text that begins with option; 0: none. */
static long find_option(const char *text, const char *option)
{
    const size_t len = strlen(option);
    long found = 0;

    while (*text != '\0') {
        text += strspn(text, " \t\r");
        if (strncmp(text, option, len) == 0) {
            long number = strtol(text + len, NULL, 10);
            found = number > 0 ? number : found;
        }
        text += strcspn(text, " \t\r");
    }
    return found;
}

static int at_most(long number, int max)
{
    return number < max ? (int)number : max;
}

/* Both of libc's and of c-ares's spelling; the latter counts milliseconds. */
static void take_options(const char *text, int *timeout, int *tries)
{
    long seconds = at_most(find_option(text, "timeout:"), CONF_TIMEOUT_MAX);
    long ms = find_option(text, "retrans:");
    long attempts = find_option(text, "attempts:");
    long retries = find_option(text, "retry:");

    if (*timeout == 0) {
        *timeout = at_most(ms > 0 ? ms : seconds * 1000, CONF_TIMEOUT_MAX);
    }
    if (*tries == 0) {
        *tries = at_most(retries > 0 ? retries : attempts, CONF_TRIES_MAX);
    }
}

int gev__dns_conf_patience(const struct gev__dns_conf *c, int *ret_timeout,
                           int *ret_tries)
{
    static const char keyword[] = "options";
    const char *environment = secure_getenv("RES_OPTIONS");
    int timeout = c->timeout;
    int tries = c->tries;
    char *text;
    char *line;
    size_t size;

    int rc = gev__file_read(c->resolv_conf, &text, &size);
    if (rc < 0) {
        return rc;
    }
    if (environment != NULL) {
        take_options(environment, &timeout, &tries);
    }
    char *rest = text;
    while ((line = gev__text_line(&rest)) != NULL) {
        char *word = gev__text_word(&line);
        if (word != NULL && strcmp(word, keyword) == 0) {
            take_options(line, &timeout, &tries);
        }
    }
    gev__free(text);
    *ret_timeout = timeout > 0 ? timeout : DEFAULT_TIMEOUT;
    *ret_tries = tries > 0 ? tries : DEFAULT_TRIES;
    return 0;
}
