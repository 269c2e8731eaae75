/* SPDX-License-Identifier: MIT */

/* TLS in a page: a server that sends lines back, and a client for it. */
#include <gev.h>
#include <gev/tls.h>

#include "example.h"

#include <signal.h>
#include <string.h>

static const char help[] =
    "usage: tls_echo -s -C cert.pem -K key.pem [-a ca.pem] [-p port]\n"
    "       tls_echo [-a ca.pem] [-C cert.pem -K key.pem] HOST PORT\n"
    "With -s a server that sends back each line it gets, until SIGTERM or\n"
    "SIGINT; SIGHUP has it read its certificate anew. Without, a client that\n"
    "sends its standard input and prints what comes back.\n"
    "  -C FILE  certificate, with the chain (PEM)\n"
    "  -K FILE  its key\n"
    "  -a FILE  authorities; a client's default are the system's, a server\n"
    "           with -a refuses clients without a certificate\n"
    "  -p PORT  where the server listens, or 0 for any that is free (0)\n"
    "  -i       client: do not verify the server. For tests\n";

#define LINE_MAX_BYTES 65536

static void print_tls_error(const char *what)
{
    const int error = errno;
    const char *reason = gev_tls_reason();
    fprintf(stderr, "%s: %s%s%s\n", what, gev_strerror(error),
            *reason != '\0' ? ": " : "", reason);
}

/* --- The server ------------------------------------------------------------
 */

/* The handshake is over; who failed it never comes here. */
static void echo(gev_stream *conn, const struct sockaddr *peer, void *arg)
{
    char *line;
    ssize_t n;
    (void)peer;
    (void)arg;
    printf("%s, %s%s\n", gev_tls_version(conn), gev_tls_cipher(conn),
           gev_tls_resumed(conn) ? ", resumed" : "");
    while ((n = gev_stream_read_line(conn, &line, LINE_MAX_BYTES)) > 0) {
        if (gev_stream_write(conn, line, (size_t)n) < 0 ||
            gev_stream_flush(conn) < 0) {
            return;
        }
    }
}

struct service {
    gev_server *server;
    gev_tls *tls;
};

static void *stop_on_terminate(void *arg)
{
    struct service *v = arg;
    if (gev_wait_signal(SIGTERM, GEV_FOREVER) == 0) {
        gev_server_stop(v->server, 1);
    }
    return NULL;
}

static void *stop_on_interrupt(void *arg)
{
    struct service *v = arg;
    if (gev_wait_signal(SIGINT, GEV_FOREVER) == 0) {
        gev_server_stop(v->server, 1);
    }
    return NULL;
}

static void *reload_on_hangup(void *arg)
{
    struct service *v = arg;
    while (gev_wait_signal(SIGHUP, GEV_FOREVER) == 0) {
        if (gev_tls_reload(v->tls) < 0) {
            print_tls_error("reloading"); /* and the old one stays */
        } else {
            puts("reloaded");
        }
    }
    return NULL;
}

static int serve(const gev_tls_opts *tls_opts, const char *port)
{
    int status = EXIT_FAILURE;
    struct service v = {.tls = gev_tls_server(tls_opts)};
    if (v.tls == NULL) {
        print_tls_error("certificate");
        return EXIT_FAILURE;
    }
    const gev_server_opts opts = {
        .size = sizeof(opts), .service = port, .tls = v.tls};
    v.server = gev_server_new(&opts, echo, NULL);
    if (v.server == NULL || gev_server_start(v.server) < 0 ||
        gev_spawn_raw(stop_on_terminate, &v) < 0 ||
        gev_spawn_raw(stop_on_interrupt, &v) < 0 ||
        gev_spawn_raw(reload_on_hangup, &v) < 0) {
        fprintf(stderr, "port %s: %s\n", port, gev_strerror(errno));
    } else {
        printf("listening on port %d\n", gev_server_port(v.server));
        if (gev_server_serve(v.server) == 0) {
            status = EXIT_SUCCESS;
        } else {
            perror("serving");
        }
    }
    gev_server_free(v.server);
    gev_tls_unref(v.tls);
    return status;
}

/* --- The client ------------------------------------------------------------
 */

/* Writes while main reads: two greenlets, one connection. */
static void *send_input(void *arg)
{
    gev_stream *s = arg;
    char buffer[8192];
    ssize_t n;
    while ((n = gev_read(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
        if (gev_stream_write(s, buffer, (size_t)n) < 0 ||
            gev_stream_flush(s) < 0) {
            return gev_fail(errno);
        }
    }
    return gev_stream_shutdown(s) < 0 ? gev_fail(errno) : NULL;
}

static int talk(gev_stream *s)
{
    char buffer[8192];
    ssize_t n;
    gev_greenlet *sender = gev_spawn(send_input, s);
    if (sender == NULL) {
        return -1;
    }
    while ((n = gev_stream_read(s, buffer, sizeof(buffer))) > 0) {
        fwrite(buffer, 1, (size_t)n, stdout);
    }
    const int error = errno;
    gev_kill(sender, GEV_FOREVER);
    gev_unref(sender);
    errno = error;
    return n < 0 ? -1 : 0;
}

static int run_client(const gev_tls_opts *opts, const char *host,
                      const char *port)
{
    int status = EXIT_FAILURE;
    gev_tls *tls = gev_tls_client(opts);
    gev_stream *s = tls == NULL ? NULL : gev_tls_connect(tls, host, port, 10);
    if (s == NULL) {
        print_tls_error(host);
    } else if (talk(s) < 0) {
        print_tls_error("receiving");
    } else {
        status = EXIT_SUCCESS;
    }
    gev_stream_close(s);
    gev_tls_unref(tls);
    return status;
}

int main(int argc, char **argv)
{
    gev_tls_opts tls = {.size = sizeof(tls)};
    const char *port = "0";
    bool is_server = false;
    int option;
    while ((option = next_option(argc, argv, "hsa:C:K:p:i")) != -1) {
        switch (option) {
        case 's':
            is_server = true;
            break;
        case 'a':
            tls.ca_file = optarg;
            break;
        case 'C':
            tls.cert_file = optarg;
            break;
        case 'K':
            tls.key_file = optarg;
            break;
        case 'p':
            parse_count("-p", optarg, 0, 65535);
            port = optarg;
            break;
        case 'i':
            tls.flags |= GEV_TLS_INSECURE;
            break;
        case 'h':
            return print_help(help);
        default:
            return bad_usage(argv[0]);
        }
    }
    if (argc - optind != (is_server ? 0 : 2)) {
        return bad_usage(argv[0]);
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line as it comes */
    allow_many_files();
    if (is_server && tls.ca_file != NULL) {
        tls.flags |= GEV_TLS_CLIENT_CERT;
    }
    const int status = is_server
                           ? serve(&tls, port)
                           : run_client(&tls, argv[optind], argv[optind + 1]);
    gev_hub_close();
    return status;
}
