/* SPDX-License-Identifier: MIT */
/* backend: what computes the forward pass. A backend owns the memory of the KV blocks; which block
 * belongs to whom is the caller's business (kv.h).
 *
 * The logits of a token are a function of the model and the tokens up to it, bit for bit: not of the
 * backend, the batch, the way a prompt is cut into steps or the number of threads.
 *
 * One thread calls all functions of a backend. */
#ifndef HALO_ENGINE_BACKEND_H
#define HALO_ENGINE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Tokens of one sequence that a step computes, at consecutive positions. */
struct backend_item {
    const uint32_t *tokens; /* [n_tokens], ids below the vocabulary's size */
    uint32_t n_tokens; /* at least 1 */
    uint32_t pos0; /* position of tokens[0]; those before it were computed */
    const uint32_t *blocks; /* ids of the sequence's KV blocks, for positions up to the last */
    uint32_t n_logits; /* logits are wanted of so many tokens, the last ones */
    uint32_t n_top; /* only so many largest logits are used (lowest ids first among equals), so any
                       other may be -inf instead; 0: all are used */
    float
        *logits; /* out: [n_logits][vocab], lent until the next step; the caller may change them */
};

struct backend;

struct backend_ops {
    /* Computes all items; no two of them share a block that is written. On failure nothing may be
     * assumed about what was written. */
    enum err (*step)(struct backend *b, struct backend_item *items, uint32_t n_items);
    /* What a KV block holds, as kv_bytes bytes, from or into memory of the caller's. */
    enum err (*kv_read)(struct backend *b, uint32_t block, uint8_t *bytes);
    enum err (*kv_write)(struct backend *b, uint32_t block, const uint8_t *bytes);
    void (*free)(struct backend *b);
};

struct backend {
    const struct backend_ops *ops;
    char name[32]; /* "cpu/avx2", "cpu/avx2/kv-int8" */
    uint32_t n_blocks; /* KV blocks */
    uint64_t kv_bytes; /* of one of them */
    uint32_t max_rows; /* most tokens of one step, all items together */
    uint32_t max_logits; /* most tokens of one step whose logits are wanted */
    uint32_t base_rows; /* a step of R tokens takes about as long as this + R, in any unit */
};

MUST_CHECK static inline enum err backend_step(struct backend *b, struct backend_item *items,
                                               uint32_t n_items)
{
    return b->ops->step(b, items, n_items);
}

/* Copies a KV block out. The bytes are the same for all backends of one model and KV type, so that a
 * block may go from any to any: for each layer and in it for each KV head its part, as kernels/attention
 * lays it out. */
MUST_CHECK static inline enum err backend_kv_read(struct backend *b, uint32_t block, uint8_t *bytes)
{
    return b->ops->kv_read(b, block, bytes);
}

/* Copies a KV block in, which is then as if its positions had been computed here. */
MUST_CHECK static inline enum err backend_kv_write(struct backend *b, uint32_t block,
                                                   const uint8_t *bytes)
{
    return b->ops->kv_write(b, block, bytes);
}

static inline void backend_free(struct backend *b)
{
    if (b != NULL)
        b->ops->free(b);
}

#endif
