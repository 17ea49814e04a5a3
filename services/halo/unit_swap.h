/* SPDX-License-Identifier: MIT */
/* halo swap where systemd runs the stack. A process cannot move from one unit to another, so a stand-in
 * bridges the gap: the instance `N-swap` of the engine's unit starts out of service with what is to
 * change; the router hands the engine's replies over to it; the engine's own unit starts again with the
 * change; the replies go back to it, and the stand-in is stopped. The router's part is the caller's.
 *
 * The change is a drop-in of the engine's unit (halo-swap.conf) and outlives a reboot; `systemctl revert`
 * undoes it. The stand-in's files are in /run. */
#ifndef HALO_HALO_UNIT_SWAP_H
#define HALO_HALO_UNIT_SWAP_H

#include <stdbool.h>
#include <stdint.h>

enum { UNIT_SWAP_WHY_CAP = 1024, UNIT_SWAP_NAME_CAP = 48 };

/* What is to change; NULL: nothing. Paths are absolute. */
struct unit_change {
    const char *model;
    const char *backend;
    const char *build; /* halo-engine, or the directory that holds it */
    const char *args; /* further words */
};

struct unit_swap;

/* Starts the stand-in of `engine` ("engine.1") and waits until it is ready. False: nothing has changed, and
 * `why` (UNIT_SWAP_WHY_CAP bytes) says for what reason. */
bool unit_swap_start(const char *engine, const struct unit_change *change, char *why,
                     struct unit_swap **ret_swap);

/* As processes call themselves: "engine.1-swap". Lends. */
const char *unit_swap_stand_in(const struct unit_swap *s);

uint32_t unit_swap_engine_pid(const struct unit_swap *s); /* 0: it does not run */
uint32_t unit_swap_stand_in_pid(const struct unit_swap *s);

/* Starts the engine's unit again, with the change. If it does not come up, it is started as it was before:
 * false, and `why`; unit_swap_engine_pid is 0 if that failed, too. */
bool unit_swap_restart(struct unit_swap *s, char *why);

/* Stops the stand-in, removes its files and frees s. */
void unit_swap_end(struct unit_swap *take_s);

/* Frees s and leaves the stand-in as it is. */
void unit_swap_leave(struct unit_swap *take_s);

#endif
