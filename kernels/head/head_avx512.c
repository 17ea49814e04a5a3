/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/head/head.h"
#include "kernels/reduce_avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { MAX_ROWS = 4, MAX_TOKENS = 4 };

INLINE __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* One step of up to 16 columns into half `k` (0 or 1) of the partial sums. */
INLINE void step(const uint16_t *w, size_t w_stride, const float *h, size_t h_stride, size_t rows,
                 size_t tokens, size_t k, __m512 p[MAX_ROWS][MAX_TOKENS][2])
{
    __m512 v[MAX_ROWS];
    for (size_t r = 0; r < rows; r++) {
        v[r] = load_f16(w + r * w_stride);
    }
    for (size_t t = 0; t < tokens; t++) {
        __m512 u = _mm512_loadu_ps(h + t * h_stride);
        for (size_t r = 0; r < rows; r++) {
            p[r][t][k] = _mm512_fmadd_ps(v[r], u, p[r][t][k]);
        }
    }
}

/* The last n % 32 columns: lanes past the end keep their sums. */
INLINE void step_tail(const uint16_t *w, size_t w_stride, const float *h, size_t h_stride,
                      size_t rows, size_t tokens, size_t n, size_t k,
                      __m512 p[MAX_ROWS][MAX_TOKENS][2])
{
    __mmask16 mask = reduce_mask16(n);
    for (size_t r = 0; r < rows; r++) {
        __m512 v = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w + r * w_stride));
        for (size_t t = 0; t < tokens; t++) {
            __m512 u = _mm512_maskz_loadu_ps(mask, h + t * h_stride);
            p[r][t][k] = _mm512_mask3_fmadd_ps(v, u, p[r][t][k], mask);
        }
    }
}

INLINE void tile(const uint16_t *w, size_t n_cols, const float *h, size_t h_stride, size_t rows,
                 size_t tokens, float *y, size_t y_stride)
{
    __m512 p[MAX_ROWS][MAX_TOKENS][2];
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            p[r][t][0] = _mm512_setzero_ps();
            p[r][t][1] = _mm512_setzero_ps();
        }
    }
    size_t c = 0;
    for (; c + 32 <= n_cols; c += 32) {
        step(w + c, n_cols, h + c, h_stride, rows, tokens, 0, p);
        step(w + c + 16, n_cols, h + c + 16, h_stride, rows, tokens, 1, p);
    }
    if (c < n_cols) {
        step_tail(w + c, n_cols, h + c, h_stride, rows, tokens, n_cols - c, 0, p);
    }
    if (c + 16 < n_cols) {
        step_tail(w + c + 16, n_cols, h + c + 16, h_stride, rows, tokens, n_cols - c - 16, 1, p);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            y[t * y_stride + r] = reduce_add32_avx512(p[r][t][0], p[r][t][1]);
        }
    }
}

void head_logits_avx512(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                        size_t row1, float *y, size_t y_stride)
{
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        const uint16_t *wr = w + r * n_cols;
        float *yr = y + r;
        size_t t = 0;
        if (row1 - r >= 4 && x->n_tokens == 1) {
            rows = 4;
            tile(wr, n_cols, x->h, 0, 4, 1, yr, 0);
            continue;
        }
        if (row1 - r >= 2) {
            rows = 2;
            for (; t + 4 <= x->n_tokens; t += 4) {
                tile(wr, n_cols, x->h + t * x->stride, x->stride, 2, 4, yr + t * y_stride,
                     y_stride);
            }
            for (; t < x->n_tokens; t++) {
                tile(wr, n_cols, x->h + t * x->stride, 0, 2, 1, yr + t * y_stride, 0);
            }
            continue;
        }
        rows = 1;
        for (; t < x->n_tokens; t++) {
            tile(wr, n_cols, x->h + t * x->stride, 0, 1, 1, yr + t * y_stride, 0);
        }
    }
}
