/* SPDX-License-Identifier: MIT */
/* model: the tensors of an .h1b file bound to names in C, with every shape checked.
 *
 * Weights stay in the file's read-only mapping unless model_copy_weights moves the large ones; only
 * the RoPE tables are made here. Immutable after that, so any thread may read it. */
#ifndef HALO_ENGINE_MODEL_H
#define HALO_ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/h1b.h"
#include "common/model_config.h"
#include "kernels/ternary/ternary.h"

struct model_layer {
    const float *input_norm; /* [hidden], before q, k, v */
    const float *q_norm, *k_norm; /* [head_dim], of each head before RoPE, or NULL */
    const float *attn_sub_norm; /* [heads * head_dim], before o, or NULL */
    const float *post_attn_norm; /* [hidden], before gate and up */
    const float *ffn_sub_norm; /* [ffn], before down, or NULL */
    struct ternary_weights q, k, v, o, gate, up, down;
};

struct model {
    struct h1b *file;
    struct model_config config;
    const uint16_t *embedding; /* f16 [vocab][hidden] */
    const uint16_t *head; /* f16 [vocab][hidden]; the embedding when tied */
    const float *final_norm; /* [hidden] */
    struct model_layer *layers;
    float *rope_cos; /* [context][head_dim / 2] */
    float *rope_sin;
    void *copy; /* of the codes and perhaps the head, or NULL */
    size_t copy_bytes;
    uint64_t bytes_per_token; /* weights that a step reads at least: all layers and the head */
};

/* Opens and binds the file. On failure writes one line into `why` and returns ERR_IO,
 * ERR_MODEL_FORMAT or ERR_NOMEM. */
MUST_CHECK enum err model_open(const char *path, enum h1b_verify verify, char *why, size_t cap_why,
                               struct model **ret_model);

/* Copies the codes of all layers, and the head if asked to, in the order in which a step reads them, into
 * memory with huge pages, and lets go of the file's pages. These are 4 KiB each, and looking them up
 * costs a processor up to a third of what it could read (more so in a virtual machine). ERR_NOMEM, and
 * all as before, if less than a third more than that is available. */
MUST_CHECK enum err model_copy_weights(struct model *m, bool with_head);

uint64_t model_head_bytes(const struct model *m);

/* Whether the head is read from the file's pages. */
bool model_has_head_in_file(const struct model *m);

/* Brings the file's pages of rows [row0, row1) of the head to where they are read, many at once rather
 * than one by one when they are. */
void model_fetch_head(const struct model *m, uint32_t row0, uint32_t row1);

/* Lets go of the file's pages of rows [row0, row1) of the head; they come back when read. Nothing if the
 * head was copied with the weights. */
void model_release_head(const struct model *m, uint32_t row0, uint32_t row1);

/* The same for the embedding, which is the head if tied. */
void model_release_embedding(const struct model *m);

/* How the weights of the layers are packed, as linear_packing_name says; "mixed" if not all alike. */
const char *model_packing_name(const struct model *m);

void model_close(struct model *m);

#endif
