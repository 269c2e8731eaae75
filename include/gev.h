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
#include <gev/link.h>
#include <gev/local.h>
#include <gev/timeout.h>

#include <gev/channel.h>
#include <gev/event.h>
#include <gev/group.h>
#include <gev/lock.h>
#include <gev/queue.h>
#include <gev/wait.h>

#include <gev/file.h>
#include <gev/process.h>
#include <gev/signal.h>
#include <gev/threadpool.h>
#include <gev/workers.h>

#include <gev/dns.h>
#include <gev/server.h>
#include <gev/socket.h>
#include <gev/stream.h>

#include <gev/debug.h>
#include <gev/scoped.h>

#endif
