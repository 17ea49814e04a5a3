/* SPDX-License-Identifier: MIT */
/* A thread that encodes long prompts, so that the loop's thread goes on meanwhile: a megabyte takes from
 * 20 ms (English) to 0.2 s (spaces) to encode, and 26 ms to render.
 *
 * A job copies what it needs of its request. Jobs run in the order in which they came and come back on the
 * loop's thread, which calls all functions here. A job that is dropped still comes back to the worker,
 * which then frees it. The worker has an encoder of its own and only reads the model. */
#ifndef HALO_TOKENIZER_WORKER_H
#define HALO_TOKENIZER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proto/frames.h"
#include "services/tokenizer/ids.h"
#include "services/tokenizer/model.h"

enum {
    WORKER_LONG_BYTES = 32 * 1024, /* prompts of fewer are not worth a job: about 2 ms */
    WORKER_MAX_JOBS = 256,
    WORKER_MAX_BYTES = 256 << 20, /* of all jobs' texts */
    WORKER_WHY_BYTES = 512,
};

struct worker;

struct worker_job {
    struct loop_task task;
    struct worker_job *next;
    struct worker *worker;
    void *user; /* NULL: dropped */
    uint32_t context;
    struct frame_generate
        frame; /* what says how to encode, and the ids to resume with; the rest is empty */
    struct buf text;
    struct ids resume;
    /* the outcome */
    enum err err;
    char why[WORKER_WHY_BYTES];
    struct ids prompt;
};

/* Whether a prompt is better encoded here. */
bool worker_is_for(const struct frame_generate *f);

/* `done` gets each finished job that has not been dropped; the job is freed when it returns. Errors are
 * those of encode_new; ERR_NOMEM when there can be no thread. */
MUST_CHECK enum err worker_start(struct loop *loop, const struct model *model,
                                 void (*done)(void *ctx, struct worker_job *job), void *ctx,
                                 struct worker **ret_worker);

/* Waits for the job that is running; the others are dropped. NULL is allowed. */
void worker_stop(struct worker *w);

/* A job for a request, which is copied. ERR_FULL: there are WORKER_MAX_JOBS, or their
 * texts would be longer than WORKER_MAX_BYTES. `context` as for
 * prompt_encode. The job is lent until it is done or dropped. */
MUST_CHECK enum err worker_submit(struct worker *w, const struct frame_generate *f,
                                  uint32_t context, void *user, struct worker_job **ret_job);

/* Nobody waits for it any more. NULL is allowed. */
void worker_drop(struct worker_job *job);

#endif
