/* SPDX-License-Identifier: MIT */
/* Causal attention over a paged KV cache, for one KV head and the query heads that share it.
 *
 * Cache: a block holds ATTENTION_BLOCK = 32 positions in f16. Keys lie transposed, K[head_dim][32],
 * so that a processor lane is a position and scores need no sum across lanes; values lie as
 * V[32][head_dim]. Position j is slot j % 32 of block j / 32. Slots that no query may see are not
 * used at all, whatever their bytes.
 *
 * One query head q[head_dim] of a token at position P sees n = P + 1 positions:
 *   scale = 1 / sqrt((float)head_dim)
 *   Tile b (one block), slots i with 32b + i < n present:
 *     s[i] = scale * (chain over d = 0 .. head_dim-1 of a = fma(q[d], K[d][i], a), from +0)
 *     m = the largest s[i] present (s > m ? s : m, from -inf)
 *     p[i] = math_exp(s[i] - m) if present, else +0
 *     l = for d = 16, 8, 4, 2, 1: p[i] += p[i + d], i < d; l = p[0]    (on a copy of p)
 *     acc[d] = chain over present i in order of a = fma(p[i], V[i][d], a), from +0
 *   Merge of (m, l, acc) with a later (m2, l2, acc2):
 *     m' = m2 > m ? m2 : m;  e = math_exp(m - m');  e2 = math_exp(m2 - m')
 *     l' = fma(l, e, l2 * e2);  acc'[d] = fma(acc[d], e, acc2[d] * e2)
 *   Segment: ATTENTION_SEGMENT = 8 tiles (256 positions) merged in order, the first one taken as is.
 *   The segments merged in order, the first one taken as is; out[d] = acc[d] / l.
 * Tiles and segments are independent until merged, so a device may compute them in parallel. */
#ifndef HALO_KERNELS_ATTENTION_ATTENTION_H
#define HALO_KERNELS_ATTENTION_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

enum {
    ATTENTION_BLOCK = 32,
    ATTENTION_SEGMENT = 8,
    ATTENTION_MAX_HEAD_DIM = 256,
};

/* The queries of n_tokens consecutive positions of one sequence. head_dim is a multiple of 4 from 4
 * to 256. */
struct attention {
    const uint16_t *const *blocks; /* one per 32 positions of the sequence */
    size_t k_offset, v_offset; /* elements from a block's pointer to this head's K and V */
    size_t head_dim;
    size_t n_heads; /* query heads that share the KV head */
    size_t n_tokens;
    size_t pos0; /* position of the first token */
    const float *q; /* token t, head h at q + t * q_stride + h * head_dim */
    size_t q_stride; /* at least n_heads * head_dim */
    float *out; /* likewise */
    size_t out_stride;
};

/* Elements of one head's K (or V) in a block. */
static inline size_t attention_block_elements(size_t head_dim)
{
    return ATTENTION_BLOCK * head_dim;
}

/* Writes one position's key and value, rounded by f16_from_f32, into slot `slot` of K and V. */
void attention_store_ref(const float *k, const float *v, size_t head_dim, size_t slot,
                         uint16_t *k_block, uint16_t *v_block);
__typeof__(attention_store_ref) attention_store_avx2, attention_store_avx512, attention_store_neon;

/* Positions 0 .. pos0 + n_tokens - 1 must have been stored. Threads split KV heads or tokens; calls
 * with more tokens of a sequence at once read the cache less often. */
void attention_run_ref(const struct attention *a);
__typeof__(attention_run_ref) attention_run_avx2, attention_run_avx512, attention_run_neon;

#endif
