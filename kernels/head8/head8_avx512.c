/* SPDX-License-Identifier: MIT */
/* Weights widened to int16 and multiplied by vpdpwssd: twice the work of vpdpbusd per byte, but the
 * activations keep 13 bits or more and need no correction.
 *
 * 64128 x 2560 on one busy core of a Zen 5 server, best of 12 in CPU time (int8 read, GB/s):
 *   rows as four streams, one sum at a time 16.9; fetched ahead as one stream, four sums at a time
 *   25.7; from cache 104 and 107. With vpmaddwd (AVX2): 12.1, then 26.0. */
#include <immintrin.h>

#include "kernels/head8/head8.h"
#include "kernels/head8/head8_row.h"
#include "kernels/unroll.h"

enum { TILE_ROWS = 4, TILE_TOKENS = 4 };

void head8_pack_avx512(const float *w, const struct head8 *to, size_t row)
{
    head8_pack_row(w, to, row);
}

INLINE __m512i widen(const int8_t *q)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)q));
}

/* Sums of the products of rows r0 .. r0 + rows and tokens t0 .. t0 + tokens. */
INLINE void add_products(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                         size_t rows, size_t tokens, __m512i acc[TILE_ROWS][TILE_TOKENS])
{
    size_t stride = head8_stride(w->n_cols);
    const int8_t *q = w->q + r0 * stride;
    const int16_t *p = x->p + t0 * stride;
    const char *ahead = (const char *)q + head8_prefetch_bytes(rows * stride);
    for (size_t c = 0; c < stride; c += 64) {
        __m512i v[TILE_ROWS][2];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm_prefetch(ahead + c * rows + 64 * r, _MM_HINT_T0);
            v[r][0] = widen(q + r * stride + c);
            v[r][1] = widen(q + r * stride + c + 32);
        }
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            __m512i u0 = _mm512_loadu_si512(p + t * stride + c);
            __m512i u1 = _mm512_loadu_si512(p + t * stride + c + 32);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                acc[r][t] = _mm512_dpwssd_epi32(acc[r][t], v[r][0], u0);
                acc[r][t] = _mm512_dpwssd_epi32(acc[r][t], v[r][1], u1);
            }
        }
    }
}

INLINE __m256i fold(__m512i a)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
}

INLINE void tile(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                 size_t tokens, float *lower, float *upper, size_t y_stride)
{
    __m512i acc[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = _mm512_setzero_si512();
        }
    }
    add_products(w, x, r0, t0, TILE_ROWS, tokens, acc);
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m256i ab = _mm256_hadd_epi32(fold(acc[0][t]), fold(acc[1][t]));
        __m256i cd = _mm256_hadd_epi32(fold(acc[2][t]), fold(acc[3][t]));
        __m256i s = _mm256_hadd_epi32(ab, cd);
        __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        size_t at = (t0 + t) * y_stride + r0;
        head8_bound4(w, x, t0 + t, r0, sums, lower + at, upper + at);
    }
}

static void one_row(const struct head8 *w, const struct head8_input *x, size_t r, float *lower,
                    float *upper, size_t y_stride)
{
    for (size_t t = 0; t < x->n_tokens; t++) {
        __m512i acc[TILE_ROWS][TILE_TOKENS];
        acc[0][0] = _mm512_setzero_si512();
        add_products(w, x, r, t, 1, 1, acc);
        size_t at = t * y_stride + r;
        head8_bound(w, x, t, r, _mm512_reduce_add_epi32(acc[0][0]), &lower[at], &upper[at]);
    }
}

void head8_bounds_avx512(const struct head8 *w, const struct head8_input *x, size_t row0,
                         size_t row1, float *lower, float *upper, size_t y_stride)
{
    size_t r = row0;
    for (; r + TILE_ROWS <= row1; r += TILE_ROWS) {
        size_t t = 0;
        for (; t + TILE_TOKENS <= x->n_tokens; t += TILE_TOKENS) {
            tile(w, x, r, t, TILE_TOKENS, lower, upper, y_stride);
        }
        for (; t < x->n_tokens; t++) {
            tile(w, x, r, t, 1, lower, upper, y_stride);
        }
    }
    for (; r < row1; r++) {
        one_row(w, x, r, lower, upper, y_stride);
    }
}
