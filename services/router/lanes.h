/* SPDX-License-Identifier: MIT */
/* lanes: which group of engines answers /v1 and which /v2.
 *
 * An engine belongs to a group for its life (--lane 0 or 1). Clients ask a lane: 0 is stable (/v1), 1 is
 * the candidate (/v2). Before a cutover, lane and group are the same; after it, /v1 is answered by group
 * 1 and /v2 by group 0. The file <state>/lanes.json keeps that across restarts of the router. */
#ifndef HALO_ROUTER_LANES_H
#define HALO_ROUTER_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { LANES = 2, LANE_STABLE = 0, LANE_CANDIDATE = 1 };

struct lanes {
    uint32_t group_of[LANES];
    uint64_t changed_ms; /* Unix time of the last exchange; 0: never */
    bool was_rollback; /* the last exchange undid the one before */
    char *path;
};

/* Reads <state>/lanes.json; without such a file lanes and groups are the same. ERR_IO: it is there and
 * cannot be read or says something else; `why` gets one line with the remedy. */
MUST_CHECK enum err lanes_init(struct lanes *s, const char *state, char *why, size_t cap_why);
void lanes_fini(struct lanes *s);

/* Exchanges the groups of the two lanes, on disk first. On failure nothing has changed: ERR_IO. */
MUST_CHECK enum err lanes_exchange(struct lanes *s, bool is_rollback);

#endif
