/* SPDX-License-Identifier: MIT */

/* C++ exceptions beside greenlets: each greenlet has its own caught and
 * uncaught exceptions (__cxa_eh_globals), as errno. No cmocka here: prints what
 * failed and exits with 1. */
#include <gev.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

static int failures;

static void check(bool good, const char *what, int line)
{
    if (!good) {
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
        failures++;
    }
}
#define CHECK(c) check((c), #c, __LINE__)

struct thrower {
    std::string text;
    std::string outer;
    std::string inner;
    int destroyed = 0;
};

struct guard {
    int *count;
    ~guard()
    {
        ++*count;
    }
};

/* Parks in a catch block while others throw and catch; then rethrows. */
static void *park_in_catch(void *arg)
{
    thrower *t = static_cast<thrower *>(arg);
    try {
        try {
            guard g{&t->destroyed};
            throw std::runtime_error(t->text);
        } catch (const std::exception &e) {
            for (int i = 0; i < 5; i++) {
                if (gev_yield() != 0 || gev_sleep(0.0005) != 0) {
                    return gev_fail(ECANCELED);
                }
            }
            t->inner = e.what();
            throw; /* must be this greenlet's */
        }
    } catch (const std::exception &e) {
        t->outer = e.what();
    }
    return nullptr;
}

static void test_parks_in_catch()
{
    const int n = 10;
    thrower t[n];
    gev_greenlet *g[n];
    for (int i = 0; i < n; i++) {
        t[i].text = "exception " + std::to_string(i);
        g[i] = gev_spawn(park_in_catch, &t[i]);
    }
    CHECK(gev_joinall(g, n, GEV_FOREVER) == n);
    for (int i = 0; i < n; i++) {
        CHECK(t[i].inner == t[i].text);
        CHECK(t[i].outer == t[i].text);
        CHECK(t[i].destroyed == 1);
    }
    gev_unrefall(g, n);
}

/* main itself parks in a catch block. */
static void test_main_parks_in_catch()
{
    thrower t;
    t.text = "of the greenlet";
    gev_greenlet *g = gev_spawn(park_in_catch, &t);
    std::string what;
    try {
        try {
            throw std::runtime_error("of main");
        } catch (const std::exception &) {
            CHECK(gev_join(g, GEV_FOREVER) == 0);
            throw;
        }
    } catch (const std::exception &e) {
        what = e.what();
    }
    CHECK(what == "of main");
    CHECK(t.outer == t.text);
    gev_unref(g);
}

struct parks_while_unwinding {
    int *uncaught;
    ~parks_while_unwinding()
    {
        (void)gev_sleep(0.001);
        *uncaught = std::uncaught_exceptions();
    }
};

static void *park_while_unwinding(void *arg)
{
    int *uncaught = static_cast<int *>(arg);
    try {
        parks_while_unwinding p{uncaught};
        throw 1;
    } catch (int) {
    }
    return nullptr;
}

static void *count_uncaught(void *arg)
{
    *static_cast<int *>(arg) = std::uncaught_exceptions();
    return nullptr;
}

/* The exception in flight in one greenlet is none of another's. */
static void test_parks_while_unwinding()
{
    int unwinding = -1;
    int other = -1;
    gev_greenlet *g[2] = {gev_spawn(park_while_unwinding, &unwinding),
                          gev_spawn(count_uncaught, &other)};
    CHECK(gev_joinall(g, 2, GEV_FOREVER) == 2);
    CHECK(unwinding == 1);
    CHECK(other == 0);
    gev_unrefall(g, 2);
}

static void *switch_in_catch(void *arg)
{
    thrower *t = static_cast<thrower *>(arg);
    try {
        try {
            throw std::runtime_error(t->text);
        } catch (...) {
            (void)gev_switch(gev_parent(gev_current()), nullptr, nullptr);
            throw;
        }
    } catch (const std::exception &e) {
        t->outer = e.what();
    }
    return nullptr;
}

/* Raw switches, too. */
static void test_raw_switch_in_catch()
{
    thrower a;
    thrower b;
    a.text = "a";
    b.text = "b";
    gev_greenlet *ga = gev_new(switch_in_catch, &a);
    gev_greenlet *gb = gev_new(switch_in_catch, &b);
    CHECK(gev_switch(ga, nullptr, nullptr) == 0);
    CHECK(gev_switch(gb, nullptr, nullptr) == 0);
    CHECK(gev_switch(ga, nullptr, nullptr) == 0);
    CHECK(gev_switch(gb, nullptr, nullptr) == 0);
    CHECK(a.outer == "a");
    CHECK(b.outer == "b");
    CHECK(std::uncaught_exceptions() == 0);
    CHECK(std::current_exception() == nullptr);
    gev_unref(ga);
    gev_unref(gb);
}

static void *throw_deep(void *arg)
{
    int depth = static_cast<int>(reinterpret_cast<intptr_t>(arg));
    if (depth == 0) {
        throw std::length_error("deep");
    }
    return throw_deep(
        reinterpret_cast<void *>(static_cast<intptr_t>(depth - 1)));
}

static void *catch_deep(void *arg)
{
    try {
        throw_deep(arg);
    } catch (const std::length_error &e) {
        return reinterpret_cast<void *>(
            static_cast<intptr_t>(std::strcmp(e.what(), "deep") == 0));
    }
    return nullptr;
}

/* Unwinding on a greenlet's stack. */
static void test_unwinds_on_a_greenlets_stack()
{
    void *value = nullptr;
    gev_greenlet *g =
        gev_spawn(catch_deep, reinterpret_cast<void *>(intptr_t{50}));
    CHECK(gev_get(g, &value, GEV_FOREVER) == 0);
    CHECK(value != nullptr);
    gev_unref(g);
}

int main()
{
    test_parks_in_catch();
    test_main_parks_in_catch();
    test_parks_while_unwinding();
    test_raw_switch_in_catch();
    test_unwinds_on_a_greenlets_stack();
    CHECK(gev_hub_close() == 0);
    return failures == 0 ? 0 : 1;
}
