/* SPDX-License-Identifier: MIT */

/* Follows the links of a site, a bounded number of pages at a time. */
#include <gev.h>

#include "demo_server.h"
#include "example.h"
#include "http_client.h"

#include <search.h>
#include <signal.h>
#include <string.h>

static const char help[] =
    "usage: pool_crawler [-c concurrency] [-n pages] [-t seconds] [-q] [URL]\n"
    "Fetches a page, and all pages of the same server that can be reached "
    "from\n"
    "it, each once. Without a URL it starts a small server of its own and "
    "crawls\n"
    "that.\n"
    "  -c N  so many at once, 1 to 10000 (10)\n"
    "  -n N  stop after so many pages, 1 to 1000000 (1000)\n"
    "  -t S  give up a page that takes longer (10)\n"
    "  -q    only the summary\n"
    "Broken links are listed, with the first page that has them.\n"
    "Exit status: 0 if the crawl came to its end, 1 if the first page failed "
    "or\n"
    "it was interrupted, 2 for bad usage.\n";

#define PAGE_MAX 262144 /* bytes of a page that are searched for links */
#define PRINT_MAX 100   /* bytes of a URL that are printed */

/* One page. It stays until the end: its URL says that it has been seen. */
struct page {
    char *url; /* first: what tsearch() compares */
    struct crawl *crawl;
    const struct page *from; /* where its link was first seen; NULL: given */
    struct page *next;       /* as they were found */
    int depth;
    size_t links;
    char error[HTTP_ERROR_MAX]; /* why it failed, or empty */
};

struct crawl {
    gev_group *pool;
    double timeout;
    bool quiet;
    size_t max;
    char site[300]; /* "http://host:port", where it stays */
    void *seen;     /* a tree of pages */
    struct page *first;
    struct page *last;
    size_t found;
    size_t fetched;
    size_t failed;
    size_t links;
    size_t elsewhere; /* links to other sites */
    size_t left_out;  /* pages beyond the maximum */
    size_t at_once;
    uint64_t bytes;
    bool interrupted;
};

/* What comes from the network is not to be trusted with a terminal. */
static void print_url(const char *url)
{
    for (size_t i = 0; url[i] != '\0' && i < PRINT_MAX; i++) {
        putchar(url[i] >= ' ' && url[i] <= '~' ? url[i] : '?');
    }
}

/* --- Pages -----------------------------------------------------------------
 */

static void *fetch_page(void *arg);

static int compare_pages(const void *a, const void *b)
{
    const struct page *x = a;
    const struct page *y = b;
    return strcmp(x->url, y->url);
}

static struct page *new_page(const char *url, size_t length)
{
    struct page *page = calloc(1, sizeof(*page));
    if (page != NULL) {
        page->url = strndup(url, length);
        if (page->url == NULL) {
            free(page);
            return NULL;
        }
    }
    return page;
}

static void free_page(struct page *page)
{
    free(page->url);
    free(page);
}

/* Takes note of a page, and has it fetched unless it is known. A member of the
 * pool must not wait for a slot in it, lest all of them wait for each other:
 * gev_group_apply_async() never waits. Returns -1 if there is no memory. */
static int add_page(struct crawl *crawl, const char *url, size_t length,
                    const struct page *from)
{
    struct page *page = new_page(url, length);
    if (page == NULL) {
        return -1;
    }
    struct page **known = tsearch(page, &crawl->seen, compare_pages);
    if (known == NULL || *known != page) {
        free_page(page);
        return known == NULL ? -1 : 0;
    }
    page->crawl = crawl;
    page->from = from;
    page->depth = from == NULL ? 0 : from->depth + 1;
    if (crawl->last == NULL) {
        crawl->first = page;
    } else {
        crawl->last->next = page;
    }
    crawl->last = page;
    if (crawl->found >= crawl->max) {
        crawl->left_out++;
        return 0;
    }
    crawl->found++;
    return gev_group_apply_async(crawl->pool, fetch_page, page, NULL);
}

static void free_pages(struct crawl *crawl)
{
    struct page *next;
    for (struct page *page = crawl->first; page != NULL; page = next) {
        next = page->next;
        (void)tdelete(page, &crawl->seen, compare_pages);
        free_page(page);
    }
}

/* --- Links -----------------------------------------------------------------
 */

/* The length of a page's URL up to its last slash: what its relative links
 * begin with. */
static size_t directory_length(const struct crawl *crawl, const char *url)
{
    const size_t site = strlen(crawl->site);
    size_t length = strcspn(url + site, "?") + site;
    while (length > site && url[length - 1] != '/') {
        length--;
    }
    return length;
}

/* One link of a page: a whole URL, a path, or a relative path. */
static int follow_link(struct page *page, const char *link, size_t length)
{
    struct crawl *crawl = page->crawl;
    const size_t site = strlen(crawl->site);
    char url[HTTP_URL_MAX];
    int n;

    crawl->links++;
    page->links++;
    if (length >= site && strncmp(link, crawl->site, site) == 0 &&
        (length == site || strchr("/?", link[site]) != NULL)) {
        n = snprintf(url, sizeof(url), "%.*s", (int)length, link);
    } else if (length >= 1 && link[0] == '/' &&
               (length == 1 || link[1] != '/')) {
        n = snprintf(url, sizeof(url), "%s%.*s", crawl->site, (int)length,
                     link);
    } else if (length == 0 || memchr(link, ':', length) != NULL ||
               link[0] == '/') {
        crawl->elsewhere += length > 0;
        return 0;
    } else {
        const size_t directory = directory_length(crawl, page->url);
        n = snprintf(url, sizeof(url), "%.*s%s%.*s", (int)directory, page->url,
                     directory == site ? "/" : "", (int)length, link);
    }
    if (n < 0 || (size_t)n >= sizeof(url)) {
        return 0; /* nobody serves that */
    }
    return add_page(crawl, url, (size_t)n, page);
}

/* Finds what is in href="...", up to a fragment. */
static int follow_links(struct page *page, const char *text)
{
    static const char before[] = "href=\"";
    while ((text = strstr(text, before)) != NULL) {
        text += sizeof(before) - 1;
        if (follow_link(page, text, strcspn(text, "\"#\r\n<> ")) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- Fetching --------------------------------------------------------------
 */

static int fail(struct page *page, const char *why)
{
    snprintf(page->error, sizeof(page->error), "%s", why);
    return -1;
}

/* Reads a body, of which the beginning is kept, as a string. */
static int read_body(struct page *page, struct http *http, char *text)
{
    size_t have = 0;
    char rest[4096];
    ssize_t n;
    do {
        const size_t room = PAGE_MAX - 1 - have;
        n = room > 0 ? http_read(http, text + have, room)
                     : http_read(http, rest, sizeof(rest));
        if (n > 0) {
            have += room > 0 ? (size_t)n : 0;
            page->crawl->bytes += (uint64_t)n;
        }
    } while (n > 0);
    text[have] = '\0';
    return n < 0 ? fail(page, http->error) : 0;
}

static int get_page(struct page *page, char *text)
{
    struct http http = {.fd = -1};
    struct http_url url;
    int rc;
    if (http_parse_url(&url, page->url, page->error) < 0) {
        return -1;
    }
    rc = http_get(&http, &url) < 0 ? fail(page, http.error)
                                   : read_body(page, &http, text);
    http_close(&http);
    return rc;
}

static void report(const struct page *page)
{
    struct crawl *crawl = page->crawl;
    if (page->error[0] != '\0') {
        crawl->failed++;
    } else {
        crawl->fetched++;
    }
    if (!crawl->quiet) {
        printf("%3d ", page->depth);
        print_url(page->url);
        if (page->error[0] != '\0') {
            printf(": %s\n", page->error);
        } else {
            printf(": %zu links\n", page->links);
        }
    }
}

/* The greenlet of one page: a member of the pool. */
static void *fetch_page(void *arg)
{
    struct page *page = arg;
    struct crawl *crawl = page->crawl;
    char *text = malloc(PAGE_MAX);
    gev_timeout timeout;

    if (gev_group_count(crawl->pool) > crawl->at_once) {
        crawl->at_once = gev_group_count(crawl->pool);
    }
    if (text == NULL || gev_timeout_begin(&timeout, crawl->timeout) < 0) {
        fail(page, "no memory");
    } else {
        int rc = get_page(page, text);
        if (gev_timeout_end(&timeout) && rc < 0) {
            fail(page, "timed out");
        }
        if (rc == 0 && follow_links(page, text) < 0) {
            fail(page, "no memory for its links");
        }
    }
    free(text);
    report(page);
    return NULL;
}

/* --- All of it -------------------------------------------------------------
 */

static void *stop_on_interrupt(void *arg)
{
    struct crawl *crawl = arg;
    if (gev_wait_signal(SIGINT, GEV_FOREVER) == 0) {
        crawl->interrupted = true;
        (void)gev_group_kill(crawl->pool, 0);
    }
    return NULL;
}

static void print_summary(const struct crawl *crawl, double seconds)
{
    for (const struct page *page = crawl->first; page != NULL;
         page = page->next) {
        if (page->error[0] != '\0' && page->from != NULL) {
            fputs("broken: ", stdout);
            print_url(page->url);
            printf(" (%s), on ", page->error);
            print_url(page->from->url);
            putchar('\n');
        }
    }
    printf("%zu pages, %zu failed, %zu links, %zu of them elsewhere, %llu "
           "bytes in %.3f s\n",
           crawl->fetched, crawl->failed, crawl->links, crawl->elsewhere,
           (unsigned long long)crawl->bytes, seconds);
    printf("At most %zu pages at once.\n", crawl->at_once);
    if (crawl->left_out > 0) {
        printf("%zu more pages were left out.\n", crawl->left_out);
    }
}

/* The site is what comes before the path. */
static int take_site(struct crawl *crawl, const char *url)
{
    char error[HTTP_ERROR_MAX];
    struct http_url parts;
    if (http_parse_url(&parts, url, error) < 0) {
        fprintf(stderr, "%s: %s\n", url, error);
        return -1;
    }
    snprintf(crawl->site, sizeof(crawl->site), "%.*s", (int)(parts.path - url),
             url);
    return 0;
}

static int run_crawl(struct crawl *crawl, const char *url, size_t concurrency)
{
    crawl->pool = gev_pool_new(concurrency);
    gev_greenlet *stopper = gev_spawn(stop_on_interrupt, crawl);
    const double start = now();
    if (crawl->pool == NULL || stopper == NULL ||
        add_page(crawl, url, strcspn(url, "#"), NULL) < 0 ||
        gev_group_join(crawl->pool, GEV_FOREVER) < 0) {
        perror("crawling");
    }
    print_summary(crawl, now() - start);
    if (stopper != NULL) {
        (void)gev_kill(stopper, GEV_FOREVER);
        gev_unref(stopper);
    }
    gev_group_free(crawl->pool);
    return !crawl->interrupted && crawl->first != NULL &&
                   crawl->first->error[0] == '\0'
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}

/* What is crawled when no URL is given: 60 pages that take 20 ms each. */
static int start_demo(struct demo_server *server, char *url, size_t size)
{
    if (demo_server_start(server) < 0) {
        perror("the demo's server");
        return -1;
    }
    snprintf(url, size, "http://127.0.0.1:%s/site/60/20/0", server->port);
    return 0;
}

int main(int argc, char **argv)
{
    struct crawl crawl = {.timeout = 10, .max = 1000};
    struct demo_server server = {.fd = -1};
    char demo[64];
    size_t concurrency = 10;
    int option;
    while ((option = next_option(argc, argv, "hc:n:t:q")) != -1) {
        switch (option) {
        case 'h':
            return print_help(help);
        case 'c':
            concurrency = (size_t)parse_count("concurrency", optarg, 1, 10000);
            break;
        case 'n':
            crawl.max = (size_t)parse_count("pages", optarg, 1, 1000000);
            break;
        case 't':
            crawl.timeout = parse_number("seconds", optarg, 0.001, 1e6);
            break;
        case 'q':
            crawl.quiet = true;
            break;
        default:
            return bad_usage(argv[0]);
        }
    }
    if (argc - optind > 1) {
        fputs("one URL at most\n", stderr);
        return bad_usage(argv[0]);
    }
    const char *url = optind < argc ? argv[optind] : demo;
    allow_many_files();
    if (url == demo && start_demo(&server, demo, sizeof(demo)) < 0) {
        return EXIT_FAILURE;
    }
    int status = take_site(&crawl, url) < 0
                     ? EXIT_FAILURE
                     : run_crawl(&crawl, url, concurrency);
    if (server.fd >= 0) {
        demo_server_stop(&server);
    }
    free_pages(&crawl);
    if (gev_hub_close() < 0 || fflush(stdout) != 0) {
        status = EXIT_FAILURE;
    }
    return end_output(status);
}
