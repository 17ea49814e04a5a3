/* SPDX-License-Identifier: MIT */
/* Measured as in attention_avx512.c: decoding 14 to 22 GB/s of cache (bound by fma, 45 GMAC/s);
 * 256 tokens 45 to 47 GMAC/s (74 % of f32 fma in registers).
 * Tried and left: a block widened to f32 first, then tiles of 2 or 3 queries by 32 slots: 66 % in
 * decoding, 90 % in prefill. */
#include <immintrin.h>
#include <math.h>

#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_avx2.h"
#include "kernels/reduce_avx2.h"
#include "kernels/unroll.h"

/* Four queries by 16 slots, or by 16 columns of values: 8 chains of fma. */
enum { TILE_QUERIES = 4 };

void attention_store_avx2(const float *k, const float *v, size_t head_dim, size_t slot,
                          uint16_t *k_block, uint16_t *v_block)
{
    size_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        __m128i kh = _mm256_cvtps_ph(_mm256_loadu_ps(k + d), _MM_FROUND_TO_NEAREST_INT);
        __m128i vh = _mm256_cvtps_ph(_mm256_loadu_ps(v + d), _MM_FROUND_TO_NEAREST_INT);
        uint16_t column[8];
        _mm_storeu_si128((__m128i *)(void *)column, kh);
        _mm_storeu_si128((__m128i *)(void *)(v_block + slot * head_dim + d), vh);
        for (size_t i = 0; i < 8; i++) {
            k_block[(d + i) * ATTENTION_BLOCK + slot] = column[i];
        }
    }
    if (d < head_dim) {
        __m128i kh = _mm_cvtps_ph(_mm_loadu_ps(k + d), _MM_FROUND_TO_NEAREST_INT);
        __m128i vh = _mm_cvtps_ph(_mm_loadu_ps(v + d), _MM_FROUND_TO_NEAREST_INT);
        uint16_t column[4];
        _mm_storeu_si64(column, kh);
        _mm_storeu_si64(v_block + slot * head_dim + d, vh);
        for (size_t i = 0; i < 4; i++) {
            k_block[(d + i) * ATTENTION_BLOCK + slot] = column[i];
        }
    }
}

INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Slots [slot, slot + 16). */
INLINE void score_tile(const struct attention_data *k, size_t head_dim, size_t slot,
                       const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    __m256 a[TILE_QUERIES], b[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm256_setzero_ps();
        b[i] = _mm256_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        const uint16_t *from = k->block + d * ATTENTION_BLOCK + slot;
        if (slot == 0) {
            _mm_prefetch((const char *)(k->next + d * ATTENTION_BLOCK), _MM_HINT_T0);
        }
        __m256 k0 = load_f16(from);
        __m256 k1 = load_f16(from + 8);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m256 q = _mm256_set1_ps(query[i].q[d]);
            a[i] = _mm256_fmadd_ps(q, k0, a[i]);
            b[i] = _mm256_fmadd_ps(q, k1, b[i]);
        }
    }
    const __m256 scale = _mm256_set1_ps(1.0f / sqrtf((float)head_dim));
    UNROLL
    for (size_t i = 0; i < n; i++) {
        _mm256_storeu_ps(ret[i].p + slot, _mm256_mul_ps(scale, a[i]));
        _mm256_storeu_ps(ret[i].p + slot + 8, _mm256_mul_ps(scale, b[i]));
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

/* All ones in the lanes j with 8k + j < n. */
INLINE __m256 present_mask(size_t n, size_t k)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i limit = _mm256_set1_epi32((int)n - (int)(8 * k));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, lane));
}

static void soften(float p[ATTENTION_BLOCK], size_t n_present, float *ret_m, float *ret_l)
{
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 mask[4], s[4];
    __m256 best = lowest;
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        mask[k] = present_mask(n_present, k);
        s[k] = _mm256_blendv_ps(lowest, _mm256_loadu_ps(p + 8 * k), mask[k]);
        best = _mm256_max_ps(s[k], best);
    }
    float m = reduce_max8_avx2(best);
    __m256 vm = _mm256_set1_ps(m);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        s[k] = _mm256_and_ps(mask[k], exp_avx2(_mm256_sub_ps(s[k], vm)));
        _mm256_storeu_ps(p + 8 * k, s[k]);
    }
    *ret_m = m;
    *ret_l = reduce_add32_avx2(s);
}

static void exp16(float x[ATTENTION_PASS_QUERIES])
{
    _mm256_storeu_ps(x, exp_avx2(_mm256_loadu_ps(x)));
    _mm256_storeu_ps(x + 8, exp_avx2(_mm256_loadu_ps(x + 8)));
}

/* acc of columns [d, d + 8) into the segment. */
INLINE void merge_columns(struct attention_query *query, const struct attention_weights *w,
                          size_t d, __m256 acc)
{
    if (!w->is_first) {
        acc = _mm256_mul_ps(acc, _mm256_set1_ps(w->e2));
        acc = _mm256_fmadd_ps(_mm256_loadu_ps(query->segment + d), _mm256_set1_ps(w->e), acc);
    }
    _mm256_storeu_ps(query->segment + d, acc);
}

/* Columns [d, d + 8 * n_vectors) for n queries; with is_half the four columns at d, the last ones. */
INLINE void weigh_columns(const struct attention_data *v, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors,
                          bool is_half)
{
    __m256 acc[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm256_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        size_t at = s * head_dim + d;
        if (d % 32 == 0) {
            _mm_prefetch((const char *)(v->next + at), _MM_HINT_T0);
        }
        __m256 u[2];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            u[j] = is_half ? _mm256_cvtph_ps(_mm_loadu_si64(v->block + at))
                           : load_f16(v->block + at + 8 * j);
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m256 p = _mm256_set1_ps(w[i].p[s]);
            UNROLL
            for (size_t j = 0; j < n_vectors; j++) {
                acc[i][j] = _mm256_fmadd_ps(p, u[j], acc[i][j]);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            merge_columns(&query[i], &w[i], d + 8 * j, acc[i][j]);
        }
    }
}

INLINE void weigh_tile(const struct attention_data *v, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 2, false);
    }
    if (d + 8 <= head_dim) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1, false);
        d += 8;
    }
    if (d < head_dim) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1, true);
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
    for (size_t d = 0; d < head_dim; d += 8) {
        __m256 a = _mm256_mul_ps(_mm256_loadu_ps(next + d), _mm256_set1_ps(e2));
        a = _mm256_fmadd_ps(_mm256_loadu_ps(into + d), _mm256_set1_ps(e), a);
        _mm256_storeu_ps(into + d, a);
    }
}

static void divide(const float *acc, float l, float *out, size_t head_dim)
{
    size_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        _mm256_storeu_ps(out + d, _mm256_div_ps(_mm256_loadu_ps(acc + d), _mm256_set1_ps(l)));
    }
    if (d < head_dim) {
        _mm_storeu_ps(out + d, _mm_div_ps(_mm_loadu_ps(acc + d), _mm_set1_ps(l)));
    }
}

void attention_run_avx2(const struct attention *a)
{
    static const struct attention_ops ops = {score, soften, weigh, merge, divide, exp16};
    attention_run_passes(a, &ops);
}
