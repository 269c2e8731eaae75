/* SPDX-License-Identifier: MIT */

/* TLS in a page: a server that sends lines back, and a client for it. */
#include <gev.h>
#include <gev/tls.h>

#include "example.h"
#include "serving.h"

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
#define GRACE 1.0 /* seconds that connections get to end when we stop */

static void print_tls_error(const char *what)
{
    const int error = errno;
    const char *reason = gev_tls_reason();
    fprintf(stderr, "%s: %s%s%s\n", what, gev_strerror(error),
            *reason != '\0' ? ": " : "", reason);
}

/* --- the server ----------------------------------------------------------- */

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

static void *reload(void *tls)
{
    if (gev_tls_reload(tls) < 0) {
        print_tls_error("reloading"); /* and the old one stays */
    } else {
        puts("reloaded");
    }
    return NULL;
}

static int run_server(const gev_tls_opts *tls_opts, const char *port)
{
    gev_tls *tls = gev_tls_server(tls_opts);
    if (tls == NULL) {
        print_tls_error("certificate");
        return EXIT_FAILURE;
    }
    const gev_server_opts opts = {
        .size = sizeof(opts), .service = port, .tls = tls};
    gev_server *server = gev_server_new(&opts, echo, NULL);
    gev_signal_handler *hangup = gev_signal(SIGHUP, reload, tls);
    int status = EXIT_FAILURE;
    if (server == NULL || hangup == NULL) {
        perror("tls_echo");
    } else if (serve(server, &opts, GEV_FOREVER, GRACE) != NULL) {
        status = EXIT_SUCCESS;
    }
    gev_signal_cancel(hangup);
    gev_server_free(server);
    gev_tls_unref(tls);
    return status;
}

/* --- the client ----------------------------------------------------------- */

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
        fputs(is_server ? "a server takes no host and port\n"
                        : "a host and a port are needed, or -s\n",
              stderr);
        return bad_usage(argv[0]);
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line as it comes */
    allow_many_files();
    if (is_server && tls.ca_file != NULL) {
        tls.flags |= GEV_TLS_CLIENT_CERT;
    }
    const int status = is_server
                           ? run_server(&tls, port)
                           : run_client(&tls, argv[optind], argv[optind + 1]);
    gev_hub_close();
    return end_output(status);
}
