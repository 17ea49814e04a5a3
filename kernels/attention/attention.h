/* SPDX-License-Identifier: MIT */
/* Causal attention over a paged KV cache, for one KV head and the query heads that share it.
 *
 * A block holds ATTENTION_BLOCK = 32 positions; position j is slot j % 32 of block j / 32. Slots that
 * no query may see are not used at all, whatever their bytes. What one KV head has in a block is its
 * part, attention_part_bytes or attention8_part_bytes long. One query head q[head_dim] of a token at
 * position P sees n = P + 1 positions:
 *
 *   scale = 1 / sqrt((float)head_dim)
 *   Tile b (one block), slots i with 32b + i < n present:
 *     s[i] = scores, acc[d] = weighted values, as below
 *     m = the largest s[i] present (s > m ? s : m, from -inf)
 *     p[i] = math_exp(s[i] - m) if present, else +0
 *     l = for d = 16, 8, 4, 2, 1: p[i] += p[i + d], i < d; l = p[0]    (on a copy of p)
 *   Merge of (m, l, acc) with a later (m2, l2, acc2):
 *     m' = m2 > m ? m2 : m;  e = math_exp(m - m');  e2 = math_exp(m2 - m')
 *     l' = fma(l, e, l2 * e2);  acc'[d] = fma(acc[d], e, acc2[d] * e2)
 *   Segment: ATTENTION_SEGMENT = 8 tiles (256 positions) merged in order, the first one taken as is.
 *   The segments merged in order, the first one taken as is; out[d] = acc[d] / l.
 * Segments are independent until merged, so attention_split and _join may compute them in parallel.
 *
 * f16 cache: part = K f16 [head_dim][32], V f16 [32][head_dim]. Keys lie transposed, so that a lane is
 * a position and scores need no sum across lanes.
 *   s[i] = scale * (chain over d = 0 .. head_dim-1 of a = fma(q[d], K[d][i], a), from +0)
 *   acc[d] = chain over present i in order of a = fma(p[i], V[i][d], a), from +0
 *
 * int8 cache: part = K int8 [head_dim/4][32][4], V int8 [8][head_dim][4], ks f32 [32], vs f32 [32].
 * Element d of slot i is K[d/4][i][d%4] and V[i/4][d][i%4]; each position's key and value are the q and
 * scale of quantize.h. Queries and weights get 15 bits for the time of a tile; the sums are exact:
 *   x15(x, a): inv = 16256 / a; round half to even of x * inv, clamped to -16256..16256; NaN: -16256
 *   aq = the largest of 2^-100 and all |q[d]|;  Q[d] = x15(q[d], aq)     (a NaN is never the largest)
 *   s[i] = ((float)(sum of Q[d] * K[d][i]) * ks[i]) * ((aq / 16256) * scale)
 *   w[i] = p[i] * vs[i] if present, else 0;  aw = the largest of 2^-100 and all w[i]
 *   W[i] = x15(w[i], aw), NaN: 0;  acc[d] = (float)(sum of W[i] * V[i][d]) * (aw / 16256)
 * Both sums are below 2^30. With W as two numbers of 7 bits, and Q as one of 8 and one of 7, they are
 * what vpdpbusd and sdot compute. */
#ifndef HALO_KERNELS_ATTENTION_ATTENTION_H
#define HALO_KERNELS_ATTENTION_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

enum {
    ATTENTION_BLOCK = 32,
    ATTENTION_SEGMENT = 8,
    ATTENTION_MAX_HEAD_DIM = 256,
    ATTENTION_SUMS_ACC = 8, /* where acc begins behind m and l */
};

/* The queries of n_tokens consecutive positions of one sequence. head_dim is a multiple of 4 from 4
 * to 256. */
struct attention {
    const uint8_t *const *blocks; /* one per 32 positions of the sequence */
    size_t offset; /* bytes from a block's pointer to this head's part, a multiple of 4 */
    size_t head_dim;
    size_t n_heads; /* query heads that share the KV head */
    size_t n_tokens;
    size_t pos0; /* position of the first token */
    const float *q; /* token t, head h at q + t * q_stride + h * head_dim */
    size_t q_stride; /* at least n_heads * head_dim */
    float *out; /* likewise */
    size_t out_stride;
};

static inline size_t attention_part_bytes(size_t head_dim)
{
    return 2 * ATTENTION_BLOCK * head_dim * sizeof(uint16_t);
}

static inline size_t attention8_part_bytes(size_t head_dim)
{
    return 2 * ATTENTION_BLOCK * (head_dim + sizeof(float));
}

/* Writes one position's key and value, rounded by f16_from_f32 or by quantize.h, into slot `slot`. */
void attention_store_ref(const float *k, const float *v, size_t head_dim, size_t slot,
                         uint8_t *part);
__typeof__(attention_store_ref) attention_store_avx2, attention_store_avx512, attention_store_neon;
__typeof__(attention_store_ref) attention8_store_ref, attention8_store_avx2,
    attention8_store_avx512, attention8_store_neon;

/* Positions 0 .. pos0 + n_tokens - 1 must have been stored. Threads split KV heads or tokens; calls
 * with more tokens of a sequence at once read the cache less often. */
void attention_run_ref(const struct attention *a);
__typeof__(attention_run_ref) attention_run_avx2, attention_run_avx512, attention_run_neon;
__typeof__(attention_run_ref) attention8_run_ref, attention8_run_avx2, attention8_run_avx512,
    attention8_run_neon;

/* The same in two phases, so that threads can share one KV head: first attention_split for ranges of
 * segments, and when all are there attention_join. Query i = t * n_heads + h of segment s has its m and
 * l, and acc from ATTENTION_SUMS_ACC on, at
 * sums + (s * n_tokens * n_heads + i) * attention_sums_stride(head_dim). */
static inline size_t attention_n_segments(size_t n_pos)
{
    enum { POSITIONS = ATTENTION_BLOCK * ATTENTION_SEGMENT };
    return (n_pos + POSITIONS - 1) / POSITIONS;
}

static inline size_t attention_sums_stride(size_t head_dim)
{
    return ATTENTION_SUMS_ACC + (head_dim + 7) / 8 * 8;
}

/* Segments [first, first + n) of all queries that see them. */
void attention_split_ref(const struct attention *a, size_t first, size_t n, float *sums);
__typeof__(attention_split_ref) attention_split_avx2, attention_split_avx512, attention_split_neon;
__typeof__(attention_split_ref) attention8_split_ref, attention8_split_avx2,
    attention8_split_avx512, attention8_split_neon;

/* Of either cache. */
void attention_join_ref(const struct attention *a, const float *sums);
__typeof__(attention_join_ref) attention_join_avx2, attention_join_avx512, attention_join_neon;

#endif
