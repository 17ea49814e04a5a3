/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "kernels/attention/attention.h"
#include "kernels/math/exp_avx2.h"
#include "kernels/reduce_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    PASS_QUERIES = 16, /* queries for which a block is read and converted at once */
    TILE_QUERIES = 2,
};

struct query {
    const float *q;
    float *out;
    size_t n_pos;
    float segment_m, segment_l;
    float total_m, total_l;
    float segment[ATTENTION_MAX_HEAD_DIM];
    float total[ATTENTION_MAX_HEAD_DIM];
};

/* What a query's tile of one block adds: p[i] as in the header, and the factors of its merge. */
struct weights {
    float p[ATTENTION_BLOCK];
    float e, e2;
    bool is_first;
};

void attention_store_avx2(const float *k, const float *v, size_t head_dim, size_t slot,
                          uint16_t *k_block, uint16_t *v_block)
{
    for (size_t d = 0; d < head_dim; d += 8) {
        __m128i kh = _mm256_cvtps_ph(_mm256_loadu_ps(k + d), _MM_FROUND_TO_NEAREST_INT);
        __m128i vh = _mm256_cvtps_ph(_mm256_loadu_ps(v + d), _MM_FROUND_TO_NEAREST_INT);
        uint16_t column[8];
        _mm_storeu_si128((__m128i *)(void *)column, kh);
        _mm_storeu_si128((__m128i *)(void *)(v_block + slot * head_dim + d), vh);
        for (size_t i = 0; i < 8; i++) {
            k_block[(d + i) * ATTENTION_BLOCK + slot] = column[i];
        }
    }
}

static void widen(const uint16_t *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(x + i));
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(h));
    }
}

/* Scaled scores of n queries with all 32 slots, absent ones too. */
INLINE void score(const float *k, size_t head_dim, const struct query *query, size_t n,
                  struct weights *ret)
{
    __m256 a[TILE_QUERIES][4];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < 4; j++) {
            a[i][j] = _mm256_setzero_ps();
        }
    }
    for (size_t d = 0; d < head_dim; d++) {
        __m256 q[TILE_QUERIES];
        for (size_t i = 0; i < n; i++) {
            q[i] = _mm256_set1_ps(query[i].q[d]);
        }
        for (size_t j = 0; j < 4; j++) {
            __m256 kj = _mm256_loadu_ps(k + d * ATTENTION_BLOCK + 8 * j);
            for (size_t i = 0; i < n; i++) {
                a[i][j] = _mm256_fmadd_ps(q[i], kj, a[i][j]);
            }
        }
    }
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf((float)head_dim));
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < 4; j++) {
            _mm256_storeu_ps(ret[i].p + 8 * j, _mm256_mul_ps(scale, a[i][j]));
        }
    }
}

/* All ones in the lanes j with 8k + j < n. */
static __m256 present_mask(size_t n, size_t k)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i limit = _mm256_set1_epi32((int)n - (int)(8 * k));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, lane));
}

/* Scores to p, and m and l of the query's segment brought up to date. */
static void soften(struct weights *w, struct query *query, size_t n_present, bool is_first)
{
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 mask[4], p[4];
    __m256 best = lowest;
    for (size_t k = 0; k < 4; k++) {
        mask[k] = present_mask(n_present, k);
        p[k] = _mm256_blendv_ps(lowest, _mm256_loadu_ps(w->p + 8 * k), mask[k]);
        best = _mm256_max_ps(p[k], best);
    }
    float m = reduce_max8_avx2(best);
    __m256 vm = _mm256_set1_ps(m);
    for (size_t k = 0; k < 4; k++) {
        p[k] = _mm256_and_ps(mask[k], exp_avx2(_mm256_sub_ps(p[k], vm)));
        _mm256_storeu_ps(w->p + 8 * k, p[k]);
    }
    float l = reduce_add32_avx2(p);
    w->is_first = is_first;
    if (is_first) {
        query->segment_m = m;
        query->segment_l = l;
        return;
    }
    float m_new = m > query->segment_m ? m : query->segment_m;
    w->e = math_exp(query->segment_m - m_new);
    w->e2 = math_exp(m - m_new);
    query->segment_l = fmaf(query->segment_l, w->e, l * w->e2);
    query->segment_m = m_new;
}

/* Columns [d, d + 8 * n_vectors) of the values, weighted and merged into the segments of n
 * queries. */
INLINE void weigh_columns(const float *v, size_t head_dim, size_t d, size_t n_present,
                          struct query *query, const struct weights *w, size_t n, size_t n_vectors)
{
    __m256 acc[TILE_QUERIES][4];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm256_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        __m256 p[TILE_QUERIES];
        for (size_t i = 0; i < n; i++) {
            p[i] = _mm256_set1_ps(w[i].p[s]);
        }
        for (size_t j = 0; j < n_vectors; j++) {
            __m256 u = _mm256_loadu_ps(v + s * head_dim + d + 8 * j);
            for (size_t i = 0; i < n; i++) {
                acc[i][j] = _mm256_fmadd_ps(p[i], u, acc[i][j]);
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_vectors; j++) {
            float *to = query[i].segment + d + 8 * j;
            __m256 a = acc[i][j];
            if (!w[i].is_first) {
                a = _mm256_mul_ps(a, _mm256_set1_ps(w[i].e2));
                a = _mm256_fmadd_ps(_mm256_loadu_ps(to), _mm256_set1_ps(w[i].e), a);
            }
            _mm256_storeu_ps(to, a);
        }
    }
}

INLINE void weigh(const float *v, size_t head_dim, size_t n_present, struct query *query,
                  const struct weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 4);
    }
    for (; d < head_dim; d += 8) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1);
    }
}

/* The finished segment joins the total. */
static void close_segment(struct query *query, size_t head_dim, bool is_first)
{
    float e = 0.0f, e2 = 1.0f;
    if (is_first) {
        query->total_m = query->segment_m;
        query->total_l = query->segment_l;
    } else {
        float m = query->segment_m > query->total_m ? query->segment_m : query->total_m;
        e = math_exp(query->total_m - m);
        e2 = math_exp(query->segment_m - m);
        query->total_l = fmaf(query->total_l, e, query->segment_l * e2);
        query->total_m = m;
    }
    for (size_t d = 0; d < head_dim; d += 8) {
        __m256 a = _mm256_loadu_ps(query->segment + d);
        if (!is_first) {
            a = _mm256_mul_ps(a, _mm256_set1_ps(e2));
            a = _mm256_fmadd_ps(_mm256_loadu_ps(query->total + d), _mm256_set1_ps(e), a);
        }
        _mm256_storeu_ps(query->total + d, a);
    }
}

static size_t count_present(const struct query *query, size_t block)
{
    size_t n = query->n_pos - block * ATTENTION_BLOCK;
    return n < ATTENTION_BLOCK ? n : ATTENTION_BLOCK;
}

/* All queries in [query, query + n) see at least one slot of the block. */
static void run_block(const struct attention *a, size_t block, struct query *query, size_t n)
{
    size_t hd = a->head_dim;
    float wide[ATTENTION_BLOCK * ATTENTION_MAX_HEAD_DIM];
    struct weights w[PASS_QUERIES];
    widen(a->blocks[block] + a->k_offset, ATTENTION_BLOCK * hd, wide);
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        score(wide, hd, query + i, 2, w + i);
    }
    if (i < n) {
        score(wide, hd, query + i, 1, w + i);
    }
    for (i = 0; i < n; i++) {
        soften(&w[i], &query[i], count_present(&query[i], block), block % ATTENTION_SEGMENT == 0);
    }
    widen(a->blocks[block] + a->v_offset, count_present(&query[n - 1], block) * hd, wide);
    size_t step;
    for (i = 0; i < n; i += step) {
        size_t n_present = count_present(&query[i], block);
        if (n - i >= 2 && count_present(&query[i + 1], block) == n_present) {
            step = 2;
            weigh(wide, hd, n_present, query + i, w + i, 2);
        } else {
            step = 1;
            weigh(wide, hd, n_present, query + i, w + i, 1);
        }
    }
    for (i = 0; i < n; i++) {
        bool is_last = (block + 1) * ATTENTION_BLOCK >= query[i].n_pos;
        if (is_last || block % ATTENTION_SEGMENT == ATTENTION_SEGMENT - 1) {
            close_segment(&query[i], hd, block < ATTENTION_SEGMENT);
        }
    }
}

/* Queries [first, first + n) of the call, counted token by token, head by head. */
static void run_pass(const struct attention *a, size_t first, size_t n)
{
    struct query query[PASS_QUERIES];
    for (size_t i = 0; i < n; i++) {
        size_t t = (first + i) / a->n_heads;
        size_t h = (first + i) % a->n_heads;
        query[i].q = a->q + t * a->q_stride + h * a->head_dim;
        query[i].out = a->out + t * a->out_stride + h * a->head_dim;
        query[i].n_pos = a->pos0 + t + 1;
    }
    size_t active = 0;
    for (size_t block = 0; active < n; block++) {
        run_block(a, block, query + active, n - active);
        while (active < n && query[active].n_pos <= (block + 1) * ATTENTION_BLOCK) {
            active++;
        }
    }
    for (size_t i = 0; i < n; i++) {
        __m256 l = _mm256_set1_ps(query[i].total_l);
        for (size_t d = 0; d < a->head_dim; d += 8) {
            __m256 v = _mm256_div_ps(_mm256_loadu_ps(query[i].total + d), l);
            _mm256_storeu_ps(query[i].out + d, v);
        }
    }
}

void attention_run_avx2(const struct attention *a)
{
    size_t n = a->n_tokens * a->n_heads;
    for (size_t i = 0; i < n; i += PASS_QUERIES) {
        run_pass(a, i, n - i < PASS_QUERIES ? n - i : PASS_QUERIES);
    }
}
