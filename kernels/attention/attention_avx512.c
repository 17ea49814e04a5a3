/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "kernels/attention/attention.h"
#include "kernels/math/exp_avx512.h"
#include "kernels/reduce_avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    PASS_QUERIES = 16, /* queries for which a block is read at once */
    TILE_QUERIES = 4,
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

void attention_store_avx512(const float *k, const float *v, size_t head_dim, size_t slot,
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

INLINE __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Scaled scores of n queries with all 32 slots, absent ones too. */
INLINE void score(const uint16_t *k, size_t head_dim, const struct query *query, size_t n,
                  struct weights *ret)
{
    __m512 a[TILE_QUERIES], b[TILE_QUERIES];
    for (size_t i = 0; i < n; i++) {
        a[i] = _mm512_setzero_ps();
        b[i] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        __m512 k0 = load_f16(k + d * ATTENTION_BLOCK);
        __m512 k1 = load_f16(k + d * ATTENTION_BLOCK + 16);
        for (size_t i = 0; i < n; i++) {
            __m512 q = _mm512_set1_ps(query[i].q[d]);
            a[i] = _mm512_fmadd_ps(q, k0, a[i]);
            b[i] = _mm512_fmadd_ps(q, k1, b[i]);
        }
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf((float)head_dim));
    for (size_t i = 0; i < n; i++) {
        _mm512_storeu_ps(ret[i].p, _mm512_mul_ps(scale, a[i]));
        _mm512_storeu_ps(ret[i].p + 16, _mm512_mul_ps(scale, b[i]));
    }
}

/* Scores to p, and m and l of the query's segment brought up to date. */
static void soften(struct weights *w, struct query *query, size_t n_present, bool is_first)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __mmask16 mask0 = reduce_mask16(n_present);
    __mmask16 mask1 = n_present > 16 ? reduce_mask16(n_present - 16) : 0;
    __m512 a = _mm512_loadu_ps(w->p);
    __m512 b = _mm512_loadu_ps(w->p + 16);
    __m512 best = _mm512_mask_max_ps(lowest, mask0, a, lowest);
    best = _mm512_mask_max_ps(best, mask1, b, best);
    float m = _mm512_reduce_max_ps(best);
    __m512 vm = _mm512_set1_ps(m);
    a = _mm512_maskz_mov_ps(mask0, exp_avx512(_mm512_sub_ps(a, vm)));
    b = _mm512_maskz_mov_ps(mask1, exp_avx512(_mm512_sub_ps(b, vm)));
    _mm512_storeu_ps(w->p, a);
    _mm512_storeu_ps(w->p + 16, b);
    float l = reduce_add32_avx512(a, b);
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

/* Columns [d, d + 16 * n_vectors) of the values, weighted and merged into the segments of n
 * queries. Lanes not in `mask` lie past the end of a row. */
INLINE void weigh_columns(const uint16_t *v, size_t head_dim, size_t d, size_t n_present,
                          struct query *query, const struct weights *w, size_t n, size_t n_vectors,
                          __mmask16 mask)
{
    __m512 acc[TILE_QUERIES][2];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_vectors; j++) {
            acc[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t s = 0; s < n_present; s++) {
        for (size_t j = 0; j < n_vectors; j++) {
            const uint16_t *from = v + s * head_dim + d + 16 * j;
            __m512 u = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
            for (size_t i = 0; i < n; i++) {
                acc[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(w[i].p[s]), u, acc[i][j]);
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_vectors; j++) {
            float *to = query[i].segment + d + 16 * j;
            __m512 a = acc[i][j];
            if (!w[i].is_first) {
                a = _mm512_mul_ps(a, _mm512_set1_ps(w[i].e2));
                a = _mm512_fmadd_ps(_mm512_loadu_ps(to), _mm512_set1_ps(w[i].e), a);
            }
            _mm512_mask_storeu_ps(to, mask, a);
        }
    }
}

INLINE void weigh(const uint16_t *v, size_t head_dim, size_t n_present, struct query *query,
                  const struct weights *w, size_t n)
{
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 2, 0xffff);
    }
    for (; d < head_dim; d += 16) {
        weigh_columns(v, head_dim, d, n_present, query, w, n, 1, reduce_mask16(head_dim - d));
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
    for (size_t d = 0; d < head_dim; d += 16) {
        __m512 a = _mm512_loadu_ps(query->segment + d);
        if (!is_first) {
            a = _mm512_mul_ps(a, _mm512_set1_ps(e2));
            a = _mm512_fmadd_ps(_mm512_loadu_ps(query->total + d), _mm512_set1_ps(e), a);
        }
        _mm512_storeu_ps(query->total + d, a);
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
    const uint16_t *k = a->blocks[block] + a->k_offset;
    const uint16_t *v = a->blocks[block] + a->v_offset;
    size_t hd = a->head_dim;
    struct weights w[PASS_QUERIES];
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        score(k, hd, query + i, 4, w + i);
    }
    for (; i < n; i++) {
        score(k, hd, query + i, 1, w + i);
    }
    for (i = 0; i < n; i++) {
        soften(&w[i], &query[i], count_present(&query[i], block), block % ATTENTION_SEGMENT == 0);
    }
    size_t step;
    for (i = 0; i < n; i += step) {
        size_t n_present = count_present(&query[i], block);
        if (n - i >= 4 && count_present(&query[i + 3], block) == n_present) {
            step = 4;
            weigh(v, hd, n_present, query + i, w + i, 4);
        } else {
            step = 1;
            weigh(v, hd, n_present, query + i, w + i, 1);
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
        __m512 l = _mm512_set1_ps(query[i].total_l);
        for (size_t d = 0; d < a->head_dim; d += 16) {
            __mmask16 mask = reduce_mask16(a->head_dim - d);
            __m512 v = _mm512_loadu_ps(query[i].total + d);
            _mm512_mask_storeu_ps(query[i].out + d, mask, _mm512_div_ps(v, l));
        }
    }
}

void attention_run_avx512(const struct attention *a)
{
    size_t n = a->n_tokens * a->n_heads;
    for (size_t i = 0; i < n; i += PASS_QUERIES) {
        run_pass(a, i, n - i < PASS_QUERIES ? n - i : PASS_QUERIES);
    }
}
