/* SPDX-License-Identifier: MIT */
/* Measured as in ternary_avx512.c, `kernels_bench attention` (5 KV heads of 128, 4 query heads each);
 * shares of reading memory and of f32 fma in registers:
 *   decoding at 512, 2048, 8192 positions   27, 28, 32 GB/s of cache (80 to 88 %)
 *   256 tokens ending there                 96 to 98 GMAC/s (76 %)
 * int8 cache, beside other work: decoding 19, 27, 30 GB/s, that is 1.3 to 1.9 times the positions a
 * second of f16; 256 tokens 139 to 150 GMAC/s. With the intrinsic of vpdpbusd 24 GB/s and 112 GMAC/s.
 * The demo model's perplexity on WikiText-2 (halo ppl, all of the text) is 151.55 with f16 and 151.50
 * with int8, so no finer scales than one a position and head were tried.
 * Two threads on a quiet machine that read 75 GB/s, 8192 positions in blocks 2.4 MB apart, by turns:
 *   fetching ahead also between score and weigh    f16 59.4 -> 62.3 GB/s, int8 52 -> 55
 * In cache f16 is 43 GB/s a thread, 70 % of the time in fma at their limit of 8 G/s.
 * Tried and left: no prefetch of the next block: 11 GB/s at 8192; tiles of 4 and 6 queries: 92 and
 * 99 % of 8 in prefill; factors of merges by a scalar math_exp per query: 80 %; scores of the next
 * block before values of this one: 94 %; fetching two blocks ahead, to L1 or L2: 96 %; four vectors of
 * columns at once for few queries, or fetching the first block of a thread's next task: no gain. */
#include <immintrin.h>
#include <math.h>

#include "kernels/attention/attention8_part.h"
#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_avx512.h"
#include "kernels/reduce_avx512.h"
#include "kernels/unroll.h"

enum { TILE_QUERIES = 8, TILE8_QUERIES = 4, SOFTEN_QUERIES = 4 };

/* ---- f16 cache ---- */

void attention_store_avx512(const float *k, const float *v, size_t head_dim, size_t slot,
                            uint8_t *part)
{
    uint16_t *k_block = (void *)part;
    uint16_t *v_block = k_block + ATTENTION_BLOCK * head_dim;
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

static void load(struct attention_query *query, const float *q, size_t head_dim)
{
    memcpy(query->q, q, head_dim * sizeof *q);
}

INLINE void score_tile(const struct attention_data *data, size_t head_dim,
                       const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    const uint16_t *k = (const void *)data->part;
    __m512 a[TILE_QUERIES], b[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm512_setzero_ps();
        b[i] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        _mm_prefetch((const char *)data->next + 2 * d * ATTENTION_BLOCK, _MM_HINT_T0);
        __m512 k0 = load_f16(k + d * ATTENTION_BLOCK);
        __m512 k1 = load_f16(k + d * ATTENTION_BLOCK + 16);
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

static void score(const struct attention_data *data, size_t head_dim,
                  const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        score_tile(data, head_dim, query + i, TILE_QUERIES, ret + i);
    }
    for (; i + 4 <= n; i += 4) {
        score_tile(data, head_dim, query + i, 4, ret + i);
    }
    for (; i + 2 <= n; i += 2) {
        score_tile(data, head_dim, query + i, 2, ret + i);
    }
    for (; i < n; i++) {
        score_tile(data, head_dim, query + i, 1, ret + i);
    }
}

/* Side by side, because each query alone waits for one instruction after the other. */
INLINE void soften_tile(struct attention_weights *w, size_t n, size_t n_present, float *ret_m,
                        float *ret_l)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __mmask16 mask0 = reduce_mask16(n_present);
    __mmask16 mask1 = n_present > 16 ? reduce_mask16(n_present - 16) : 0;
    __m512 a[SOFTEN_QUERIES], b[SOFTEN_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm512_loadu_ps(w[i].p);
        b[i] = _mm512_loadu_ps(w[i].p + 16);
        __m512 best = _mm512_mask_max_ps(lowest, mask0, a[i], lowest);
        ret_m[i] = _mm512_reduce_max_ps(_mm512_mask_max_ps(best, mask1, b[i], best));
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        __m512 m = _mm512_set1_ps(ret_m[i]);
        a[i] = _mm512_maskz_mov_ps(mask0, exp_avx512(_mm512_sub_ps(a[i], m)));
        b[i] = _mm512_maskz_mov_ps(mask1, exp_avx512(_mm512_sub_ps(b[i], m)));
        _mm512_storeu_ps(w[i].p, a[i]);
        _mm512_storeu_ps(w[i].p + 16, b[i]);
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        ret_l[i] = reduce_add32_avx512(a[i], b[i]);
    }
}

static void soften(struct attention_weights *w, size_t n, size_t n_present, float *ret_m,
                   float *ret_l)
{
    size_t i = 0;
    for (; i + SOFTEN_QUERIES <= n; i += SOFTEN_QUERIES) {
        soften_tile(w + i, SOFTEN_QUERIES, n_present, ret_m + i, ret_l + i);
    }
    for (; i < n; i++) {
        soften_tile(w + i, 1, n_present, ret_m + i, ret_l + i);
    }
}

static void exp16(float x[ATTENTION_PASS_QUERIES])
{
    _mm512_storeu_ps(x, exp_avx512(_mm512_loadu_ps(x)));
}

/* acc of columns [d, d + 16) in `mask` into the segment. */
INLINE void merge_columns(struct attention_query *query, const struct attention_weights *w,
                          size_t d, __m512 acc, __mmask16 mask)
{
    float *to = query->segment + d;
    if (!w->is_first) {
        acc = _mm512_mul_ps(acc, _mm512_set1_ps(w->e2));
        acc = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, to), _mm512_set1_ps(w->e), acc);
    }
    _mm512_mask_storeu_ps(to, mask, acc);
}

/* Columns [d, d + 16 * n_vectors) for n queries. Lanes not in `mask` lie past the end of a row. */
INLINE void weigh_columns(const struct attention_data *data, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors,
                          __mmask16 mask)
{
    size_t v_at = ATTENTION_BLOCK * head_dim + d;
    const uint16_t *v = (const uint16_t *)(const void *)data->part + v_at;
    const uint16_t *next = (const uint16_t *)(const void *)data->next + v_at;
    __m512 acc[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        const uint16_t *from = v + s * head_dim;
        _mm_prefetch((const char *)(next + s * head_dim), _MM_HINT_T0);
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
            merge_columns(&query[i], &w[i], d + 16 * j, acc[i][j], mask);
        }
    }
}

INLINE void weigh_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 2, 0xffff);
    }
    for (; d < head_dim; d += 16) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 1, reduce_mask16(head_dim - d));
    }
}

static void weigh(const struct attention_data *data, size_t head_dim, size_t n_present,
                  struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t i = 0;
    for (; i + TILE_QUERIES <= n; i += TILE_QUERIES) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, TILE_QUERIES);
    }
    for (; i + 4 <= n; i += 4) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 4);
    }
    for (; i + 2 <= n; i += 2) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 2);
    }
    for (; i < n; i++) {
        weigh_tile(data, head_dim, n_present, query + i, w + i, 1);
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

/* ---- int8 cache ---- */

void attention8_store_avx512(const float *k, const float *v, size_t head_dim, size_t slot,
                             uint8_t *part)
{
    attention8_store_with(quantize_row_avx512, k, v, head_dim, slot, part);
}

/* x15 of sixteen values. */
INLINE __m512i x15(__m512 x, __m512 inv, __m512 low)
{
    __m512 v = _mm512_max_ps(_mm512_mul_ps(x, inv), low); /* a NaN in the first place gives low */
    return _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(ATTENTION8_TOP)));
}

static void load8(struct attention_query *query, const float *q, size_t head_dim)
{
    __m512 a = _mm512_set1_ps(ATTENTION8_TINY);
    for (size_t d = 0; d < head_dim; d += 16) {
        __m512 v = _mm512_maskz_loadu_ps(reduce_mask16(head_dim - d), q + d);
        a = _mm512_max_ps(_mm512_abs_ps(v), a);
    }
    float most = _mm512_reduce_max_ps(a);
    __m512 inv = _mm512_set1_ps(ATTENTION8_TOP / most);
    __m512i sum = _mm512_setzero_si512();
    for (size_t d = 0; d < head_dim; d += 16) {
        __mmask16 mask = reduce_mask16(head_dim - d);
        __m512i v = x15(_mm512_maskz_loadu_ps(mask, q + d), inv, _mm512_set1_ps(-ATTENTION8_TOP));
        __m512i high = _mm512_srai_epi32(_mm512_add_epi32(v, _mm512_set1_epi32(64)), 7);
        __m512i low = _mm512_sub_epi32(v, _mm512_slli_epi32(high, 7));
        sum = _mm512_mask_add_epi32(sum, mask, sum, v);
        _mm_storeu_si128((__m128i *)(void *)(query->q8.high + d), _mm512_cvtepi32_epi8(high));
        _mm_storeu_si128((__m128i *)(void *)(query->q8.low + d), _mm512_cvtepi32_epi8(low));
    }
    query->q8_sum = _mm512_reduce_add_epi32(sum);
    query->q8_scale = most / ATTENTION8_TOP * (1.0f / sqrtf((float)head_dim));
}

/* Four bytes to all lanes. */
INLINE __m512i broadcast4(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

/* Written out, because gcc 12 copies the sums around its intrinsic, twice for each product. */
INLINE void add_products(__m512i *sums, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sums) : "v"(u), "v"(s));
}

/* All slots of n queries; vpdpbusd wants one side without a sign, so K + 128. */
INLINE void score8_tile(const struct attention_data *data, size_t head_dim,
                        const struct attention_query *query, size_t n,
                        struct attention_weights *ret)
{
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    __m512i high[TILE8_QUERIES][2], low[TILE8_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        high[i][0] = high[i][1] = low[i][0] = low[i][1] = _mm512_setzero_si512();
    }
    for (size_t d = 0; d < head_dim; d += 4) {
        const uint8_t *from = data->part + d * ATTENTION_BLOCK;
        const char *next = (const char *)data->next + d * ATTENTION_BLOCK;
        _mm_prefetch(next, _MM_HINT_T0);
        _mm_prefetch(next + 64, _MM_HINT_T0);
        __m512i k[2];
        UNROLL
        for (size_t j = 0; j < 2; j++) {
            k[j] = _mm512_xor_si512(_mm512_loadu_si512(from + 64 * j), _mm512_set1_epi8(-128));
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i h = broadcast4(query[i].q8.high + d);
            __m512i l = broadcast4(query[i].q8.low + d);
            UNROLL
            for (size_t j = 0; j < 2; j++) {
                add_products(&high[i][j], k[j], h);
                add_products(&low[i][j], k[j], l);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        __m512i offset = _mm512_set1_epi32(query[i].q8_sum * 128);
        UNROLL
        for (size_t j = 0; j < 2; j++) {
            __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[i][j], 7), low[i][j]);
            __m512 x = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offset));
            x = _mm512_mul_ps(x, _mm512_loadu_ps(scales->k + 16 * j));
            x = _mm512_mul_ps(x, _mm512_set1_ps(query[i].q8_scale));
            _mm512_storeu_ps(ret[i].p + 16 * j, x);
        }
    }
}

static void score8(const struct attention_data *data, size_t head_dim,
                   const struct attention_query *query, size_t n, struct attention_weights *ret)
{
    size_t i = 0;
    for (; i + TILE8_QUERIES <= n; i += TILE8_QUERIES) {
        score8_tile(data, head_dim, query + i, TILE8_QUERIES, ret + i);
    }
    for (; i < n; i++) {
        score8_tile(data, head_dim, query + i, 1, ret + i);
    }
}

/* W of a tile, W = 128 * high + low. */
struct weights8 {
    uint8_t high[ATTENTION_BLOCK], low[ATTENTION_BLOCK];
    float scale;
};

INLINE void quantize_weights(const struct attention_weights *w, const float *v_scale,
                             size_t n_present, struct weights8 *ret)
{
    __m512 x[2];
    __m512 a = _mm512_set1_ps(ATTENTION8_TINY);
    UNROLL
    for (size_t j = 0; j < 2; j++) {
        __mmask16 mask = n_present > 16 * j ? reduce_mask16(n_present - 16 * j) : 0;
        x[j] = _mm512_maskz_mul_ps(mask, _mm512_loadu_ps(w->p + 16 * j),
                                   _mm512_loadu_ps(v_scale + 16 * j));
        a = _mm512_max_ps(x[j], a);
    }
    float most = _mm512_reduce_max_ps(a);
    __m512 inv = _mm512_set1_ps(ATTENTION8_TOP / most);
    UNROLL
    for (size_t j = 0; j < 2; j++) {
        __m512i v = x15(x[j], inv, _mm512_setzero_ps());
        __m128i high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(v, 7));
        __m128i low = _mm512_cvtepi32_epi8(_mm512_and_si512(v, _mm512_set1_epi32(127)));
        _mm_storeu_si128((__m128i *)(void *)(ret->high + 16 * j), high);
        _mm_storeu_si128((__m128i *)(void *)(ret->low + 16 * j), low);
    }
    ret->scale = most / ATTENTION8_TOP;
}

/* Columns [d, d + 16 * n_vectors) for n queries. Lanes not in `mask` lie past the end of a row. */
INLINE void weigh8_columns(const struct attention_data *data, size_t head_dim, size_t d,
                           size_t n_present, struct attention_query *query,
                           const struct attention_weights *w, const struct weights8 *w8, size_t n,
                           size_t n_vectors, __mmask16 mask)
{
    size_t v_at = ATTENTION_BLOCK * head_dim + 4 * d;
    __m512i high[TILE8_QUERIES][2], low[TILE8_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        high[i][0] = high[i][1] = low[i][0] = low[i][1] = _mm512_setzero_si512();
    }
    for (size_t s = 0; s < n_present; s += 4) {
        const uint8_t *from = data->part + v_at + s * head_dim;
        __m512i v[2];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            _mm_prefetch((const char *)data->next + v_at + s * head_dim + 64 * j, _MM_HINT_T0);
            v[j] = n_vectors == 2 ? _mm512_loadu_si512(from + 64 * j)
                                  : _mm512_maskz_loadu_epi32(mask, from);
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i h = broadcast4(w8[i].high + s);
            __m512i l = broadcast4(w8[i].low + s);
            UNROLL
            for (size_t j = 0; j < n_vectors; j++) {
                add_products(&high[i][j], h, v[j]);
                add_products(&low[i][j], l, v[j]);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[i][j], 7), low[i][j]);
            __m512 acc = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(w8[i].scale));
            merge_columns(&query[i], &w[i], d + 16 * j, acc, mask);
        }
    }
}

INLINE void weigh8_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                        struct attention_query *query, const struct attention_weights *w, size_t n)
{
    struct weights8 w8[TILE8_QUERIES];
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    for (size_t i = 0; i < n; i++) {
        quantize_weights(&w[i], scales->v, n_present, &w8[i]);
    }
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32) {
        weigh8_columns(data, head_dim, d, n_present, query, w, w8, n, 2, 0xffff);
    }
    for (; d < head_dim; d += 16) {
        weigh8_columns(data, head_dim, d, n_present, query, w, w8, n, 1,
                       reduce_mask16(head_dim - d));
    }
}

static void weigh8(const struct attention_data *data, size_t head_dim, size_t n_present,
                   struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t i = 0;
    for (; i + TILE8_QUERIES <= n; i += TILE8_QUERIES) {
        weigh8_tile(data, head_dim, n_present, query + i, w + i, TILE8_QUERIES);
    }
    for (; i < n; i++) {
        weigh8_tile(data, head_dim, n_present, query + i, w + i, 1);
    }
}

/* ---- both ---- */

static const struct attention_ops OPS = {load, score, soften, weigh, merge, divide, exp16, 2};
static const struct attention_ops OPS8 = {load8, score8, soften, weigh8, merge, divide, exp16, 1};

void attention_run_avx512(const struct attention *a)
{
    attention_run_passes(a, &OPS);
}

void attention_split_avx512(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS, first, n, sums);
}

void attention8_run_avx512(const struct attention *a)
{
    attention_run_passes(a, &OPS8);
}

void attention8_split_avx512(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS8, first, n, sums);
}

void attention_join_avx512(const struct attention *a, const float *sums)
{
    attention_join_passes(a, &OPS, sums);
}
