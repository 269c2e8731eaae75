/* SPDX-License-Identifier: MIT */

/* What is no HTTP/1.1, or could be read in two ways, is refused, and no handler
 * sees it: RFC 9112, and requests that others were smuggled through. */
#include "http/http_test.h"

#include <stdlib.h>
#include <string.h>

struct refused {
    const char *name;
    const char *bytes;
    size_t n;
    int status;
};

#define CASE(name, status, bytes)                                              \
    {                                                                          \
        name, bytes, sizeof(bytes) - 1, status                                 \
    }
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"

static const struct refused refused[] = {
    /* The request line (WSG1). */
    CASE("two words", 400, "GET /\r\n\r\n"),
    CASE("one word", 400, "GET\r\n\r\n"),
    CASE("four words", 400, "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("two blanks", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a tab", 400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a blank at the end", 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    CASE("no method", 400, " / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("no token", 400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("lower case", 501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("an unknown method", 501, "FROB / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("another protocol", 400, "GET / HTCPCP/1.1\r\nHost: a\r\n\r\n"),
    CASE("http", 400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    CASE("no digits", 400, "GET / HTTP/x.y\r\nHost: a\r\n\r\n"),
    CASE("many digits", 400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    CASE("0.9", 505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    CASE("1.2", 505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    CASE("2.0", 505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    CASE("HTTP/2's preface", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    CASE("TLS", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    CASE("NUL in the target", 400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("8 bits in the target", 400, "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a fragment", 400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("no path", 400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a star", 400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a foreign scheme", 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("no authority", 400, "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a user", 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("%00", 400, "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("%4", 400, "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("%", 400, "GET /% HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("%4g", 400, "GET /%4g HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("%zz?", 400, "GET /%zz?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT's path", 400, "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, no port", 400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, no digits", 400, "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, port 0", 400, "CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, port 65536", 400,
         "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, no host", 400, "CONNECT :80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, a user", 400, "CONNECT u@a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("CONNECT, absolute", 400,
         "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("an authority alone", 400, "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("POST *", 400, "POST * HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a star and more", 400, "OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a backslash", 400, "GET \\a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("another protocol's method", 400,
         "DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* Lines. */
    CASE("LF", 400, "GET / HTTP/1.1\nHost: a\n\n"),
    CASE("LF in the headers", 400, GET "Host: a\nX: b\r\n\r\n"),
    CASE("LF at the end", 400, GET HOST "\n"),
    CASE("CR", 400, "GET / HTTP/1.1\rHost: a\r\r\n\r\n"),
    CASE("CR in a value", 400, GET HOST "X: a\rY: b\r\n\r\n"),
    CASE("CR CR LF", 400, GET HOST "X: a\r\r\n\r\n"),
    CASE("NUL in a value", 400, GET HOST "X: a\0b\r\n\r\n"),
    CASE("NUL in a name", 400, GET HOST "X\0: a\r\n\r\n"),
    CASE("a bell", 400, GET HOST "X: a\ab\r\n\r\n"),
    CASE("DEL", 400, GET HOST "X: a\x7f\r\n\r\n"),
    CASE("empty lines", 400, "\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
    /* Headers. */
    CASE("no colon", 400, GET HOST "X\r\n\r\n"),
    CASE("no name", 400, GET HOST ": x\r\n\r\n"),
    CASE("a blank before the colon", 400, GET "Host : a\r\n\r\n"),
    CASE("a tab before the colon", 400, GET HOST "X\t: a\r\n\r\n"),
    CASE("a blank in the name", 400, GET HOST "X Y: a\r\n\r\n"),
    CASE("8 bits in the name", 400, GET HOST "X\xe4: a\r\n\r\n"),
    CASE("parentheses", 400, GET HOST "X(Y): a\r\n\r\n"),
    CASE("the first line is folded", 400, GET " X: a\r\n" HOST "\r\n"),
    CASE("a blank line", 400, GET " \r\n" HOST "\r\n"),
    CASE("folded Host", 400, GET "Host: a\r\n b\r\n\r\n"),
    CASE("folded length", 400, POST "Content-Length: 1\r\n 0\r\n\r\nx"),
    CASE("folded coding", 400,
         POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    CASE("a name folded before its colon", 400,
         POST "Content-Length\r\n : 1\r\n\r\nx"),
    CASE("folded Expect", 400, POST "Expect: 100-\r\n continue\r\n\r\n"),
    CASE("a fold of nothing, and a length behind it", 400,
         POST "X: a\r\n \r\nContent-Length : 1\r\n\r\nx"),
    CASE("folded Connection", 400, GET HOST "Connection:\r\n close\r\n\r\n"),
    /* Host. */
    CASE("no Host", 400, GET "\r\n"),
    CASE("two Hosts", 400, GET "Host: a\r\nHost: b\r\n\r\n"),
    CASE("one Host twice", 400, GET "Host: a\r\nHost: a\r\n\r\n"),
    CASE("two Hosts, 1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
    CASE("a list of Hosts", 400, GET "Host: a, b\r\n\r\n"),
    CASE("a user in Host", 400, GET "Host: u@a\r\n\r\n"),
    CASE("a path in Host", 400, GET "Host: a/b\r\n\r\n"),
    CASE("a blank in Host", 400, GET "Host: a b\r\n\r\n"),
    /* Content-Length (WSG3). */
    CASE("negative", 400, POST "Content-Length: -1\r\n\r\n"),
    CASE("plus", 400, POST "Content-Length: +1\r\n\r\nx"),
    CASE("hexadecimal", 400, POST "Content-Length: 0x1\r\n\r\nx"),
    CASE("words", 400, POST "Content-Length: one\r\n\r\nx"),
    CASE("empty", 400, POST "Content-Length: \r\n\r\nx"),
    CASE("a fraction", 400, POST "Content-Length: 1.0\r\n\r\nx"),
    CASE("a blank within", 400, POST "Content-Length: 1 1\r\n\r\nx"),
    CASE("a list", 400, POST "Content-Length: 1, 1\r\n\r\nx"),
    CASE("a list of two", 400, POST "Content-Length: 1,2\r\n\r\nx"),
    CASE("too big", 400, POST "Content-Length: 18446744073709551617\r\n\r\nx"),
    CASE("just too big", 400,
         POST "Content-Length: 9223372036854775808\r\n\r\nx"),
    CASE("unequal", 400,
         POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    CASE("one length twice", 400,
         POST "Content-Length: 1\r\ncontent-length: 1\r\n\r\nx"),
    CASE("a tab within", 400, POST "Content-Length: 1\t1\r\n\r\nx"),
    CASE("octal", 400, POST "Content-Length: 0o1\r\n\r\nx"),
    CASE("an exponent", 400, POST "Content-Length: 1e0\r\n\r\nx"),
    CASE("an underscore", 400, POST "Content-Length: 1_0\r\n\r\nx"),
    CASE("a semicolon", 400, POST "Content-Length: 1;1\r\n\r\nx"),
    CASE("quotes", 400, POST "Content-Length: \"1\"\r\n\r\nx"),
    CASE("other digits", 400,
         POST "Content-Length: \xd9\xa1\r\n\r\nx"), /* Arabic */
    CASE("a vertical tab", 400, POST "Content-Length:\v1\r\n\r\nx"),
    CASE("many zeros", 400,
         POST "Content-Length: 00000000000000000001\r\n\r\nx"),
    CASE("HEAD with chunks", 400,
         "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\n"),
    CASE("HEAD with a body", 400,
         "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
    /* Transfer-Encoding (WSG4), and both (CVE-2023-41419 and its like). */
    CASE("both", 400,
         POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
              "0\r\n\r\n"),
    CASE("both, the other way", 400,
         POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
              "0\r\n\r\n"),
    CASE("both, gzip", 400,
         POST "Content-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
    CASE("a length of nothing, and chunks", 400,
         POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
              "0\r\n\r\n"),
    CASE("chunked, identity", 400,
         POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    CASE("identity, chunked", 501,
         POST "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    CASE("identity, and a line of chunked", 501,
         POST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"
              "\r\n0\r\n\r\n"),
    CASE("chunked, and a line of identity", 400,
         POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"
              "\r\n0\r\n\r\n"),
    CASE("an empty coding", 501, POST "Transfer-Encoding:\r\n\r\n"),
    CASE("a comma before", 501,
         POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    CASE("a comma behind", 400,
         POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    CASE("a parameter", 501,
         POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    CASE("a blank within", 501,
         POST "Transfer-Encoding: chun ked\r\n\r\n0\r\n\r\n"),
    CASE("another blank", 501,
         POST "Transfer-Encoding: \xc2\xa0"
              "chunked\r\n\r\n0\r\n\r\n"),
    CASE("1.0, kept alive, with both", 400,
         "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    CASE("unknown", 501, POST "Transfer-Encoding: frob\r\n\r\n"),
    CASE("gzip", 501, POST "Transfer-Encoding: gzip\r\n\r\n"),
    CASE("gzip, chunked", 501,
         POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    CASE("identity", 501, POST "Transfer-Encoding: identity\r\n\r\n"),
    CASE("xchunked", 501, POST "Transfer-Encoding: xchunked\r\n\r\n"),
    CASE("chunkedx", 501, POST "Transfer-Encoding: chunkedx\r\n\r\n"),
    CASE("quoted", 501, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    CASE("chunked, gzip", 400,
         POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    CASE("chunked twice", 400,
         POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    CASE("two lines of it", 400,
         POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
              "\r\n0\r\n\r\n"),
    CASE("vertical tab", 400,
         POST "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n"),
    CASE("form feed", 400,
         POST "Transfer-Encoding: chunked\f\r\n\r\n0\r\n\r\n"),
    CASE("a blank before its colon", 400,
         POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    CASE("1.0", 400,
         "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    CASE("an expectation", 417, POST "Expect: 200-ok\r\n\r\n"),
    CASE("no expectation", 417, POST "Expect:\r\n\r\n"),
    CASE("two expectations", 417, POST "Expect: 100-continue, x\r\n\r\n"),
    CASE("two lines of them", 417,
         POST "Expect: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
              "\r\nx"),
    /* The end of the stream within. */
    CASE("half a line", 400, "GET / HT"),
    CASE("half a head", 400, GET HOST),
};

/* WSG1, WSG3, WSG4: refused, closed and logged, once; no handler runs, not for
 * what follows either. */
GEV_TEST(what_is_refused)
{
    static char answer[4096];
    static char bytes[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct refused *r = &refused[i];
        const char *tail = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        bool whole = r->n > 4 && memcmp(r->bytes + r->n - 2, "\r\n", 2) == 0 &&
                     memcmp(r->bytes + r->n - 3, "a\r\n", 3) != 0;
        test_note("%s", r->name);
        memset(&log, 0, sizeof(log));
        memcpy(bytes, r->bytes, r->n);
        memcpy(bytes + r->n, tail, strlen(tail));
        http_talk(s, bytes, r->n + (whole ? strlen(tail) : 0), answer,
                  sizeof(answer));
        expect_int_eq(http_status_of(answer), r->status);
        expect_uint_eq(http_count(answer, "HTTP/1.1 "), 1);
        expect_uint_eq(http_count(answer, "Connection: close\r\n"), 1);
        expect_uint_eq(calls, 0);
        expect_uint_eq(log.n, 1);
        expect_int_eq(log.status, r->status);
        expect_true(log.why[0] != '\0');
    }
    gev_server_free(s);
}

struct taken {
    const char *name;
    const char *bytes;
    const char *body;
};

static const struct taken taken[] = {
    {"plain", GET HOST END, "GET /  11 0:"},
    {"1.0 without Host", "GET /a HTTP/1.0\r\n\r\n", "GET /a  10 0:"},
    {"empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /  11 0:"},
    {"an empty Host", GET "Host:\r\n\r\n", "GET /  11 0:"},
    {"IPv6 and port", GET "hOST: [::1]:80\r\n\r\n", "GET /  11 0:"},
    {"escapes", "GET /a%20b%2Fc%C3%A4?%zz=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /a b/c\xc3\xa4 %zz=%00 11 0:"},
    {"two question marks", "GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /a b?c 11 0:"},
    {"absolute", "GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /x y 11 0:"},
    {"absolute, bare", "GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /  11 0:"},
    {"absolute, query", "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET / q 11 0:"},
    {"CONNECT", "CONNECT [::1]:80 HTTP/1.1\r\nHost: a\r\n\r\n",
     "CONNECT   11 0:"},
    {"names with _ frame nothing",
     POST "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n",
     "POST /  11 0:"},
    {"trailers frame nothing",
     POST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
          "Content-Length: 50\r\nTransfer-Encoding: chunked\r\n"
          "Host: b\r\nConnection: close\r\n\r\n",
     "POST /  11 -1:x"},
    {"a fold of nothing", GET HOST "X: a\r\n \r\n\r\n", "GET /  11 0:"},
    {"1.0 expects nothing", "GET /a HTTP/1.0\r\nExpect: the-unexpected\r\n\r\n",
     "GET /a  10 0:"},
    {"star", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS *  11 0:"},
    {"a length", POST "Content-Length: 3\r\n\r\nabc", "POST /  11 3:abc"},
    {"zeros", POST "Content-Length:  003 \r\n\r\nabc", "POST /  11 3:abc"},
    {"chunked",
     POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n"
          "0\r\n\r\n",
     "POST /  11 -1:abc0123456789"},
    {"extensions and trailers",
     POST "Transfer-Encoding: chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n"
          "1 ; x\r\nd\r\n0;last\r\nX-Sum: 5\r\nY:\r\n\r\n",
     "POST /  11 -1:abcd"},
    {"a value of nothing", GET HOST "X:\r\nY: \t \r\n\r\n", "GET /  11 0:"},
    {"8 bits in a value", GET HOST "X: \xe4\xff\r\n\r\n", "GET /  11 0:"},
    {"folded", GET HOST "X: a\r\n\tb\r\n  c\r\n\r\n", "GET /  11 0:"},
    {"upgrade is the handler's business",
     GET HOST "Connection: upgrade\r\nUpgrade: frob\r\n\r\n", "GET /  11 0:"},
    {"a length of nothing and an upgrade",
     POST "Connection: upgrade\r\nUpgrade: frob\r\nContent-Length: 2\r\n\r\nab",
     "POST /  11 2:ab"},
};

/* The limits of what is taken, and that the connection goes on after each. */
GEV_TEST(what_is_taken)
{
    static char answer[4096];
    static char bytes[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        test_note("%s", taken[i].name);
        calls = 0;
        snprintf(bytes, sizeof(bytes), "%s%s", taken[i].bytes,
                 "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        http_talk(s, bytes, strlen(bytes), answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), 200);
        size_t n = strlen(taken[i].body);
        expect_mem_eq(http_body_of(answer), taken[i].body, n);
        bool old = strstr(taken[i].bytes, "HTTP/1.0") != NULL ||
                   strstr(taken[i].bytes, "CONNECT") != NULL;
        expect_uint_eq(calls, old ? 1 : 2);
        expect_uint_eq(http_count(answer, "GET /next"), old ? 0 : 1);
        expect_str_eq(log.why, "");
    }
    gev_server_free(s);
}

/* The same byte by byte: nothing depends on how it comes. */
GEV_TEST(byte_by_byte)
{
    static const char bytes[] =
        POST "X: a\r\nTransfer-Encoding: chunked\r\n\r\n"
             "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n" GET HOST END;
    static char answer[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    int fd = http_dial(s);
    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        expect_true(http_send(fd, bytes + i, 1));
        expect_ok(gev_sleep(0.0003));
    }
    expect_ok(gev_shutdown(fd, SHUT_WR));
    http_recv(fd, answer, sizeof(answer));
    expect_uint_eq(http_count(answer, "HTTP/1.1 200 OK"), 2);
    expect_uint_eq(http_count(answer, "11 -1:abcde"), 1);
    expect_uint_eq(calls, 2);
    expect_ok(gev_close(fd));
    gev_server_free(s);
}

static const struct refused bad_chunks[] = {
    /* CVE-2023-41419: what gevent let pass, and then took for a request. */
    CASE("trailers are not requests", 200,
         "0\r\nGET: /smuggled HTTP/1.1\r\n\r\n"),
    CASE("a request in the trailers", 400,
         "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE("a line for a chunk's end", 400, "2\r\nabc\r\n0\r\n\r\n"),
    CASE("a chunk without its CRLF", 400, "3\r\nabc0\r\n\r\n"),
    CASE("no CR behind a chunk", 400, "3\r\nabc\n0\r\n\r\n"),
    CASE("no CR behind a size", 400, "3\nabc\r\n0\r\n\r\n"),
    CASE("CR behind a size", 400, "3\r\r\nabc\r\n0\r\n\r\n"),
    CASE("no size", 400, "\r\nabc\r\n0\r\n\r\n"),
    CASE("only an extension", 400, ";a\r\nabc\r\n0\r\n\r\n"),
    CASE("0x", 400, "0x3\r\nabc\r\n0\r\n\r\n"),
    CASE("plus", 400, "+3\r\nabc\r\n0\r\n\r\n"),
    CASE("minus", 400, "-3\r\nabc\r\n0\r\n\r\n"),
    CASE("a blank before", 400, " 3\r\nabc\r\n0\r\n\r\n"),
    CASE("a blank behind", 400, "3 \r\nabc\r\n0\r\n\r\n"),
    CASE("a word", 400, "3 a\r\nabc\r\n0\r\n\r\n"),
    CASE("underscores", 400, "1_0\r\nabc\r\n0\r\n\r\n"),
    CASE("seventeen digits", 400, "00000000000000003\r\nabc\r\n0\r\n\r\n"),
    CASE("wraps", 400, "10000000000000003\r\nabc\r\n0\r\n\r\n"),
    CASE("negative", 400, "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    CASE("NUL in an extension", 400, "3;a\0b\r\nabc\r\n0\r\n\r\n"),
    CASE("CR in an extension", 400, "3;a\rb\r\nabc\r\n0\r\n\r\n"),
    CASE("a trailer without a colon", 400, "0\r\nX\r\n\r\n"),
    CASE("a blank in a trailer's name", 400, "0\r\nX : a\r\n\r\n"),
    CASE("a folded trailer", 400, "0\r\nX: a\r\n b\r\n\r\n"),
    CASE("LF behind the last", 400, "0\n\n"),
    CASE("ends in a chunk", 400, "5\r\nabc"),
    CASE("ends in a size", 400, "3\r\nabc\r\n1"),
    CASE("ends before the last", 400, "3\r\nabc\r\n"),
    CASE("ends in the trailers", 400, "0\r\nX: a\r\n"),
};

/* WSG4: a bad chunk is answered 400 if nothing went out yet; then it is over.
 */
GEV_TEST(bad_chunks_end_the_connection)
{
    static const char head[] = POST "Transfer-Encoding: chunked\r\n\r\n";
    static const char tail[] = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    static char answer[4096];
    static char bytes[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    gev_server *s = http_serve(&opts, http_describe, &calls);
    for (size_t i = 0; i < sizeof(bad_chunks) / sizeof(bad_chunks[0]); i++) {
        const struct refused *r = &bad_chunks[i];
        bool ends = strncmp(r->name, "ends", 4) == 0;
        size_t n = sizeof(head) - 1;
        test_note("%s", r->name);
        memset(&log, 0, sizeof(log));
        calls = 0;
        memcpy(bytes, head, n);
        memcpy(bytes + n, r->bytes, r->n);
        n += r->n;
        if (!ends) {
            memcpy(bytes + n, tail, sizeof(tail) - 1);
            n += sizeof(tail) - 1;
        }
        http_talk(s, bytes, n, answer, sizeof(answer));
        expect_int_eq(http_status_of(answer), r->status);
        expect_uint_eq(calls, r->status == 200 ? 2 : 1);
        expect_uint_eq(log.n, calls);
        expect_uint_eq(http_count(answer, "GET /smuggled"),
                       r->status == 200 ? 1 : 0);
        expect_true((log.why[0] == '\0') == (r->status == 200));
    }
    gev_server_free(s);
}

static int ignore(gev_http *h, void *arg)
{
    ++*(unsigned *)arg;
    return gev_http_reply(h, 200, NULL, "ok", 2);
}

/* The same when no handler looks at the body: it answers, and that was it. */
GEV_TEST(bad_chunks_nobody_reads)
{
    static char answer[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    unsigned calls = 0;
    gev_server *s = http_serve(&opts, ignore, &calls);
    TALK(s,
         POST "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"
              "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
         answer);
    expect_int_eq(http_status_of(answer), 200);
    expect_uint_eq(calls, 1);
    expect_uint_eq(http_count(answer, "HTTP/1.1 "), 1);
    gev_server_free(s);
}

static int give_host(gev_http *h, void *arg)
{
    const char *host = gev_http_header(h, "host");
    (void)arg;
    return gev_http_printf(h, "<%s>", host == NULL ? "none" : host);
}

/* Whom a request is for is said once: by its target, if that says it. */
GEV_TEST(the_host_of_the_target)
{
    static const char *const cases[][2] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "<a>"},
        {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "<b>"},
        {"GET http://b:1?q HTTP/1.1\r\nX: y\r\nhOST: a\r\n\r\n", "<b:1>"},
        {"GET https://longer.example/x HTTP/1.1\r\nHost:\r\n\r\n",
         "<longer.example>"},
        {"GET http://b/ HTTP/1.0\r\n\r\n", "<none>"},
        {"GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "<a>"},
    };
    static char answer[4096];
    struct http_log log;
    gev_http_opts opts = http_opts(&log);
    gev_server *s = http_serve(&opts, give_host, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_note("%s", cases[i][0]);
        http_talk(s, cases[i][0], strlen(cases[i][0]), answer, sizeof(answer));
        expect_str_eq(http_body_of(answer), cases[i][1]);
    }
    gev_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(what_is_taken),
        cmocka_unit_test(the_host_of_the_target),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(bad_chunks_end_the_connection),
        cmocka_unit_test(bad_chunks_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
