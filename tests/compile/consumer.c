/* SPDX-License-Identifier: MIT */
/* A program of somebody who has gev installed: built through pkg-config by
 * .ci/steps/install, shared and static, as C and as C++. */
#include <gev.h>

#include <stdio.h>
#include <string.h>

static void *add_one(void *arg)
{
    gev_yield();
    *(int *)arg += 1;
    return arg;
}

int main(void)
{
    int number = 41;
    void *value = NULL;

    if (strcmp(gev_version(), GEV_VERSION) != 0) {
        fprintf(stderr, "header %s, library %s\n", GEV_VERSION, gev_version());
        return 1;
    }
    gev_greenlet *g = gev_spawn(add_one, &number);
    if (g == NULL || gev_get(g, &value, GEV_FOREVER) != 0) {
        perror("gev");
        return 1;
    }
    gev_unref(g);
    if (value != &number || number != 42 || gev_hub_close() != 0) {
        fprintf(stderr, "wrong result\n");
        return 1;
    }
    puts(gev_build_info());
    return 0;
}
