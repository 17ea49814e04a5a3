/* SPDX-License-Identifier: MIT */
/* A stack that systemd runs: its services are units, its run directory holds a file `systemd` (made by
 * the installed tmpfiles.d/halo.conf) with the URL that is served. There is no supervisor then:
 * systemctl and journalctl answer in its place. */
#ifndef HALO_HALO_UNITS_H
#define HALO_HALO_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "services/halo/control.h"

/* Where the installed units keep their sockets. */
#define UNITS_RUN "/run/halo"

/* The URL of the stack that systemd runs in that run directory; NULL if it runs none there. Only a file
 * of root's or ours is believed. The caller frees it. */
char *units_url(const char *run);

/* What control_ask gives, from the units: `verb` is "status" or "restart". A process is called as the
 * supervisor calls it: engine.1 is halo-engine@1.service. */
enum err units_ask(const char *verb, const char *target, struct control_reply *ret_reply);

/* Becomes journalctl. Returns only if that cannot be run, with the exit status. `name` NULL: all. */
int units_show_logs(const char *name, uint32_t n_lines, bool is_following);

#endif
