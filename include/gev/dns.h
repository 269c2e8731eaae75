/* SPDX-License-Identifier: MIT */
#ifndef GEV_DNS_H
#define GEV_DNS_H

/** @file gev/dns.h
 *  Names and addresses: POSIX's resolver calls, parking instead of blocking.
 *
 *  Questions go to the name servers of resolv.conf by c-ares, from the hub's
 *  own loop: no thread, and any number of look-ups at once. What needs no
 *  network - numbers, service names, the hosts file, localhost - is answered
 *  without parking. The same question asked by several greenlets at the same
 *  time goes out once. A greenlet that is killed or runs out of time leaves,
 *  and the question is answered for the others.
 *
 *  Like libc: the hosts file, search domains, ndots, timeout and attempts of
 *  resolv.conf, the order of nsswitch.conf (of "files" and "dns"; other
 *  sources, such as mDNS, are not asked), RFC 6724 order. Both files are seen
 *  anew when they change. Unlike libc: SOCK_RAW results come only if asked
 *  for; AI_ADDRCONFIG concerns names only, never numbers and localhost, and
 *  nothing on a host with loopback addresses alone; localhost and names under
 *  it are loopback addresses and .onion does not exist, nobody is asked for
 *  either (RFC 6761, 7686); names must be ASCII (IDNA's A-labels).
 *
 *  Environment variables, read when a hub first looks up a name:
 *
 *    GEV_DNS_SERVERS      instead of resolv.conf's: addresses with commas
 *                         between, each with a port if need be, as in
 *                         "127.0.0.1:5353,[::1]:53,9.9.9.9"
 *    GEV_DNS_TIMEOUT      seconds to wait for the first answer of a server (2),
 *                         doubled with every further try
 *    GEV_DNS_TRIES        how often each server is asked (3)
 *    GEV_DNS_HOSTS        a file instead of /etc/hosts
 *    GEV_DNS_RESOLV_CONF  a file instead of /etc/resolv.conf
 *
 *  They go before resolv.conf. With a value that makes no sense every look-up
 *  of a name fails with EAI_SYSTEM and errno EINVAL. A program that runs with
 *  raised privileges ignores them.
 *
 *  c-ares has one allocator in a process: the first look-up gives it gev's. A
 *  program that uses c-ares itself and gev_set_allocator() makes no c-ares
 *  channel of its own before that.
 */
#include <gev/base.h>

#include <netdb.h>
#include <sys/socket.h>

struct addrinfo;
struct sockaddr;

GEV_BEGIN_DECLS

/** Resolves a name and a service to socket addresses, like getaddrinfo(3).
 *
 *  Parks:  only if a name server has to be asked. The number of its tries is
 *          limited: silent servers end it with EAI_AGAIN.
 *  Owns:   *res is the caller's, to be freed by gev_freeaddrinfo() or libc's
 *          freeaddrinfo(). On failure it is untouched.
 *  @param hints  NULL: as libc, AI_V4MAPPED | AI_ADDRCONFIG
 *  @param res    NULL: only whether it resolves
 *  @return 0, or an EAI_* code; gai_strerror(3) has words for it
 *
 *  Errors:
 *    EAI_NONAME      no such name, or no address of the family asked for; no
 *                    name and no service; not a number where one was promised
 *    EAI_ADDRFAMILY  a number of another family than asked for
 *    EAI_AGAIN       the servers did not answer, or could not
 *    EAI_FAIL        an answer that makes no sense
 *    EAI_SERVICE     no such service for the type of socket; a port over 65535
 *    EAI_SOCKTYPE    no such type of socket, or not with that protocol
 *    EAI_FAMILY      neither AF_UNSPEC, AF_INET nor AF_INET6
 *    EAI_BADFLAGS    unknown flags, or AI_CANONNAME without a name
 *    EAI_IDN_ENCODE  AI_IDN and a name that is not ASCII
 *    EAI_MEMORY      no memory
 *    EAI_SYSTEM      errno has the reason: ECANCELED (killed), ETIMEDOUT or
 *                    the code of a scope, what else any park fails with, or
 *                    EINVAL for a bad environment variable
 *  Source: gevent.socket.getaddrinfo (DNS1)
 *  @since 0.1
 */
GEV_API int gev_getaddrinfo(const char *node, const char *service,
                            const struct addrinfo *hints,
                            struct addrinfo **res);

/** Frees what gev_getaddrinfo() or libc's getaddrinfo() gave; NULL is fine.
 *
 *  Parks:  no.
 *  Thread: any thread.
 *  @since 0.1
 */
GEV_API void gev_freeaddrinfo(struct addrinfo *res);

/** Finds the name of an address and of its port, like getnameinfo(3).
 *
 *  Parks:  only if a name server has to be asked; never with NI_NUMERICHOST.
 *  @param host  room for hostlen bytes; NULL or 0 bytes: not wanted
 *  @param serv  room for servlen bytes; NULL or 0 bytes: not wanted
 *  @return 0, or an EAI_* code
 *
 *  Errors:
 *    EAI_NONAME    NI_NAMEREQD, and the address has no name; or nothing wanted
 *    EAI_AGAIN     the servers did not answer, or could not
 *    EAI_FAMILY    no address of a known family
 *    EAI_OVERFLOW  a name does not fit
 *    EAI_BADFLAGS  unknown flags
 *    EAI_MEMORY    no memory
 *    EAI_SYSTEM    errno has the reason, as with gev_getaddrinfo()
 *  Source: gevent.socket.getnameinfo (DNS1)
 *  @since 0.1
 */
GEV_API int gev_getnameinfo(const struct sockaddr *addr, socklen_t addrlen,
                            char *host, socklen_t hostlen, char *serv,
                            socklen_t servlen, int flags);

GEV_END_DECLS
#endif
