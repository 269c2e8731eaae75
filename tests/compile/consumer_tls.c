/* SPDX-License-Identifier: MIT */
/* As consumer.c, of gev-tls: a client that believes what it should not. */
#include <gev.h>
#include <gev/tls.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    gev_tls_opts opts;

    memset(&opts, 0, sizeof(opts));
    opts.size = sizeof(opts);
    opts.ca_file = "/nonexistent";
    if (gev_tls_client(&opts) != NULL) {
        fprintf(stderr, "authorities from nowhere\n");
        return 1;
    }
    puts(gev_tls_reason());
    opts.ca_file = NULL;
    opts.flags = GEV_TLS_INSECURE;
    gev_tls *t = gev_tls_client(&opts);
    if (t == NULL) {
        perror("gev_tls_client");
        return 1;
    }
    gev_tls_unref(t);
    return gev_hub_close() != 0;
}
