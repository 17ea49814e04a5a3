/* SPDX-License-Identifier: MIT */
/* Measured as in ternary_avx512.c, `kernels_bench attention` (5 KV heads of 128, 4 query heads each);
 * shares of reading memory and of f32 fma in registers:
 *   decoding at 512, 2048, 8192 positions   27, 28, 32 GB/s of cache (80 to 88 %)
 *   256 tokens ending there                 96 to 98 GMAC/s (76 %)
 * Tried and left: no prefetch of the next block: 11 GB/s at 8192; tiles of 4 and 6 queries: 92 and
 * 99 % of 8 in prefill; factors of merges by a scalar math_exp per query: 80 %. */
#include <immintrin.h>
#include <math.h>

#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_avx512.h"
#include "kernels/reduce_avx512.h"
#include "kernels/unroll.h"

enum { TILE_QUERIES = 8 };

void attention_store_avx512(const float *k, const float *v, size_t head_dim, size_t slot,
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

INLINE __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE void score_tile(const struct attention_data *k, size_t head_dim,
                       const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    __m512 a[TILE_QUERIES], b[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm512_setzero_ps();
        b[i] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        _mm_prefetch((const char *)(k->next + d * ATTENTION_BLOCK), _MM_HINT_T0);
        __m512 k0 = load_f16(k->block + d * ATTENTION_BLOCK);
        __m512 k1 = load_f16(k->block + d * ATTENTION_BLOCK + 16);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512 q = _mm512_set1_ps(query[i].q[d]);
            a[i] = _mm512_fmadd_ps(q, k0, a[i]);
            b[i] = _mm512_fmadd_ps(q, k1, b[i]);
        }
    }
    const __m512 scale = _mm512_set1_ps(1.0f / sqrtf((float)head_dim));
    UNROLL
    for (size_t i = 0; i < n; i++) {
        _mm512_storeu_ps(ret[i].p, _mm512_mul_ps(scale, a[i]));
        _mm512_storeu_ps(ret[i].p + 16, _mm512_mul_ps(scale, b[i]));
    }
}

static void score(const struct attention_data *k, size_t head_dim,
                  const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        score_tile(k, head_dim, query + i, TILE_QUERIES, ret + i);
    }
    for (; i + 4 <= n; i += 4) {
        score_tile(k, head_dim, query + i, 4, ret + i);
    }
    for (; i + 2 <= n; i += 2) {
        score_tile(k, head_dim, query + i, 2, ret + i);
    }
    for (; i < n; i++) {
        score_tile(k, head_dim, query + i, 1, ret + i);
    }
}

static void soften(float p[ATTENTION_BLOCK], size_t n_present, float *ret_m, float *ret_l)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __mmask16 mask0 = reduce_mask16(n_present);
    __mmask16 mask1 = n_present > 16 ? reduce_mask16(n_present - 16) : 0;
    __m512 a = _mm512_loadu_ps(p);
    __m512 b = _mm512_loadu_ps(p + 16);
    __m512 best = _mm512_mask_max_ps(lowest, mask0, a, lowest);
    best = _mm512_mask_max_ps(best, mask1, b, best);
    float m = _mm512_reduce_max_ps(best);
    __m512 vm = _mm512_set1_ps(m);
    a = _mm512_maskz_mov_ps(mask0, exp_avx512(_mm512_sub_ps(a, vm)));
    b = _mm512_maskz_mov_ps(mask1, exp_avx512(_mm512_sub_ps(b, vm)));
    _mm512_storeu_ps(p, a);
    _mm512_storeu_ps(p + 16, b);
    *ret_m = m;
    *ret_l = reduce_add32_avx512(a, b);
}

static void exp16(float x[ATTENTION_PASS_QUERIES])
{
    _mm512_storeu_ps(x, exp_avx512(_mm512_loadu_ps(x)));
}

/* Columns [d, d + 16 * n_vectors) for n queries. Lanes not in `mask` lie past the end of a row. */
INLINE void weigh_columns(const struct attention_data *v, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors,
                          __mmask16 mask)
{
    __m512 acc[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        const uint16_t *from = v->block + s * head_dim + d;
        _mm_prefetch((const char *)(v->next + s * head_dim + d), _MM_HINT_T0);
        __m512 u[2];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            u[j] = n_vectors == 2 ? load_f16(from + 16 * j)
                                  : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512 p = _mm512_set1_ps(w[i].p[s]);
            UNROLL
            for (size_t j = 0; j < n_vectors; j++) {
                acc[i][j] = _mm512_fmadd_ps(p, u[j], acc[i][j]);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            float *to = query[i].segment + d + 16 * j;
            __m512 a = acc[i][j];
            if (!w[i].is_first) {
                a = _mm512_mul_ps(a, _mm512_set1_ps(w[i].e2));
                a = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, to), _mm512_set1_ps(w[i].e), a);
            }
            _mm512_mask_storeu_ps(to, mask, a);
        }
    }
}

INLINE void weigh_tile(const struct attention_data *v, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 2, 0xffff);
    }
    for (; d < head_dim; d += 16) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1, reduce_mask16(head_dim - d));
    }
}

static void weigh(const struct attention_data *v, size_t head_dim, size_t n_present,
                  struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, TILE_QUERIES);
    }
    for (; i + 4 <= n; i += 4) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, 4);
    }
    for (; i + 2 <= n; i += 2) {
        weigh_tile(v, head_dim, n_present, query + i, w + i, 2);
    }
    for (; i < n; i++) {
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

void attention_run_avx512(const struct attention *a)
{
    static const struct attention_ops ops = {score, soften, weigh, merge, divide, exp16};
    attention_run_passes(a, &ops);
}
