/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <math.h>

#include "kernels/f16/f16.h"
#include "kernels/head/head.h"
#include "kernels/reduce_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum { MAX_ROWS = 2, MAX_TOKENS = 2 };

INLINE void step(const uint16_t *w, size_t w_stride, const float *h, size_t h_stride, size_t rows,
                 size_t tokens, __m256 p[MAX_ROWS][MAX_TOKENS][4])
{
    for (size_t k = 0; k < 4; k++) {
        for (size_t r = 0; r < rows; r++) {
            const void *from = w + r * w_stride + 8 * k;
            __m256 v = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
            for (size_t t = 0; t < tokens; t++) {
                __m256 u = _mm256_loadu_ps(h + t * h_stride + 8 * k);
                p[r][t][k] = _mm256_fmadd_ps(v, u, p[r][t][k]);
            }
        }
    }
}

static float finish_tail(const __m256 p[4], const uint16_t *w, const float *h, size_t n)
{
    float sums[32];
    reduce_spill_avx2(p, sums);
    for (size_t i = 0; i < n; i++) {
        sums[i] = fmaf(f16_to_f32(w[i]), h[i], sums[i]);
    }
    return reduce_add32(sums);
}

INLINE void tile(const uint16_t *w, size_t n_cols, const float *h, size_t h_stride, size_t rows,
                 size_t tokens, float *y, size_t y_stride)
{
    __m256 p[MAX_ROWS][MAX_TOKENS][4];
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            for (size_t k = 0; k < 4; k++) {
                p[r][t][k] = _mm256_setzero_ps();
            }
        }
    }
    size_t c = 0;
    for (; c + 32 <= n_cols; c += 32) {
        step(w + c, n_cols, h + c, h_stride, rows, tokens, p);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            float *to = &y[t * y_stride + r];
            *to = c == n_cols
                      ? reduce_add32_avx2(p[r][t])
                      : finish_tail(p[r][t], w + r * n_cols + c, h + t * h_stride + c, n_cols - c);
        }
    }
}

void head_logits_avx2(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                      size_t row1, float *y, size_t y_stride)
{
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        const uint16_t *wr = w + r * n_cols;
        float *yr = y + r;
        size_t t = 0;
        if (row1 - r >= 2 && x->n_tokens == 1) {
            rows = 2;
            tile(wr, n_cols, x->h, 0, 2, 1, yr, 0);
            continue;
        }
        rows = 1;
        for (; t + 2 <= x->n_tokens; t += 2) {
            tile(wr, n_cols, x->h + t * x->stride, x->stride, 1, 2, yr + t * y_stride, y_stride);
        }
        for (; t < x->n_tokens; t++) {
            tile(wr, n_cols, x->h + t * x->stride, 0, 1, 1, yr + t * y_stride, 0);
        }
    }
}
