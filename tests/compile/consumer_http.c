/* SPDX-License-Identifier: MIT */
/* As consumer.c, of gev-http. */
#include <gev.h>
#include <gev/http.h>

#include <stdio.h>
#include <string.h>

static int greet(gev_http *h, void *arg)
{
    const char *text = (const char *)arg;

    return gev_http_reply(h, 200, "text/plain", text, strlen(text));
}

int main(void)
{
    char text[] = "hello", service[16], got[512];
    gev_server_opts opts;

    memset(&opts, 0, sizeof(opts));
    opts.size = sizeof(opts);
    opts.host = "127.0.0.1";
    gev_server *s = gev_http_server_new(&opts, NULL, greet, text);
    if (s == NULL || gev_server_start(s) != 0) {
        perror("gev_http_server_new");
        return 1;
    }
    snprintf(service, sizeof(service), "%d", gev_server_port(s));
    int fd = gev_tcp_connect("127.0.0.1", service, 10);
    gev_send_all(fd, "GET / HTTP/1.0\r\n\r\n", 18);
    ssize_t n = gev_recv(fd, got, sizeof(got) - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    gev_close(fd);
    gev_server_free(s);
    puts(got);
    return strstr(got, "200 OK") == NULL || gev_hub_close() != 0;
}
