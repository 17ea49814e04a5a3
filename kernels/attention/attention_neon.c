/* SPDX-License-Identifier: MIT */
/* Tiles as in attention_avx2.c, in twice as many registers of half the size. Bits are checked under
 * an emulator; speed has not been measured on a processor. */
#include <arm_neon.h>
#include <math.h>

#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_neon.h"
#include "kernels/reduce_neon.h"
#include "kernels/unroll.h"

/* Four queries by 16 slots, or by 16 columns of values: 16 chains of fma. */
enum { TILE_QUERIES = 4, TILE_VECTORS = 4 };

void attention_store_neon(const float *k, const float *v, size_t head_dim, size_t slot,
                          uint16_t *k_block, uint16_t *v_block)
{
    for (size_t d = 0; d < head_dim; d += 4) {
        uint16x4_t kh = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(k + d)));
        uint16x4_t vh = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(v + d)));
        uint16_t *column = k_block + d * ATTENTION_BLOCK + slot;
        column[0] = vget_lane_u16(kh, 0);
        column[ATTENTION_BLOCK] = vget_lane_u16(kh, 1);
        column[2 * ATTENTION_BLOCK] = vget_lane_u16(kh, 2);
        column[3 * ATTENTION_BLOCK] = vget_lane_u16(kh, 3);
        vst1_u16(v_block + slot * head_dim + d, vh);
    }
}

INLINE float32x4_t load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

INLINE void clear(float32x4_t acc[TILE_QUERIES][TILE_VECTORS])
{
    UNROLL
    for (size_t i = 0; i < TILE_QUERIES; i++) {
        UNROLL
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            acc[i][j] = vdupq_n_f32(0.0f);
        }
    }
}

/* Slots [slot, slot + 16). */
INLINE void score_tile(const struct attention_data *k, size_t head_dim, size_t slot,
                       const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    float32x4_t acc[TILE_QUERIES][TILE_VECTORS];
    clear(acc);
    for (size_t d = 0; d < head_dim; d++) {
        const uint16_t *from = k->block + d * ATTENTION_BLOCK + slot;
        if (slot == 0) {
            __builtin_prefetch(k->next + d * ATTENTION_BLOCK);
        }
        float32x4_t u[TILE_VECTORS];
        UNROLL
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            u[j] = load_f16(from + 4 * j);
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            UNROLL
            for (size_t j = 0; j < TILE_VECTORS; j++) {
                acc[i][j] = vfmaq_n_f32(acc[i][j], u[j], query[i].q[d]);
            }
        }
    }
    float scale = 1.0f / sqrtf((float)head_dim);
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            vst1q_f32(ret[i].p + slot + 4 * j, vmulq_n_f32(acc[i][j], scale));
        }
    }
}

static void score(const struct attention_data *k, size_t head_dim,
                  const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    for (size_t slot = 0; slot < ATTENTION_BLOCK; slot += 16) {
        size_t i = 0;
        for (; i + 4 <= n; i += 4) {
            score_tile(k, head_dim, slot, query + i, 4, ret + i);
        }
        for (; i + 2 <= n; i += 2) {
            score_tile(k, head_dim, slot, query + i, 2, ret + i);
        }
        if (i < n) {
            score_tile(k, head_dim, slot, query + i, 1, ret + i);
        }
    }
}

/* All ones in the lanes j with 4k + j < n. */
INLINE uint32x4_t present_mask(size_t n, size_t k)
{
    static const uint32_t lane[4] = {0, 1, 2, 3};
    return vcgtq_u32(vdupq_n_u32((uint32_t)n),
                     vaddq_u32(vld1q_u32(lane), vdupq_n_u32((uint32_t)(4 * k))));
}

static void soften(float p[ATTENTION_BLOCK], size_t n_present, float *ret_m, float *ret_l)
{
    const float32x4_t lowest = vdupq_n_f32(-INFINITY);
    uint32x4_t mask[8];
    float32x4_t s[8];
    float32x4_t best = lowest;
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        mask[k] = present_mask(n_present, k);
        s[k] = vbslq_f32(mask[k], vld1q_f32(p + 4 * k), lowest);
        best = reduce_larger_neon(s[k], best);
    }
    float m = vmaxvq_f32(best);
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        float32x4_t e = exp_neon(vsubq_f32(s[k], vdupq_n_f32(m)));
        s[k] = vreinterpretq_f32_u32(vandq_u32(mask[k], vreinterpretq_u32_f32(e)));
        vst1q_f32(p + 4 * k, s[k]);
    }
    *ret_m = m;
    *ret_l = reduce_add32_neon(s);
}

static void exp16(float x[ATTENTION_PASS_QUERIES])
{
    for (size_t i = 0; i < ATTENTION_PASS_QUERIES; i += 4) {
        vst1q_f32(x + i, exp_neon(vld1q_f32(x + i)));
    }
}

/* acc of columns [d, d + 4) into the segment. */
INLINE void merge_columns(struct attention_query *query, const struct attention_weights *w,
                          size_t d, float32x4_t acc)
{
    if (!w->is_first) {
        acc = vmulq_n_f32(acc, w->e2);
        acc = vfmaq_n_f32(acc, vld1q_f32(query->segment + d), w->e);
    }
    vst1q_f32(query->segment + d, acc);
}

/* Columns [d, d + 4 * n_vectors) for n queries. */
INLINE void weigh_columns(const struct attention_data *v, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors)
{
    float32x4_t acc[TILE_QUERIES][TILE_VECTORS];
    clear(acc);
    for (size_t s = 0; s < n_present; s++) {
        size_t at = s * head_dim + d;
        if (d % 32 == 0) {
            __builtin_prefetch(v->next + at);
        }
        float32x4_t u[TILE_VECTORS];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            u[j] = load_f16(v->block + at + 4 * j);
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            UNROLL
            for (size_t j = 0; j < n_vectors; j++) {
                acc[i][j] = vfmaq_n_f32(acc[i][j], u[j], w[i].p[s]);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            merge_columns(&query[i], &w[i], d + 4 * j, acc[i][j]);
        }
    }
}

INLINE void weigh_tile(const struct attention_data *v, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 4);
    }
    if (d + 8 <= head_dim) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 2);
        d += 8;
    }
    if (d < head_dim) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1);
    }
}

static void weigh(const struct attention_data *v, size_t head_dim, size_t n_present,
                  struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, 4);
    }
    for (; i + 2 <= n; i += 2) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, 2);
    }
    if (i < n) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, 1);
    }
}

static void merge(float *into, const float *next, float e, float e2, size_t head_dim)
{
    for (size_t d = 0; d < head_dim; d += 4) {
        float32x4_t a = vmulq_n_f32(vld1q_f32(next + d), e2);
        vst1q_f32(into + d, vfmaq_n_f32(a, vld1q_f32(into + d), e));
    }
}

static void divide(const float *acc, float l, float *out, size_t head_dim)
{
    for (size_t d = 0; d < head_dim; d += 4) {
        vst1q_f32(out + d, vdivq_f32(vld1q_f32(acc + d), vdupq_n_f32(l)));
    }
}

void attention_run_neon(const struct attention *a)
{
    static const struct attention_ops ops = {score, soften, weigh, merge, divide, exp16};
    attention_run_passes(a, &ops);
}
