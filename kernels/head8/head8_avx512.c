/* SPDX-License-Identifier: MIT */
/* Weights widened to int16 and multiplied by vpdpwssd: twice the work of vpdpbusd per byte, but the
 * activations keep 13 bits or more and need no correction. Memory bounds it all the same. */
#include <immintrin.h>

#include "kernels/head8/head8.h"
#include "kernels/head8/head8_row.h"

#define INLINE static inline __attribute__((always_inline))

enum { MAX_ROWS = 4, MAX_TOKENS = 4 };

void head8_pack_avx512(const float *w, const struct head8 *to, size_t row)
{
    head8_pack_row(w, to, row);
}

INLINE void tile(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                 size_t rows, size_t tokens, float *lower, float *upper, size_t y_stride)
{
    size_t stride = head8_stride(w->n_cols);
    const int8_t *q = w->q + r0 * stride;
    const int16_t *p = x->p + t0 * stride;
    __m512i acc[MAX_ROWS][MAX_TOKENS];
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = _mm512_setzero_si512();
        }
    }
    for (size_t c = 0; c < stride; c += 32) {
        __m512i v[MAX_ROWS];
        for (size_t r = 0; r < rows; r++) {
            const void *from = q + r * stride + c;
            v[r] = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from));
        }
        for (size_t t = 0; t < tokens; t++) {
            __m512i u = _mm512_loadu_si512(p + t * stride + c);
            for (size_t r = 0; r < rows; r++) {
                acc[r][t] = _mm512_dpwssd_epi32(acc[r][t], v[r], u);
            }
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < rows; r++) {
            size_t at = (t0 + t) * y_stride + r0 + r;
            head8_bound(w, x, t0 + t, r0 + r, _mm512_reduce_add_epi32(acc[r][t]), &lower[at],
                        &upper[at]);
        }
    }
}

void head8_bounds_avx512(const struct head8 *w, const struct head8_input *x, size_t row0,
                         size_t row1, float *lower, float *upper, size_t y_stride)
{
    size_t r = row0;
    for (; r + MAX_ROWS <= row1; r += MAX_ROWS) {
        size_t t = 0;
        for (; t + MAX_TOKENS <= x->n_tokens; t += MAX_TOKENS) {
            tile(w, x, r, t, MAX_ROWS, MAX_TOKENS, lower, upper, y_stride);
        }
        for (; t < x->n_tokens; t++) {
            tile(w, x, r, t, MAX_ROWS, 1, lower, upper, y_stride);
        }
    }
    for (; r < row1; r++) {
        for (size_t t = 0; t < x->n_tokens; t++) {
            tile(w, x, r, t, 1, 1, lower, upper, y_stride);
        }
    }
}
