/* SPDX-License-Identifier: MIT */
/* scheduler: which tokens the next step computes, and what became of them.
 *
 * A step holds one token of every sequence that decodes, and, with what is left of the budget, parts
 * of prompts: each sequence in prefill gets an equal share, and what others do not need goes to the
 * oldest. While replies run, pace.h holds the prompts' part down to what lengthens a step by half. So
 * a long prompt delays neither running replies nor a short prompt behind it; pace.h has figures.
 *
 * What then is left of the budget may go to drafts (draft.h): guesses at the next tokens of a sequence
 * that decodes, computed in the same step as its last token. The sampler chooses at each of these
 * positions as if they had come one by one, and goes on as long as its choice is the guess. Keys and
 * values of wrong guesses are overwritten, and published never: n_computed does not count them. Drafts
 * put no other sequence back, nor take the block that one needs next.
 *
 * Where several sequences begin alike, the first one computes the common blocks and the others wait
 * for them, so replies to one prompt that are asked for together cost one prefill.
 *
 * Sequences are admitted in order of arrival, when a place is free and the KV blocks for all their
 * tokens are there. When a running one needs a block and none is left, the latest arrival goes back
 * to the head of the queue; what it computed is published in the prefix cache and mostly found again.
 * The oldest sequence is never put back, so all finish.
 *
 * None of this shows in the tokens of a reply. Owned by the step thread. */
#ifndef HALO_ENGINE_SCHEDULER_H
#define HALO_ENGINE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/err.h"
#include "kernels/kernels.h"
#include "proto/frames.h"
#include "services/engine/backend.h"
#include "services/engine/seq.h"

struct scheduler;

struct scheduler_config {
    const struct model_config *model; /* borrowed */
    const struct kernels *kernels; /* for sampling */
    struct backend *backend; /* borrowed */
    uint32_t n_ctx; /* at most the positions that all KV blocks hold */
    uint32_t max_seqs; /* sequences in a step; at most the backend's max_logits */
    uint32_t spec_tokens; /* most drafts of a sequence in a step, up to DRAFT_MAX_TOKENS; all drafts
                             of a step need as many of max_logits beyond max_seqs */
    uint32_t step_tokens; /* tokens in a step; max_seqs .. the backend's max_rows */
    uint32_t stretch_percent; /* by which prompts may lengthen steps that decode, see pace.h */
    uint32_t max_waiting; /* further ones end with ERR_FULL; at least 1 */
    uint64_t numbers; /* told with a reply's first token */
};

struct scheduler *scheduler_new(const struct scheduler_config *config);
void scheduler_free(struct scheduler *s);

/* Queues a reply. One of the same request id that is still there is dropped. */
void scheduler_add(struct scheduler *s, struct seq *take_seq);

/* Drops a reply; unknown ids are fine (it may just have ended). */
void scheduler_cancel(struct scheduler *s, uint64_t req);
void scheduler_cancel_all(struct scheduler *s);

/* Whether scheduler_step would do something. */
bool scheduler_has_work(const struct scheduler *s);

/* Runs one step. *ret_items are its events, in memory of `arena`. An error is the backend's; the
 * scheduler is then of no further use. */
MUST_CHECK enum err scheduler_step(struct scheduler *s, struct arena *arena,
                                   struct rec_token **ret_items, size_t *ret_n);

/* The table of KV blocks, for kv_file.h. */
struct kv *scheduler_kv(struct scheduler *s);

/* Gauges and counters. */
struct frame_engine_load scheduler_load(const struct scheduler *s);

#endif
