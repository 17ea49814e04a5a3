/* SPDX-License-Identifier: MIT */
/* stage: what is measured, ready to be loaded: a stack that runs already, or one process of it that is
 * started here, in a run directory of its own, between the fake neighbours it needs. */
#ifndef HALO_LOAD_STAGE_H
#define HALO_LOAD_STAGE_H

#include "services/load/http.h"
#include "services/load/options.h"
#include "services/load/processes.h"

struct stage_world {
    struct loop *loop;
    struct target *target;
    struct processes processes;
    char model[128];
    uint32_t vocab; /* 0: not known */
    struct url url; /* HTTP stages */
    struct ask_config ask;
    struct http *http;
};

/* False, and a line on stderr, if it cannot be had. The world is to be closed in any case. */
bool stage_open(struct stage_world *w, struct loop *loop, const struct options *o);
void stage_close(struct stage_world *w);

#endif
