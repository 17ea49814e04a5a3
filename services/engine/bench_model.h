/* SPDX-License-Identifier: MIT */
/* bench_model: what halo-bench measures: a model file, or a model of a known shape with random
 * ternary weights made in memory, which costs the same time per token as a trained one. */
#ifndef HALO_ENGINE_BENCH_MODEL_H
#define HALO_ENGINE_BENCH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "services/engine/model.h"

#define BENCH_SHAPES "2b4t|700m|llama3-8b|falcon-e-1b|falcon-e-3b|bonsai-1.7b|demo|tiny"
#define BENCH_PACKINGS "t2|t5|s3|b1|t2/64|t2/128|b1/64|b1/128"

struct bench_model {
    struct model *model;
    void *weights; /* of a random model, else NULL */
    size_t weights_bytes; /* of these, or of the file */
};

/* Bytes of the weights and scales of all linear layers. A token reads all of them. */
uint64_t bench_model_code_bytes(const struct model *m);

/* Ternary weights of all linear layers: the multiply-adds of one token. */
uint64_t bench_model_n_weights(const struct model *m);

/* Opens `path`, and copies the weights, and the head too, into huge pages if asked to, as halo-engine does; on failure
 * one line in `why`. Random models are always in huge pages. */
MUST_CHECK enum err bench_model_open(struct bench_model *b, const char *path, bool does_copy,
                                     bool with_head, char *why, size_t cap_why);

/* Makes the model of one of BENCH_SHAPES, packed as one of BENCH_PACKINGS; the same bits each time. Its
 * context is that of the shape, or n_positions if they are more. On failure, it does not fit or its rows
 * are no whole groups, one line in `why`. */
MUST_CHECK enum err bench_model_make(struct bench_model *b, const char *shape, const char *packing,
                                     uint32_t n_positions, char *why, size_t cap_why);

void bench_model_fini(struct bench_model *b);

#endif
