/* SPDX-License-Identifier: MIT */
/* seq: one reply in the making. Built on the loop thread from a submit frame, then owned by the
 * scheduler on the step thread. */
#ifndef HALO_ENGINE_SEQ_H
#define HALO_ENGINE_SEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/model_config.h"
#include "proto/frames.h"
#include "services/engine/draft.h"
#include "services/engine/kv.h"
#include "services/engine/sampler.h"

struct seq {
    struct seq *next; /* in the list that holds it */
    uint64_t req; /* the router's request id */
    uint64_t arrival; /* order of arrival, given by the scheduler */
    uint64_t deadline_ns; /* monotonic; 0 is none */
    uint64_t tenant;
    uint32_t *tokens; /* prompt, then reply */
    uint32_t n_tokens;
    uint32_t cap_tokens;
    uint32_t n_prompt;
    uint32_t n_computed; /* positions whose keys and values are in the cache */
    uint32_t max_tokens; /* of the reply */
    struct draft draft; /* its tokens stand behind the last one */
    uint32_t n_cached; /* prompt tokens found in the prefix cache before the first reply token */
    bool is_planned; /* for the step in progress */
    bool is_surplus; /* came when the queue was full */
    bool was_admitted;
    bool was_reported; /* n_cached was sent */
    bool wants_logprobs;
    uint64_t arrived_ns; /* for its spans (proto/span.h), as the next three */
    uint64_t admitted_ns;
    uint64_t first_ns; /* when its first token was chosen */
    uint32_t n_asked; /* tokens that it came with */
    struct kv_seq kv;
    struct sampler *sampler;
};

/* What the engine can serve. */
struct seq_limits {
    const struct model_config *config;
    const char *model_hash;
    uint32_t n_ctx; /* most positions of a sequence: the model's, or fewer for want of KV blocks */
    uint64_t numbers; /* see core.h */
};

/* Checks a request and copies it. On failure gives the code and a line for the client in `why`:
 * ERR_CONTEXT, ERR_MODEL_UNKNOWN, ERR_RANGE, ERR_TOO_LARGE. */
MUST_CHECK enum err seq_new(const struct frame_submit *f, const struct seq_limits *limits,
                            char *why, size_t cap_why, struct seq **ret_seq);

/* seq->kv must have been released. */
void seq_free(struct seq *s);

/* Tokens of the reply so far. */
static inline uint32_t seq_n_reply(const struct seq *s)
{
    return s->n_tokens - s->n_prompt;
}

/* Makes room for n_tokens tokens in all. */
void seq_reserve(struct seq *s, uint32_t n_tokens);

/* Appends a token of the reply. */
void seq_add(struct seq *s, uint32_t id);

/* How the reply stands with the tokens it has. */
enum finish seq_finish(const struct seq *s, uint32_t n_ctx);

#endif
