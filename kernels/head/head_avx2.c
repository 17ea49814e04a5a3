/* SPDX-License-Identifier: MIT */
/* Measured as in head_avx512.c, GB/s of weights: one token 32 (84 to 100 % of reading memory);
 * 2, 4, 8, 16 tokens 29, 16, 8, 3.4. Tiles of 2 rows for one token without prefetch: 40 %. */
#include <immintrin.h>
#include <math.h>

#include "kernels/f16/f16.h"
#include "kernels/head/head_walk.h"
#include "kernels/reduce_avx2.h"
#include "kernels/unroll.h"

/* A row and a token take four registers of partial sums, so a tile is one row, and the weights are
 * a single stream from memory for any number of tokens. */
enum { TILE_TOKENS = 3 };

INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE void step(const uint16_t *w, const float *h, size_t h_stride, size_t tokens,
                 __m256 p[TILE_TOKENS][4])
{
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        __m256 v = load_f16(w + 8 * k);
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            p[t][k] = _mm256_fmadd_ps(v, _mm256_loadu_ps(h + t * h_stride + 8 * k), p[t][k]);
        }
    }
}

/* n < 32 more columns, then the sum. */
static float finish_tail(const __m256 p[4], const uint16_t *w, const float *h, size_t n)
{
    float sums[32];
    reduce_spill_avx2(p, sums);
    for (size_t i = 0; i < n; i++) {
        sums[i] = fmaf(f16_to_f32(w[i]), h[i], sums[i]);
    }
    return reduce_add32(sums);
}

INLINE void run_shape(const struct head_tile *a, size_t tokens)
{
    __m256 p[TILE_TOKENS][4];
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        UNROLL
        for (size_t k = 0; k < 4; k++) {
            p[t][k] = _mm256_setzero_ps();
        }
    }
    size_t n = a->n_cols;
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        _mm_prefetch((const char *)(a->w + c) + HEAD_PREFETCH_BYTES, _MM_HINT_T0);
        step(a->w + c, a->h + c, a->h_stride, tokens, p);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        a->y[t * a->y_stride] =
            c == n ? reduce_add32_avx2(p[t])
                   : finish_tail(p[t], a->w + c, a->h + t * a->h_stride + c, n - c);
    }
}

#define SHAPE(tokens)                                                                              \
    static void run_1x##tokens(const struct head_tile *a)                                          \
    {                                                                                              \
        run_shape(a, tokens);                                                                      \
    }
SHAPE(1)
SHAPE(2)
SHAPE(3)
#undef SHAPE

void head_logits_avx2(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                      size_t row1, float *y, size_t y_stride)
{
    static head_run_tile *const single[] = {run_1x1, run_1x1, run_1x2, run_1x3};
    const struct head_shapes shapes = {1, TILE_TOKENS, single, single};
    head_walk(w, n_cols, x, row0, row1, y, y_stride, &shapes);
}
