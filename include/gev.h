/* SPDX-License-Identifier: MIT */
#ifndef GEV_H
#define GEV_H

/** @file gev.h
 *  Everything in the core of gev, in reading order. Each header also stands
 *  alone.
 */
#include <gev/base.h>
#include <gev/version.h>

#include <gev/greenlet.h>
#include <gev/hub.h>
#include <gev/timeout.h>

#include <gev/dns.h>
#include <gev/socket.h>

#include <gev/debug.h>

#endif
