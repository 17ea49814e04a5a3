/* SPDX-License-Identifier: MIT */
/* scheduler_rig: a scheduler on a small model, and what its replies were. For tests. */
#ifndef HALO_TESTS_ENGINE_SCHEDULER_RIG_H
#define HALO_TESTS_ENGINE_SCHEDULER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "services/engine/backend.h"
#include "services/engine/model.h"
#include "services/engine/scheduler.h"

enum { RIG_N_CTX = 256 };

/* What came back for one request. */
struct rig_reply {
    uint32_t ids[RIG_N_CTX];
    float logprobs[RIG_N_CTX];
    uint64_t tops[RIG_N_CTX]; /* hashes of the top log probabilities */
    uint32_t n;
    uint32_t cached;
    uint32_t finish;
    uint32_t code;
};

struct rig_setting {
    uint32_t n_blocks, max_seqs, step_tokens, n_ctx;
    bool has_fast_head;
    uint32_t n_spec;
};

extern const struct rig_setting RIG_PLAIN; /* no drafts, room for everything */
extern const struct rig_setting RIG_WIDE; /* drafts */

struct rig {
    struct backend *backend;
    struct scheduler *sched;
    struct seq_limits limits;
};

/* One thread, the best kernels of this machine. */
struct rig rig_new(const struct model *m, const struct rig_setting *set);
void rig_free(struct rig *r);

void rig_submit(struct rig *r, const struct frame_submit *f);

/* One step; replies[req] takes the events. Returns their number. */
size_t rig_step(struct rig *r, struct rig_reply *replies);

/* Steps until nothing is left to do. */
void rig_run_out(struct rig *r, struct rig_reply *replies);

/* `got` is `want` from token number `from` on. */
void rig_expect_same_from(const struct rig_reply *got, const struct rig_reply *want, uint32_t from);

#endif
