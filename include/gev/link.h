/* SPDX-License-Identifier: MIT */
#ifndef GEV_LINK_H
#define GEV_LINK_H

/** @file gev/link.h
 *  Links: what is to happen when a greenlet ends, served strictly in the order
 *  they were made. A link to one that has ended already is served soon, never
 *  inline.
 */
#include <gev/base.h>

GEV_BEGIN_DECLS

/* As in <gev/greenlet.h>, which includes this. */
typedef struct gev_greenlet gev_greenlet;

/** Called once, after @p g ended, in the order of the links; never inline. */
typedef void (*gev_link_fn)(gev_greenlet *g, void *arg);

/** Which ends a link is for. */
enum gev_link_which {
    GEV_LINK_ANY = 0,   /**< every end */
    GEV_LINK_VALUE = 1, /**< a successful one; a kill is one */
    GEV_LINK_ERROR = 2  /**< a failure */
};

/** Has @p fn called when @p g has ended, in a greenlet of its own: it may
 *  park. Also for one that has ended already.
 *
 *  Parks:  no.
 *  Owns:   the link holds a reference to g until it ran.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL
 *    EPERM   another thread's
 *    ENOMEM  no memory for the link
 *  Source: Greenlet.link (GLT17)
 *  @since 0.1
 */
GEV_API int gev_link(gev_greenlet *g, gev_link_fn fn, void *arg);

/** gev_link() for a successful end only; a kill is one.
 *
 *  Parks:  no.
 *
 *  Errors: as gev_link().
 *  Source: Greenlet.link_value (GLT18)
 *  @since 0.1
 */
GEV_API int gev_link_value(gev_greenlet *g, gev_link_fn fn, void *arg);

/** gev_link() for a failure only.
 *
 *  Parks:  no.
 *
 *  Errors: as gev_link().
 *  Source: Greenlet.link_exception (GLT18)
 *  @since 0.1
 */
GEV_API int gev_link_error(gev_greenlet *g, gev_link_fn fn, void *arg);

/** The cheapest link: @p fn runs in the hub and must not park (EPERM).
 *
 *  Parks:  no.
 *
 *  Errors: as gev_link().
 *  Source: Greenlet.rawlink (GLT19)
 *  @since 0.1
 */
GEV_API int gev_rawlink(gev_greenlet *g, gev_link_fn fn, void *arg);

/** Takes back the oldest link of this pair that has not run; also from inside
 *  another link. Unknown: 0.
 *
 *  Parks:  no.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  g is NULL
 *    EPERM   another thread's
 *  Source: Greenlet.unlink (GLT20)
 *  @since 0.1
 */
GEV_API int gev_unlink(gev_greenlet *g, gev_link_fn fn, void *arg);

/** Has g's end thrown into @p receiver: GEV_ELINKDONE, GEV_ELINKFAILED or
 *  GEV_ELINKKILLED, as gev_throw() would. gev_linked() then tells whose.
 *
 *  Parks:  no.
 *  @param which  GEV_LINK_ANY, GEV_LINK_VALUE or GEV_LINK_ERROR
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  NULL, or no such which
 *    EPERM   another thread's
 *    ENOMEM  no memory for the link
 *  @since 0.1
 */
GEV_API int gev_link_to(gev_greenlet *g, gev_greenlet *receiver, int which);

/** Whose end was last thrown into the current greenlet; NULL: none yet.
 *
 *  Parks:  no.
 *  Owns:   borrowed, until the next such code is delivered.
 *
 *  Errors: none.
 *  @since 0.1
 */
GEV_API gev_greenlet *gev_linked(void);

GEV_END_DECLS
#endif
