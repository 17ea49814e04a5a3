/* SPDX-License-Identifier: MIT */
/* sampler: from logits to a token.
 *
 * The order is fixed:
 *   1. logit_bias is added; while fewer than min_tokens were generated, end tokens are ruled out
 *   2. repetition_penalty r, for each token of the prompt or the reply so far (as in Hugging Face
 *      transformers and vLLM): logit > 0 ? logit / r : logit * r
 *   3. frequency_penalty * count + presence_penalty is subtracted for each token of the reply so far
 *      (not of the prompt, as OpenAI defines it)
 *   4. temperature 0 (or below 1e-5, where 1/temperature leaves the range of use): the largest logit,
 *      the lowest id among equals; the rest is skipped
 *   5. p = exp((logit - max) / temperature)
 *   6. top_k likeliest; of them the fewest likeliest whose p reach top_p of the sum; of them those
 *      with p >= min_p times the largest p. Equal logits go by id.
 *   7. of these the largest logit + temperature * Gumbel noise (kernels/gumbel), the lowest id among
 *      equals: that is a draw with the probabilities p. The noise is a function of the seed, the id and
 *      index, which counts the reply's tokens from 0, so a resumed reply goes on with the same draws.
 * Log probabilities are those of the model: log softmax of the logits as they came in.
 *
 * The result is a pure function of logits, parameters, tokens so far and index: sums run in a fixed
 * order, exp and log are those of kernels/math. */
#ifndef HALO_ENGINE_SAMPLER_H
#define HALO_ENGINE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/model_config.h"
#include "kernels/kernels.h"
#include "proto/frames.h"
#include "services/engine/backend.h"

enum {
    SAMPLER_MAX_TOP = 20, /* top_logprobs */
    SAMPLER_MAX_STOPS = 64, /* stop_ids */
    SAMPLER_RULES = 2, /* one more whenever a seed gives other replies than before */
};

/* One for each thread that samples: the kernels and scratch memory. */
struct sampler_bench;

/* One for each reply: its parameters and the tokens it has seen. */
struct sampler;

struct sampler_choice {
    uint32_t id;
    float logprob; /* if logprobs were asked for */
    uint32_t n_top;
    struct {
        uint32_t id;
        float logprob;
    } top[SAMPLER_MAX_TOP]; /* best first */
};

struct sampler_bench *sampler_bench_new(const struct kernels *k, uint32_t n_vocab);
void sampler_bench_free(struct sampler_bench *b);

/* Checks parameters that came over the wire. On failure returns ERR_RANGE or ERR_TOO_LARGE and
 * writes a line for the client into `why`. */
MUST_CHECK enum err sampler_check(const struct rec_sampling *p, uint32_t n_vocab, char *why,
                                  size_t cap_why);

/* p passed sampler_check; it is copied. */
struct sampler *sampler_new(const struct rec_sampling *p, const struct model_config *config);
void sampler_free(struct sampler *s);

/* Tokens of the prompt or of the reply, once each, before the next choice. */
void sampler_saw(struct sampler *s, const uint32_t *tokens, size_t n, bool is_reply);

/* Whether the reply ends with this token. */
bool sampler_is_end(const struct sampler *s, uint32_t id);

/* The logits that the choice of token number `index` depends on, and those of the tokens after it if
 * they are the drafts. Its list of changes is lent until the next call with this sampler. */
struct backend_want sampler_want(struct sampler *s, uint32_t index, const uint32_t *drafts,
                                 uint32_t n_drafts);

/* Chooses the reply's token number `index` from what was got for sampler_want, which is changed.
 * ERR_INTERNAL when no token is possible: all logits are NaN or -inf, or one is +inf. */
MUST_CHECK enum err sampler_choose(struct sampler_bench *b, struct sampler *s,
                                   const struct backend_logits *l, uint32_t index,
                                   struct sampler_choice *ret_choice);

#endif
