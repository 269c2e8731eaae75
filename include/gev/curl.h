/* SPDX-License-Identifier: MIT */
#ifndef GEV_CURL_H
#define GEV_CURL_H

/** @file gev/curl.h
 *  libcurl in greenlets: a call of gev_curl_perform() looks like one of
 *  curl_easy_perform(3), and parks the caller instead of stopping the thread.
 *  Link with gev-curl (pkg-config); this header is not part of <gev.h>.
 *
 *  All transfers of a hub are driven by one multi handle on the hub's loop, so
 *  they share its connections and its DNS cache, and HTTP/2 transfers to one
 *  server share a connection (CURLOPT_PIPEWAIT has the first ones wait for it).
 *
 *  @code
 *  static void *fetch(void *url)
 *  {
 *      CURL *easy = curl_easy_init();
 *      curl_easy_setopt(easy, CURLOPT_URL, url);
 *      CURLcode rc = gev_curl_perform(easy);
 *      curl_easy_cleanup(easy);
 *      return (void *)curl_easy_strerror(rc);
 *  }
 *  @endcode
 *
 *  Every option of an easy handle works, with these differences:
 *
 *  - CURLOPT_NOSIGNAL and CURLOPT_QUICK_EXIT are set to 1 and stay so: without
 *    them curl would change the process's SIGPIPE under other threads, and wait
 *    for a name server before it lets go of a transfer that has ended.
 *  - telnet: stops the thread until it ends: curl polls by itself there, and
 *    neither a kill nor a timeout scope is seen. file: stops it as long as the
 *    disk takes.
 *  - With CURLOPT_CONNECT_ONLY the connection ends with the transfer.
 *  - A CURLSH needs lock functions only if several threads use it: within a
 *    hub no two calls of curl overlap. They run in the hub, where a gev_lock
 *    cannot be waited for; pthread mutexes are right.
 */
#include <gev/base.h>

#include <curl/curl.h>

GEV_BEGIN_DECLS

/** Runs a transfer to its end, as curl_easy_perform(3). The handle is free
 *  for anything on return.
 *
 *  Its callbacks run in the hub while the caller is parked and must not park:
 *  gev's calls fail with EPERM there. To hold a transfer up, return
 *  CURL_WRITEFUNC_PAUSE or CURL_READFUNC_PAUSE and go on with
 *  gev_curl_pause().
 *
 *  A kill, a thrown code or a timeout scope removes the transfer at once,
 *  whatever it is doing, the look-up of a name included. errno is the reason
 *  then; otherwise it stays as it was.
 *
 *  Parks:  yes.
 *  @param easy  set up by the caller; not in a multi handle
 *  @return CURLE_OK or what curl says. From gev:
 *    CURLE_OPERATION_TIMEDOUT with errno ETIMEDOUT: a timeout scope expired.
 *    CURLE_ABORTED_BY_CALLBACK: killed (errno ECANCELED), or the code that was
 *      thrown, or that of a gev_timeout_begin_error() scope, in errno; ECHILD:
 *      it was the parent's, and this is a forked child.
 *    CURLE_RECURSIVE_API_CALL with errno EPERM: parking is forbidden here.
 *    CURLE_FAILED_INIT: the handle is in a transfer, or in a multi handle.
 *    CURLE_OUT_OF_MEMORY: also without a descriptor for a hub; errno says.
 *    CURLE_BAD_FUNCTION_ARGUMENT: not a handle.
 *
 *  Source: curl_easy_perform(3); pycurl under gevent
 *  @since 0.1
 */
GEV_API CURLcode gev_curl_perform(CURL *easy);

/** Pauses a transfer that is in gev_curl_perform(), or lets it go on, as
 *  curl_easy_pause(3), from any greenlet or callback of the hub. What was held
 *  back is delivered by the hub a moment later, not in this call; should that
 *  fail, the transfer ends with the reason.
 *
 *  Parks:  no.
 *  @param bitmask  CURLPAUSE_RECV | CURLPAUSE_SEND: what shall be paused
 *  @return CURLE_OK, or CURLE_BAD_FUNCTION_ARGUMENT: it is in no transfer of
 *    this hub, or shall be paused before it has a connection
 *
 *  Source: curl_easy_pause(3)
 *  @since 0.1
 */
GEV_API CURLcode gev_curl_pause(CURL *easy, int bitmask);

/** This hub's multi handle, for curl_multi_setopt(3): CURLMOPT_MAXCONNECTS,
 *  CURLMOPT_MAX_HOST_CONNECTIONS, CURLMOPT_PIPELINING and their like.
 *  CURLMOPT_SOCKETFUNCTION, CURLMOPT_TIMERFUNCTION and their data belong to
 *  gev, and so does calling it. Until the first call of this function gev
 *  raises CURLMOPT_MAXCONNECTS with the transfers there are at once, from 256
 *  on; then it is yours.
 *
 *  Parks:  no.
 *  Owns:   borrowed; valid until gev_hub_close() or the thread's end. A
 *          forked child has another one.
 *  @return the handle; NULL on error
 *
 *  Errors:
 *    ENOMEM  no memory
 *    EMFILE, ENFILE  no descriptor for the hub, or for curl
 *  @since 0.1
 */
GEV_API CURLM *gev_curl_multi(void);

GEV_END_DECLS
#endif
