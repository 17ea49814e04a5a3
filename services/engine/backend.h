/* SPDX-License-Identifier: MIT */
/* backend: what computes the forward pass. A backend owns the memory of the KV blocks; which block
 * belongs to whom is the caller's business (kv.h).
 *
 * The logits of a token are a function of the model and the tokens up to it, bit for bit: not of the
 * backend, the batch, the way a prompt is cut into steps or the number of threads.
 *
 * A caller says what it will do with the logits of a token, and then gets those that decide it: the
 * bits of a few logits can be had without those of the others. More than asked for, or all of them, is
 * always a right answer.
 *
 * One thread calls all functions of a backend. */
#ifndef HALO_ENGINE_BACKEND_H
#define HALO_ENGINE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/gumbel/gumbel.h"

/* What happens to a token's logit x before it is compared with others. Each is monotone in x, also as
 * rounded, so bounds of x give bounds of the result. */
struct backend_change {
    uint32_t id;
    enum backend_change_kind {
        CHANGE_ADD, /* x + value, which is finite */
        CHANGE_SCALE, /* x > 0 ? x / value : x * value, which is above 0 */
        CHANGE_ANY, /* not known yet: this logit is wanted anyhow, and is none of the largest */
    } kind;
    float value;
};

/* Not of CHANGE_ANY. */
static inline float backend_changed(float x, const struct backend_change *c)
{
    if (c->kind == CHANGE_ADD)
        return x + c->value;
    return x > 0.0F ? x / c->value : x * c->value;
}

/* Which logits are wanted. "Largest" is meant after the changes, in the order of their list; of equals
 * the lowest ids are larger. */
struct backend_want {
    enum backend_want_kind {
        WANT_ALL,
        WANT_TOP, /* the n_top largest; at least 1 */
        WANT_NEAR, /* those that are at least the largest minus `reach` */
        WANT_DRAW, /* the largest of x + gumbel_at(noise, id); in the next row of the same item
                      noise.index is one more, and so on */
        WANT_PICK, /* likewise, of those that top_p and min_p keep (step 6 of sampler.h) at the
                      temperature noise.scale: that one alone, or, where `reach` is finite, as
                      with WANT_NEAR; without CHANGE_ANY */
    } kind;
    uint32_t n_top;
    float reach; /* at least 0; of WANT_PICK infinite with top_p */
    float top_p; /* above 0 and below 1, or infinite: keeps all */
    float min_p;
    struct gumbel noise;
    const struct backend_change *changes; /* any order of ids */
    uint32_t n_changes;
};

/* Logits of one token, as the head gives them: changes and noise are left to the caller. */
struct backend_logits {
    float *values; /* [n], lent until the next step; the caller may change them */
    const uint32_t
        *ids; /* [n] rising; NULL: 0, 1, 2, ..., all of the vocabulary; if so in all rows of
                            an item, they stand one after the other */
    uint32_t n;
};

/* Tokens of one sequence that a step computes, at consecutive positions. */
struct backend_item {
    const uint32_t *tokens; /* [n_tokens], ids below the vocabulary's size */
    uint32_t n_tokens; /* at least 1 */
    uint32_t pos0; /* position of tokens[0]; those before it were computed */
    const uint32_t *blocks; /* ids of the sequence's KV blocks, for positions up to the last */
    uint32_t n_logits; /* logits are wanted of so many tokens, the last ones */
    struct backend_want want;
    struct backend_logits *got; /* out: [n_logits], lent until the next step */
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
