/* SPDX-License-Identifier: MIT */
#ifndef GEV_HUB_FORK_H
#define GEV_HUB_FORK_H

/* Has fork(2) leave a usable hub in the child; once a process. */
void gev__fork_install(void);

#endif
