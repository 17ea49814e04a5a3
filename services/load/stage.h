/* SPDX-License-Identifier: MIT */
/* stage: what is measured, ready to be loaded: a stack that runs already, or one process of it that is
 * started here, in a run directory of its own, between the fake neighbours it needs. */
#ifndef HALO_LOAD_STAGE_H
#define HALO_LOAD_STAGE_H

#include "services/load/children.h"
#include "services/load/ends.h"
#include "services/load/fake.h"
#include "services/load/http.h"
#include "services/load/options.h"
#include "services/load/processes.h"

struct stage_world {
    struct loop *loop;
    struct target *target;
    struct processes processes;
    char model[128]; /* that the requests name */
    uint32_t vocab; /* 0: not known */
    struct children children;
    struct fake *fake; /* the neighbour behind, if there is one */
    struct ends *ends; /* the neighbour in front, or */
    struct http *http; /* the clients */
    struct url url;
    struct ask_config ask;
    char *model_file;
    char hash[65]; /* of the model file */
};

/* False, and a line on stderr, if it cannot be had. The world is to be closed in any case. */
bool stage_open(struct stage_world *w, struct loop *loop, const struct options *o);
void stage_close(struct stage_world *w);

/* A whole stack of its own, for --compare-engine. */
bool stage_open_own_stack(struct stage_world *w, struct loop *loop, const struct options *o);

/* The same under a supervisor, as users start it; ready as soon as the supervisor says so. */
bool stage_open_supervised(struct stage_world *w, struct loop *loop, const struct options *o);

#endif
