/* SPDX-License-Identifier: MIT */
/* Measured as in attention_avx512.c: decoding 14 to 22 GB/s of cache (bound by fma, 45 GMAC/s);
 * 256 tokens 45 to 47 GMAC/s (74 % of f32 fma in registers). int8 cache: decoding 14 to 16 GB/s, 1.4
 * times the positions a second of f16 (vpmaddwd and vpaddd do no more than fma); 256 tokens 64 to 67
 * GMAC/s. The next block's 64 lines of keys fetched at once, and then those of values: 10 to 11 GB/s.
 * Tried and left: a block widened to f32 first, then tiles of 2 or 3 queries by 32 slots: 66 % in
 * decoding, 90 % in prefill. */
#include <immintrin.h>
#include <math.h>

#include "kernels/attention/attention8_part.h"
#include "kernels/attention/attention_pass.h"
#include "kernels/math/exp_avx2.h"
#include "kernels/reduce_avx2.h"
#include "kernels/unroll.h"

/* Four queries by 16 slots, or by 16 columns of values: 8 chains of fma. */
enum { TILE_QUERIES = 4 };

/* ---- f16 cache ---- */

void attention_store_avx2(const float *k, const float *v, size_t head_dim, size_t slot,
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

INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
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
    __m256 a[TILE_QUERIES], b[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm256_setzero_ps();
        b[i] = _mm256_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        if (slot == 0) {
            _mm_prefetch((const char *)data->next + 2 * d * ATTENTION_BLOCK, _MM_HINT_T0);
        }
        __m256 k0 = load_f16(k + d * ATTENTION_BLOCK);
        __m256 k1 = load_f16(k + d * ATTENTION_BLOCK + 8);
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

/* All ones in the lanes j with 8k + j < n. */
INLINE __m256 present_mask(size_t n, size_t k)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i limit = _mm256_set1_epi32((int)n - (int)(8 * k));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, lane));
}

INLINE void soften_one(float p[ATTENTION_BLOCK], size_t n_present, float *ret_m, float *ret_l)
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

static void soften(struct attention_weights *w, size_t n, size_t n_present, float *ret_m,
                   float *ret_l)
{
    for (size_t i = 0; i < n; i++) {
        soften_one(w[i].p, n_present, ret_m + i, ret_l + i);
    }
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
INLINE void weigh_columns(const struct attention_data *data, size_t head_dim, size_t d,
                          size_t n_present, struct attention_query *query,
                          const struct attention_weights *w, size_t n, size_t n_vectors,
                          bool is_half)
{
    size_t v_at = ATTENTION_BLOCK * head_dim + d;
    const uint16_t *v = (const uint16_t *)(const void *)data->part + v_at;
    const uint16_t *next = (const uint16_t *)(const void *)data->next + v_at;
    __m256 acc[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm256_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        if (d % 32 == 0) {
            _mm_prefetch((const char *)(next + s * head_dim), _MM_HINT_T0);
        }
        __m256 u[2];
        UNROLL
        for (size_t j = 0; j < n_vectors; j++) {
            u[j] = is_half ? _mm256_cvtph_ps(_mm_loadu_si64(v + s * head_dim))
                           : load_f16(v + s * head_dim + 8 * j);
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

INLINE void weigh_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                       struct attention_query *query, const struct attention_weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 2, false);
    }
    if (d + 8 <= head_dim) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 1, false);
        d += 8;
    }
    if (d < head_dim) {
        weigh_columns(data, head_dim, d, n_present, query, w, n, 1, true);
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

void attention8_store_avx2(const float *k, const float *v, size_t head_dim, size_t slot,
                           uint8_t *part)
{
    attention8_store_with(quantize_row_avx2, k, v, head_dim, slot, part);
}

/* x15 of eight values. */
INLINE __m256i x15(__m256 x, __m256 inv, __m256 low)
{
    __m256 v = _mm256_max_ps(_mm256_mul_ps(x, inv), low); /* a NaN in the first place gives low */
    return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(ATTENTION8_TOP)));
}

/* Eight values of 16 bits to p, which fit. */
INLINE void store_int16(int16_t *p, __m256i v)
{
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(v, v), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(packed));
}

/* q[d .. d + 8), zeros past head_dim. */
INLINE __m256 load_query(const float *q, size_t head_dim, size_t d)
{
    return d + 8 <= head_dim ? _mm256_loadu_ps(q + d) : _mm256_zextps128_ps256(_mm_loadu_ps(q + d));
}

static void load8(struct attention_query *query, const float *q, size_t head_dim)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_set1_ps(ATTENTION8_TINY);
    for (size_t d = 0; d < head_dim; d += 8) {
        a = _mm256_max_ps(_mm256_andnot_ps(sign, load_query(q, head_dim, d)), a);
    }
    float most = reduce_max8_avx2(a);
    __m256 inv = _mm256_set1_ps(ATTENTION8_TOP / most);
    for (size_t d = 0; d < head_dim; d += 8) {
        __m256 x = load_query(q, head_dim, d);
        store_int16(query->q8.q + d, x15(x, inv, _mm256_set1_ps(-ATTENTION8_TOP)));
    }
    query->q8_scale = most / ATTENTION8_TOP * (1.0f / sqrtf((float)head_dim));
}

/* Written out, because gcc 12 moves the sums of a loop from register to register. */
INLINE void add_to(__m256i *sums, __m256i x)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sums) : "x"(x));
}

/* Sums of lanes [0, 8) of n_groups groups of lanes by 4 int8, `stride` bytes from group to group, times
 * four int16 of each group in x[i], for n queries. With is_half only four lanes are there. What will be
 * read later is fetched at `ahead`, 32 bytes a group: all at once would wait for memory. */
INLINE void dot_lanes(const uint8_t *from, size_t stride, size_t n_groups, const int16_t *const *x,
                      size_t n, bool is_half, const uint8_t *ahead, __m256i *ret)
{
    __m256i acc[TILE_QUERIES][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    }
    for (size_t g = 0; g < n_groups; g++) {
        const __m128i *at = (const void *)(from + g * stride);
        _mm_prefetch((const char *)ahead + 32 * g, _MM_HINT_T0);
        __m256i a0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(at));
        __m256i a1 =
            is_half ? _mm256_setzero_si256() : _mm256_cvtepi8_epi16(_mm_loadu_si128(at + 1));
        UNROLL
        for (size_t i = 0; i < n; i++) {
            int64_t four;
            memcpy(&four, x[i] + 4 * g, sizeof four);
            __m256i b = _mm256_set1_epi64x(four);
            add_to(&acc[i][0], _mm256_madd_epi16(a0, b));
            add_to(&acc[i][1], _mm256_madd_epi16(a1, b));
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        __m256i pairs = _mm256_hadd_epi32(acc[i][0], acc[i][1]);
        ret[i] = _mm256_permute4x64_epi64(pairs, 0xd8);
    }
}

INLINE void score8_tile(const struct attention_data *data, size_t head_dim,
                        const struct attention_query *query, size_t n,
                        struct attention_weights *ret)
{
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    const int16_t *x[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        x[i] = query[i].q8.q;
    }
    for (size_t slot = 0; slot < ATTENTION_BLOCK; slot += 8) {
        __m256i sum[TILE_QUERIES];
        dot_lanes(data->part + 4 * slot, 4 * ATTENTION_BLOCK, head_dim / 4, x, n, false,
                  data->next + slot * head_dim, sum);
        __m256 k_scale = _mm256_loadu_ps(scales->k + slot);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m256 s = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[i]), k_scale);
            _mm256_storeu_ps(ret[i].p + slot, _mm256_mul_ps(s, _mm256_set1_ps(query[i].q8_scale)));
        }
    }
}

static void score8(const struct attention_data *data, size_t head_dim,
                   const struct attention_query *query, size_t n, struct attention_weights *ret)
{
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
    int16_t w[ATTENTION_BLOCK];
    float scale;
};

INLINE void quantize_weights(const struct attention_weights *w, const float *v_scale,
                             size_t n_present, struct weights8 *ret)
{
    __m256 x[4];
    __m256 a = _mm256_set1_ps(ATTENTION8_TINY);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        x[k] = _mm256_mul_ps(_mm256_loadu_ps(w->p + 8 * k), _mm256_loadu_ps(v_scale + 8 * k));
        x[k] = _mm256_and_ps(x[k], present_mask(n_present, k));
        a = _mm256_max_ps(x[k], a);
    }
    float most = reduce_max8_avx2(a);
    __m256 inv = _mm256_set1_ps(ATTENTION8_TOP / most);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        store_int16(ret->w + 8 * k, x15(x[k], inv, _mm256_setzero_ps()));
    }
    ret->scale = most / ATTENTION8_TOP;
}

INLINE void weigh8_tile(const struct attention_data *data, size_t head_dim, size_t n_present,
                        struct attention_query *query, const struct attention_weights *w, size_t n)
{
    const struct attention8_scales *scales = attention8_scales(data->part, head_dim);
    const uint8_t *v = data->part + ATTENTION_BLOCK * head_dim;
    const uint8_t *next = data->next + ATTENTION_BLOCK * head_dim;
    size_t n_groups = (n_present + 3) / 4;
    struct weights8 w8[TILE_QUERIES];
    const int16_t *x[TILE_QUERIES];
    __m256i sum[TILE_QUERIES];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        quantize_weights(&w[i], scales->v, n_present, &w8[i]);
        x[i] = w8[i].w;
    }
    size_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        dot_lanes(v + 4 * d, 4 * head_dim, n_groups, x, n, false, next + 32 * d, sum);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m256 acc = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[i]), _mm256_set1_ps(w8[i].scale));
            merge_columns(&query[i], &w[i], d, acc);
        }
    }
    if (d < head_dim) {
        dot_lanes(v + 4 * d, 4 * head_dim, n_groups, x, n, true, next + 32 * d, sum);
        for (size_t i = 0; i < n; i++) {
            __m256 acc = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[i]), _mm256_set1_ps(w8[i].scale));
            merge_columns(&query[i], &w[i], d, acc);
        }
    }
}

static void weigh8(const struct attention_data *data, size_t head_dim, size_t n_present,
                   struct attention_query *query, const struct attention_weights *w, size_t n)
{
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

void attention_run_avx2(const struct attention *a)
{
    attention_run_passes(a, &OPS);
}

void attention_split_avx2(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS, first, n, sums);
}

void attention8_run_avx2(const struct attention *a)
{
    attention_run_passes(a, &OPS8);
}

void attention8_split_avx2(const struct attention *a, size_t first, size_t n, float *sums)
{
    attention_split_passes(a, &OPS8, first, n, sums);
}

void attention_join_avx2(const struct attention *a, const float *sums)
{
    attention_join_passes(a, &OPS, sums);
}
