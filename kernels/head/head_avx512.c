/* SPDX-License-Identifier: MIT */
/* Measured as in ternary_avx512.c, `kernels_bench head`, 2560 columns, GB/s of weights:
 *   one token 31 to 41 (100 % of reading memory); 2, 4, 8, 16 tokens 26 to 36, 22 to 27, 13 to 16, 7
 * Tried and left:
 *   one token in tiles of 4 rows, no prefetch: 60 %; row by row, no prefetch: 85 %
 *   tiles of 2x6, 2x4, 4x3 rows by tokens at 8 tokens: 78, 77, 92 % of 3x4
 *   blocks of 8 rows by 12 tokens whose partial sums stay in memory while chunks of 128 columns
 *     pass: 95 % at 8 and 12 tokens, 73 % at 2, and much more code */
#include <immintrin.h>

#include "kernels/head/head_walk.h"
#include "kernels/reduce_avx512.h"
#include "kernels/unroll.h"

enum {
    TILE_ROWS = 3,
    TILE_TOKENS = 4,
};

INLINE __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Sixteen columns, which belong to half `k` (0 or 1) of the partial sums. */
INLINE void step(const uint16_t *w, size_t n_cols, const float *h, size_t h_stride, size_t rows,
                 size_t tokens, size_t k, __m512 p[TILE_ROWS][TILE_TOKENS][2])
{
    __m512 v[TILE_ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        v[r] = load_f16(w + r * n_cols);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m512 u = _mm512_loadu_ps(h + t * h_stride);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            p[r][t][k] = _mm512_fmadd_ps(v[r], u, p[r][t][k]);
        }
    }
}

/* The first n of sixteen columns; lanes past them keep their sums. */
INLINE void step_tail(const uint16_t *w, size_t n_cols, const float *h, size_t h_stride,
                      size_t rows, size_t tokens, size_t n, size_t k,
                      __m512 p[TILE_ROWS][TILE_TOKENS][2])
{
    __mmask16 mask = reduce_mask16(n);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m512 v = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w + r * n_cols));
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            __m512 u = _mm512_maskz_loadu_ps(mask, h + t * h_stride);
            p[r][t][k] = _mm512_mask3_fmadd_ps(v, u, p[r][t][k], mask);
        }
    }
}

INLINE void run_shape(const struct head_tile *a, size_t rows, size_t tokens)
{
    __m512 p[TILE_ROWS][TILE_TOKENS][2];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            p[r][t][0] = _mm512_setzero_ps();
            p[r][t][1] = _mm512_setzero_ps();
        }
    }
    size_t n = a->n_cols;
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm_prefetch(a->ahead + 2 * c * rows + 64 * r, _MM_HINT_T0);
        }
        step(a->w + c, n, a->h + c, a->h_stride, rows, tokens, 0, p);
        step(a->w + c + 16, n, a->h + c + 16, a->h_stride, rows, tokens, 1, p);
    }
    if (c < n) {
        step_tail(a->w + c, n, a->h + c, a->h_stride, rows, tokens, n - c, 0, p);
    }
    if (c + 16 < n) {
        step_tail(a->w + c + 16, n, a->h + c + 16, a->h_stride, rows, tokens, n - c - 16, 1, p);
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            a->y[t * a->y_stride + r] = reduce_add32_avx512(p[r][t][0], p[r][t][1]);
        }
    }
}

#define SHAPE(rows, tokens)                                                                        \
    static void run_##rows##x##tokens(const struct head_tile *a)                                   \
    {                                                                                              \
        run_shape(a, rows, tokens);                                                                \
    }
SHAPE(3, 1)
SHAPE(3, 2)
SHAPE(3, 3)
SHAPE(3, 4)
SHAPE(1, 1)
SHAPE(1, 2)
SHAPE(1, 3)
SHAPE(1, 4)
#undef SHAPE

/* One token: row by row, a single stream from memory. */
static void run_stream(const struct head_tile *a)
{
    struct head_tile b = *a;
    b.ahead = (const char *)a->w + HEAD_PREFETCH_BYTES;
    run_shape(&b, 1, 1);
}

void head_logits_avx512(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                        size_t row1, float *y, size_t y_stride)
{
    static head_run_tile *const stream[] = {run_stream, run_stream};
    static head_run_tile *const full[] = {run_3x1, run_3x1, run_3x2, run_3x3, run_3x4};
    static head_run_tile *const single[] = {run_1x1, run_1x1, run_1x2, run_1x3, run_1x4};
    const struct head_shapes shapes =
        x->n_tokens == 1 ? (struct head_shapes){1, 1, stream, stream}
                         : (struct head_shapes){TILE_ROWS, TILE_TOKENS, full, single};
    head_walk(w, n_cols, x, row0, row1, y, y_stride, &shapes);
}
