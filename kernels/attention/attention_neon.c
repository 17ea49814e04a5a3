/* SPDX-License-Identifier: MIT */
/* Tiles as in attention_avx2.c, in twice as many registers of half the size. Bits are checked under
 * an emulator; speed has not been measured on a processor. */
#include <arm_neon.h>
#include <math.h>

#include "kernels/attention/attention8_part.h"
#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_neon.h"
#include "kernels/reduce_neon.h"
#include "kernels/unroll.h"

/* Four queries by 16 slots, or by 16 columns of values: 16 chains of fma. */
enum { TILE_QUERIES = 4, TILE_VECTORS = 4 };

/* ---- f16 cache ---- */

void attention_store_neon(const float *k, const float *v, size_t head_dim, size_t slot,
                          uint8_t *part)
{
    uint16_t *k_block = (void *)part;
    uint16_t *v_block = k_block + ATTENTION_BLOCK * head_dim;
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

static void load(struct attention_query *query, const float *q, size_t head_dim)
{
    memcpy(query->q, q, head_dim * sizeof *q);
}

/* Slots [slot, slot + 16). */
INLINE void score_tile(const struct attention_data *data, size_t head_dim, size_t slot,
                       const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    const uint16_t *k = (const uint16_t *)(const void *)data->part + slot;
    float32x4_t acc[TILE_QUERIES][TILE_VECTORS];
    clear(acc);
    for (size_t d = 0; d < head_dim; d++) {
        const uint16_t *from = k + d * ATTENTION_BLOCK;
        if (slot == 0) {
            __builtin_prefetch(data->next + 2 * d * ATTENTION_BLOCK);
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

static void score(const struct attention_data *data, size_t head_dim,
                  const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    for (size_t slot = 0; slot < ATTENTION_BLOCK; slot += 16) {
        size_t i = 0;
        for (; i + 4 <= n; i += 4) {
            score_tile(data, head_dim, slot, query + i, 4, ret + i);
        }
        for (; i + 2 <= n; i += 2) {
            score_tile(data, head_dim, slot, query + i, 2, ret + i);
        }
        if (i < n) {
            score_tile(data, head_dim, slot, query + i, 1, ret + i);
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

INLINE void soften_one(float p[ATTENTION_BLOCK], size_t n_present, float *ret_m, float *ret_l)
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

static void soften(struct attention_weights *w, size_t n, size_t n_present, float *ret_m,
                   float *ret_l)
{
    for (size_t i = 0; i < n; i++) {
        soften_one(w[i].p, n_present, ret_m + i, ret_l + i);
    }
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
INLINE void weigh_columns(const struct attention_data *data, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors)
{
    size_t v_at = ATTENTION_BLOCK * head_dim + d;
    const uint16_t *v = (const uint16_t *)(const void *)data->part + v_at;
    const uint16_t *next = (const uint16_t *)(const void *)data->next + v_at;
    float32x4_t acc[TILE_QUERIES][TILE_VECTORS];
    clear(acc);
    for (size_t s = 0; s < n_present; s++) {
        if (d % 32 == 0) {
            __builtin_prefetch(next + s * head_dim);
        }
        float32x4_t u[TILE_VECTORS];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            u[j] = load_f16(v + s * head_dim + 4 * j);
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

INLINE void weigh_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 4);
    }
    if (d + 8 <= head_dim) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 2);
        d += 8;
    }
    if (d < head_dim) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 1);
    }
}

static void weigh(const struct attention_data *data, size_t head_dim, size_t n_present,
                  struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 4);
    }
    for (; i + 2 <= n; i += 2) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 2);
    }
    if (i < n) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 1);
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

/* ---- int8 cache ---- */

void attention8_store_neon(const float *k, const float *v, size_t head_dim, size_t slot,
                           uint8_t *part)
{
    attention8_store_with(quantize_row_neon, k, v, head_dim, slot, part);
}

/* x15 of four values; a NaN becomes low. */
INLINE int32x4_t x15(float32x4_t x, float inv, float32x4_t low)
{
    float32x4_t v = reduce_larger_neon(vmulq_n_f32(x, inv), low);
    return vcvtnq_s32_f32(vminq_f32(v, vdupq_n_f32(ATTENTION8_TOP)));
}

/* Four values to bytes, which fit. */
INLINE void store_int8(void *p, int32x4_t v)
{
    int8x8_t bytes = vmovn_s16(vcombine_s16(vmovn_s32(v), vdup_n_s16(0)));
    vst1_lane_s32((int32_t *)p, vreinterpret_s32_s8(bytes), 0);
}

static void load8(struct attention_query *query, const float *q, size_t head_dim)
{
    float32x4_t a = vdupq_n_f32(ATTENTION8_TINY);
    for (size_t d = 0; d < head_dim; d += 4) {
        a = reduce_larger_neon(vabsq_f32(vld1q_f32(q + d)), a);
    }
    float most = vmaxvq_f32(a);
    float inv = ATTENTION8_TOP / most;
    for (size_t d = 0; d < head_dim; d += 4) {
        int32x4_t v = x15(vld1q_f32(q + d), inv, vdupq_n_f32(-ATTENTION8_TOP));
        int32x4_t high = vshrq_n_s32(vaddq_s32(v, vdupq_n_s32(64)), 7);
        store_int8(query->q8.high + d, high);
        store_int8(query->q8.low + d, vsubq_s32(v, vshlq_n_s32(high, 7)));
    }
    query->q8_scale = most / ATTENTION8_TOP * (1.0f / sqrtf((float)head_dim));
}

/* Two numbers of up to 8 bits each make one: 128 * high + low. */
struct planes8 {
    const int8_t *high, *low;
};

/* Four bytes to all lanes. */
INLINE int8x16_t broadcast4(const int8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vreinterpretq_s8_s32(vdupq_n_s32(x));
}

/* Sums of lanes [0, 4 * n_vectors) of n_groups groups of lanes by 4 int8, `stride` bytes from group to
 * group, times the group's four numbers of x[i], for n queries. */
INLINE void dot_lanes(const uint8_t *from, size_t stride, size_t n_groups, const struct planes8 *x,
                      size_t n, size_t n_vectors, int32x4_t ret[TILE_QUERIES][2])
{
    int32x4_t high[TILE_QUERIES][2], low[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        high[i][0] = high[i][1] = low[i][0] = low[i][1] = vdupq_n_s32(0);
    }
    for (size_t g = 0; g < n_groups; g++) {
        int8x16_t a[2];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            a[j] = vreinterpretq_s8_u8(vld1q_u8(from + g * stride + 16 * j));
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            int8x16_t h = broadcast4(x[i].high + 4 * g);
            int8x16_t l = broadcast4(x[i].low + 4 * g);
            UNROLL
            for (size_t j = 0; j < n_vectors; j++) {
                high[i][j] = vdotq_s32(high[i][j], a[j], h);
                low[i][j] = vdotq_s32(low[i][j], a[j], l);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            ret[i][j] = vaddq_s32(vshlq_n_s32(high[i][j], 7), low[i][j]);
        }
    }
}

INLINE void prefetch_lines(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(p + i);
    }
}

INLINE void score8_tile(const struct attention_data *data, size_t head_dim,
                        const struct attention_query *query, size_t n,
                        struct attention_weights *ret)
{
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    struct planes8 x[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct planes8){query[i].q8.high, query[i].q8.low};
    }
    for (size_t slot = 0; slot < ATTENTION_BLOCK; slot += 8) {
        int32x4_t sum[TILE_QUERIES][2];
        dot_lanes(data->part + 4 * slot, 4 * ATTENTION_BLOCK, head_dim / 4, x, n, 2, sum);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            UNROLL
            for (size_t j = 0; j < 2; j++) {
                float32x4_t k_scale = vld1q_f32(scales->k + slot + 4 * j);
                float32x4_t s = vmulq_f32(vcvtq_f32_s32(sum[i][j]), k_scale);
                vst1q_f32(ret[i].p + slot + 4 * j, vmulq_n_f32(s, query[i].q8_scale));
            }
        }
    }
}

static void score8(const struct attention_data *data, size_t head_dim,
                   const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    prefetch_lines(data->next, ATTENTION_BLOCK * head_dim);
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        score8_tile(data, head_dim, query + i, TILE_QUERIES, ret + i);
    }
    for (; i < n; i++) {
        score8_tile(data, head_dim, query + i, 1, ret + i);
    }
}

/* W of a tile. */
struct weights8 {
    int8_t high[ATTENTION_BLOCK], low[ATTENTION_BLOCK];
    float scale;
};

INLINE void quantize_weights(const struct attention_weights *w, const float *v_scale,
                             size_t n_present, struct weights8 *ret)
{
    float32x4_t x[8];
    float32x4_t a = vdupq_n_f32(ATTENTION8_TINY);
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        x[k] = vmulq_f32(vld1q_f32(w->p + 4 * k), vld1q_f32(v_scale + 4 * k));
        uint32x4_t bits = vandq_u32(present_mask(n_present, k), vreinterpretq_u32_f32(x[k]));
        x[k] = vreinterpretq_f32_u32(bits);
        a = reduce_larger_neon(x[k], a);
    }
    float most = vmaxvq_f32(a);
    float inv = ATTENTION8_TOP / most;
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        int32x4_t v = x15(x[k], inv, vdupq_n_f32(0.0f));
        store_int8(ret->high + 4 * k, vshrq_n_s32(v, 7));
        store_int8(ret->low + 4 * k, vandq_s32(v, vdupq_n_s32(127)));
    }
    ret->scale = most / ATTENTION8_TOP;
}

/* Columns [d, d + 4 * n_vectors) for n queries. */
INLINE void weigh8_columns(const struct attention_data *data, size_t head_dim, size_t d,
                           size_t n_present, struct attention_query *query,
                           const struct attention_weights *w, const struct weights8 *w8, size_t n,
                           size_t n_vectors)
{
    const uint8_t *v = data->part + ATTENTION_BLOCK * head_dim + 4 * d;
    struct planes8 x[TILE_QUERIES];
    int32x4_t sum[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct planes8){w8[i].high, w8[i].low};
    }
    dot_lanes(v, 4 * head_dim, (n_present + 3) / 4, x, n, n_vectors, sum);
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            float32x4_t acc = vmulq_n_f32(vcvtq_f32_s32(sum[i][j]), w8[i].scale);
            merge_columns(&query[i], &w[i], d + 4 * j, acc);
        }
    }
}

INLINE void weigh8_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                        struct attention_query *query, const struct attention_weights *w, size_t n)
{
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    struct weights8 w8[TILE_QUERIES];
    for (size_t i = 0; i < n; i++) {
        quantize_weights(&w[i], scales->v, n_present, &w8[i]);
    }
    size_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        weigh8_columns(data, head_dim, d, n_present, query, w, w8, n, 2);
    }
    if (d < head_dim) {
        weigh8_columns(data, head_dim, d, n_present, query, w, w8, n, 1);
    }
}

static void weigh8(const struct attention_data *data, size_t head_dim, size_t n_present,
                   struct attention_query *query, const struct attention_weights *w, size_t n)
{
    prefetch_lines(data->next + ATTENTION_BLOCK * head_dim, ATTENTION_BLOCK * head_dim);
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        weigh8_tile(data, head_dim, n_present, query + i, w + i, TILE_QUERIES);
    }
    for (; i < n; i++) {
        weigh8_tile(data, head_dim, n_present, query + i, w + i, 1);
    }
}

/* ---- both ---- */

static const struct attention_ops OPS = {load, score, soften, weigh, merge, divide, exp16, 2};
static const struct attention_ops OPS8 = {load8, score8, soften, weigh8, merge, divide, exp16, 1};

void attention_run_neon(const struct attention *a)
{
    attention_run_passes(a, &OPS);
}

void attention_split_neon(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS, first, n, sums);
}

void attention8_run_neon(const struct attention *a)
{
    attention_run_passes(a, &OPS8);
}

void attention8_split_neon(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS8, first, n, sums);
}

void attention_join_neon(const struct attention *a, const float *sums)
{
    attention_join_passes(a, &OPS, sums);
}
