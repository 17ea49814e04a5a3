/* SPDX-License-Identifier: MIT */
/* testmodel: small models with random weights, written as .h1b files for tests. */
#ifndef HALO_TESTS_ENGINE_TESTMODEL_H
#define HALO_TESTS_ENGINE_TESTMODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "services/engine/model.h"

struct testmodel {
    uint64_t seed;
    uint32_t n_vocab, n_hidden, n_ffn, n_layers, n_heads, n_kv_heads, head_dim, n_ctx;
    uint32_t n_scales; /* per matrix; divides all matrices' rows */
    bool is_tied;
    enum model_arch arch;
    enum model_act act;
    const char *more; /* members of the config's JSON object, each after a comma, or NULL */
    enum h1b_dtype dtype; /* of the linear layers; 0: T2. T2 and T5 hold the same trits */
    uint32_t group; /* of their scales, in place of n_scales; 0: none */
    const char
        *no_groups; /* a part of a layer, as "self_attn.k_proj", with n_scales all the same */
};

/* Shapes whose rows are no multiples of the vector lengths; a context of 256, end token 2. */
extern const struct testmodel TESTMODEL_TINY;

/* Writes the model to `path`. Leaves out the section `omit` if it is not NULL, and gives the section
 * `reshape` one row too many if that is not NULL. */
void testmodel_write(const struct testmodel *t, const char *path, const char *omit,
                     const char *reshape);

/* Writes it to a temporary file, opens it and removes the file. Aborts on failure. */
struct model *testmodel_open(const struct testmodel *t);

/* The next number of a small generator (splitmix64), for test data. */
uint64_t testmodel_random(uint64_t *state);

/* FNV-1a over bytes, to compare logits as bits. */
uint64_t testmodel_hash(const void *data, size_t n);

#endif
