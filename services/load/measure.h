/* SPDX-License-Identifier: MIT */
/* measure: one measurement as the options ask for it: prompts, warm-up, the run itself with a progress
 * line, processor time. SIGINT and SIGTERM end it early, and what there is is reported. */
#ifndef HALO_LOAD_MEASURE_H
#define HALO_LOAD_MEASURE_H

#include <stdbool.h>

#include "common/loop.h"
#include "services/load/options.h"
#include "services/load/run.h"
#include "services/load/stage.h"

struct measure {
    struct loop *loop;
    struct run *run; /* the one that goes on, or NULL */
    bool is_interrupted;
    uint32_t gather_us; /* 0: what comes is read at once, see measure_gather */
};

/* Before any other thread exists. */
MUST_CHECK enum err measure_init(struct measure *m, struct loop *loop);

/* Loads what the stage has got ready and fills stats. False, and a line on stderr, if the prompts cannot
 * be made. */
bool measure_run(struct measure *m, const struct options *o, struct stage_world *w,
                 struct stats *stats);

/* The same for a closed loop of n_requests at the given concurrency, without warm-up and progress. */
bool measure_closed(struct measure *m, const struct options *o, uint32_t vocab, uint64_t seed,
                    uint32_t concurrency, uint64_t n_requests, uint32_t max_tokens,
                    struct target *target, struct stats *stats);

/* From now on closed loops, when something has come, let so many microseconds pass before they take it
 * and what came with it, 0 for none: the tokens of one step reach as many sockets one by one, and a tester that is woken
 * for each of them takes from a busy machine what the stack would be blamed for. Times of tokens are
 * late by as much. */
void measure_gather(struct measure *m, uint32_t gather_us);

#endif
