/* SPDX-License-Identifier: MIT */
#include "base/strerror.h"

#include <gev/base.h>
#include <gev/tls.h>

#include <netdb.h>
#include <string.h>

/* EAI codes of glibc reach from 1 to 105. */
#define EAI_END 200

static const char unknown[] = "Unknown error";

static const char *own_text(int error)
{
    switch (error) {
    case GEV_ELINKDONE:
        return "A linked greenlet returned";
    case GEV_ELINKFAILED:
        return "A linked greenlet failed";
    case GEV_ELINKKILLED:
        return "A linked greenlet was killed";
    case GEV_ETLS:
        return "The TLS protocol failed";
    case GEV_ETLSCERT:
        return "The TLS certificate does not verify";
    case GEV_ETLSNAME:
        return "The TLS certificate is for another name";
    case GEV_EAI(EAI_OVERFLOW): /* glibc has no words for it */
        return "Name or service too long for the buffer";
    default:
        return NULL;
    }
}

const char *gev__strerror(int error)
{
    const char *text = own_text(error);
    if (text != NULL) {
        return text;
    }
    if (error > (int)GEV_EAI_BASE && error < (int)GEV_EAI_BASE + EAI_END) {
        /* GEV_EAI() took the sign away, which differs between systems. */
        int eai = error - (int)GEV_EAI_BASE;
        text = gai_strerror(EAI_NONAME < 0 ? -eai : eai);
    } else {
        /* strerror() is not thread-safe, and strerror_r() wants a buffer. */
        text = strerrordesc_np(error);
    }
    return text != NULL ? text : unknown;
}

const char *gev_strerror(int error)
{
    return gev__strerror(error);
}
