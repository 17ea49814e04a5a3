/* SPDX-License-Identifier: MIT */
/* worker: the step thread. It owns scheduler and backend; the loop thread hands it commands through
 * one queue and gets one result for each step through the loop's queue.
 *
 * A command takes effect before the next step. The epoch of a result is that of the last
 * worker_cancel_all before it, so that results for a lost router are told from later ones.
 *
 * All functions belong to the loop thread. */
#ifndef HALO_ENGINE_WORKER_H
#define HALO_ENGINE_WORKER_H

#include <stdint.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/loop.h"
#include "proto/frames.h"
#include "services/engine/carry.h"
#include "services/engine/scheduler.h"

struct worker;

/* What one step brought. */
struct worker_result {
    struct worker_result *next;
    struct arena arena;
    struct rec_token *items; /* in the arena */
    size_t n_items;
    struct frame_engine_load load;
    uint64_t epoch;
    struct carry_job *job; /* that was done; NULL: none */
    enum err error; /* the backend failed: the engine is of no further use */
};

/* Starts the thread. scheduler and carry are borrowed and must not be used by others until worker_stop.
 * on_result runs on the loop thread; the result is lent for the call. */
MUST_CHECK enum err worker_start(struct scheduler *scheduler, const struct carry *carry,
                                 struct loop *loop,
                                 void (*on_result)(void *ctx, const struct worker_result *r),
                                 void *ctx, struct worker **ret_worker);

void worker_submit(struct worker *w, struct seq *take_seq);
void worker_cancel(struct worker *w, uint64_t req);

/* Drops all replies; results from before carry another epoch. */
void worker_cancel_all(struct worker *w, uint64_t epoch);

/* Gives or takes KV blocks between two steps; comes back with a result. */
void worker_carry(struct worker *w, struct carry_job *take_job);

/* Ends the thread after the step in progress. on_result is not called any more; what is queued on the
 * loop frees itself there. NULL is allowed. */
void worker_stop(struct worker *w);

#endif
