/* SPDX-License-Identifier: MIT */
#include "http/http.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define K GEV__HTTP_TOKEN
#define V GEV__HTTP_TEXT
#define T GEV__HTTP_TARGET
#define H GEV__HTTP_HOST
#define ALL (K | V | T | H)

/* Characters in a row. */
#define R2(c, v) [c] = (v), [(c) + 1] = (v)
#define R8(c, v) R2(c, v), R2((c) + 2, v), R2((c) + 4, v), R2((c) + 6, v)
#define R10(c, v) R8(c, v), R2((c) + 8, v)
#define R26(c, v) R8(c, v), R8((c) + 8, v), R10((c) + 16, v)
#define R64(c, v)                                                              \
    R8(c, v), R8((c) + 8, v), R8((c) + 16, v), R8((c) + 24, v),                \
        R8((c) + 32, v), R8((c) + 40, v), R8((c) + 48, v), R8((c) + 56, v)

const unsigned char gev__http_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = ALL,
    ['"'] = V,
    ['#'] = K | V,
    ['$'] = ALL,
    ['%'] = ALL,
    ['&'] = ALL,
    ['\''] = ALL,
    ['('] = V | T | H,
    [')'] = V | T | H,
    ['*'] = ALL,
    ['+'] = ALL,
    [','] = V | T,
    ['-'] = ALL,
    ['.'] = ALL,
    ['/'] = V | T,
    R10('0', ALL),
    [':'] = V | T | H,
    [';'] = V | T | H,
    ['<'] = V,
    ['='] = V | T | H,
    ['>'] = V,
    ['?'] = V | T,
    ['@'] = V | T,
    R26('A', ALL),
    ['['] = V | T | H,
    ['\\'] = V,
    [']'] = V | T | H,
    ['^'] = K | V | T,
    ['_'] = ALL,
    ['`'] = K | V | T,
    R26('a', ALL),
    /* Not of URIs, but browsers send it in queries. */
    ['{'] = V | T,
    ['|'] = K | V | T,
    ['}'] = V | T,
    ['~'] = ALL,
    R64(0x80, V),
    R64(0xc0, V),
};

bool gev__http_are(const char *text, size_t n, int class)
{
    for (size_t i = 0; i < n; i++) {
        if (!gev__http_is(text[i], class)) {
            return false;
        }
    }
    return true;
}

bool gev__http_same(const char *text, size_t n, const char *word)
{
    return strncasecmp(text, word, n) == 0 && word[n] == '\0';
}

bool gev__http_has_token(const char *list, size_t n, const char *token)
{
    const char *end = list + n;

    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma == NULL ? end : comma;
        while (list < stop && (*list == ' ' || *list == '\t')) {
            list++;
        }
        const char *last = stop;
        while (last > list && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }
        if (last > list && gev__http_same(list, (size_t)(last - list), token)) {
            return true;
        }
        list = stop + 1;
    }
    return false;
}

const char *gev__http_words(int status)
{
    static const struct {
        int status;
        const char *words;
    } all[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {103, "Early Hints"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {207, "Multi-Status"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {418, "I'm a teapot"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {508, "Loop Detected"},
        {511, "Network Authentication Required"},
    };

    if (status == 200) {
        return "OK";
    }
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].status == status) {
            return all[i].words;
        }
    }
    return "Unknown";
}

static void put_two(char *to, int n)
{
    to[0] = (char)('0' + n / 10);
    to[1] = (char)('0' + n % 10);
}

/* Not by strftime(3): its names are the locale's. */
static void format_date(char *to, time_t when)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;

    gmtime_r(&when, &tm);
    memcpy(to, "Ddd, 00 Mmm 0000 00:00:00 GMT", GEV__HTTP_DATE_LEN + 1);
    memcpy(to, &days[3 * (size_t)tm.tm_wday], 3);
    put_two(to + 5, tm.tm_mday);
    memcpy(to + 8, &months[3 * (size_t)tm.tm_mon], 3);
    put_two(to + 12, (tm.tm_year + 1900) / 100);
    put_two(to + 14, (tm.tm_year + 1900) % 100);
    put_two(to + 17, tm.tm_hour);
    put_two(to + 20, tm.tm_min);
    put_two(to + 23, tm.tm_sec);
}

const char *gev__http_date(void)
{
    static _Thread_local char text[GEV__HTTP_DATE_LEN + 1];
    static _Thread_local time_t of;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != of || text[0] == '\0') {
        of = now.tv_sec;
        format_date(text, of);
    }
    return text;
}

double gev__http_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
