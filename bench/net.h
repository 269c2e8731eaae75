/* SPDX-License-Identifier: MIT */
#ifndef BENCH_NET_H
#define BENCH_NET_H

/** @file net.h
 *  What the network benchmarks share: listeners on the loopback, a process to
 *  serve them, the raw epoll echo server that is the limit, and a count of
 *  system calls.
 */
#include <stdint.h>

/** Longest message. */
#define NET_MESSAGE_MAX ((size_t)65536)

/** A TCP listener on 127.0.0.1, at a port of the system's choice. */
int net_listen(void);

/** The port it has. */
uint16_t net_port(int listener);

/** A blocking connection to a port of 127.0.0.1. */
int net_connect(uint16_t port);

void net_set_nonblocking(int fd);
void net_set_nodelay(int fd);

/** Forks a process that serves on a CPU until it is killed, or its parent ends.
 *  @return its pid */
int net_start_server(void (*serve)(const int listeners[], int n), unsigned cpu,
                     const int listeners[], int n);
void net_stop_server(int pid);

/** Echoes with epoll, level-triggered, and nothing else: one read and one write
 *  a message, one wait a batch. Does not return. */
void net_serve_raw(const int listeners[], int n);

/** The same with a greenlet a connection. */
void net_serve_gev(const int listeners[], int n);

/** Starts counting a process's system calls; -1 where that is not allowed. */
int net_count_calls(int pid);

/** How many there were; stops counting. */
double net_counted_calls(int counter);

#endif
