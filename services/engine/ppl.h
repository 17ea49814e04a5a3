/* SPDX-License-Identifier: MIT */
/* ppl: how well a model predicts a text, as perplexity: exp of the mean of -ln p(token | those before
 * it), in nats.
 *
 * The text is cut into windows; each is computed alone, from position 0, after a begin token if there
 * is one. A token is scored if it has something before it in its window, and once only: where windows
 * overlap, of each but the first only the last `stride` tokens count (as in Hugging Face's guide to
 * perplexity). Probabilities are exp(logit - max) / sum in double, from the engine's float logits, and
 * added in the order of the text, so the figure is the same for any number of threads.
 *
 * Standard errors take the tokens' (or windows') values as independent. */
#ifndef HALO_ENGINE_PPL_H
#define HALO_ENGINE_PPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"

enum { PPL_MAX_BUCKETS = 24, PPL_FIRST_BUCKET = 32 };

struct ppl_config {
    const struct model *model; /* borrowed */
    const struct kernels *kernels;
    uint32_t n_threads;
    uint32_t window; /* 2 .. the model's context */
    uint32_t stride; /* 1 .. tokens of the text in a window */
    bool has_bos;
    enum kv_type kv_type;
    uint32_t check_top; /* 0: no check of the fast head */
    void (*progress)(void *ctx, uint64_t n_done, uint64_t n_all, double nll); /* NULL: none */
    void *ctx;
};

/* Mean of many values, and the standard error of it. */
struct ppl_mean {
    uint64_t n;
    double sum, squares;
};

/* Scored tokens with [from, to) tokens before them in their window. */
struct ppl_bucket {
    uint32_t from, to;
    struct ppl_mean nll;
};

struct ppl_results {
    uint64_t n_windows;
    struct ppl_mean nll;
    double seconds;
    uint32_t n_buckets;
    struct ppl_bucket buckets[PPL_MAX_BUCKETS];
    /* Of each full window that is scored as a whole: mean nll of its last half minus that of its second
     * quarter. A model that makes use of its context is at or below 0. */
    struct ppl_mean drift;
    uint64_t n_checked; /* positions whose fast head was compared */
    uint64_t n_differing;
    uint64_t n_picks; /* tokens chosen with top_p or min_p to compare */
    uint64_t n_picked; /* of them without all logits */
};

double ppl_mean_of(const struct ppl_mean *m);
double ppl_error_of(const struct ppl_mean *m); /* 0 with less than 2 values */

/* Whether the drift is above 0 by more than two standard errors. False without two windows. */
bool ppl_drifts(const struct ppl_results *r);

/* ERR_NOMEM; ERR_RANGE if no token can be scored; ERR_INTERNAL if a logit is not a number. */
MUST_CHECK enum err ppl_run(const struct ppl_config *config, const uint32_t *ids, size_t n_ids,
                            struct ppl_results *ret_results);

#endif
