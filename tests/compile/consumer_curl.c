/* SPDX-License-Identifier: MIT */
/* As consumer.c, of gev-curl: a transfer, of this file. */
#include <gev.h>
#include <gev/curl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char url[4096 + 64];
    char *path = realpath("tests/compile/consumer_curl.c", NULL);

    if (path == NULL) {
        perror("consumer_curl.c");
        return 1;
    }
    snprintf(url, sizeof(url), "file://%s", path);
    free(path);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    CURLcode rc = gev_curl_perform(easy);
    fprintf(stderr, "%s\n", curl_easy_strerror(rc));
    curl_easy_cleanup(easy);
    int closed = gev_hub_close();
    curl_global_cleanup();
    return rc != CURLE_OK || closed != 0;
}
