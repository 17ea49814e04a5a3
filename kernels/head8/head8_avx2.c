/* SPDX-License-Identifier: MIT */
/* Weights widened to int16 and multiplied by vpmaddwd: vpmaddubsw would saturate. */
#include <immintrin.h>

#include "kernels/head8/head8.h"
#include "kernels/head8/head8_row.h"
#include "kernels/unroll.h"

enum { TILE_ROWS = 4, TILE_TOKENS = 2 };

void head8_pack_avx2(const float *w, const struct head8 *to, size_t row)
{
    head8_pack_row(w, to, row);
}

INLINE __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

/* Sums of the products of rows r0 .. r0 + rows and tokens t0 .. t0 + tokens. */
INLINE void add_products(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                         size_t rows, size_t tokens, __m256i acc[TILE_ROWS][TILE_TOKENS])
{
    size_t stride = head8_stride(w->n_cols);
    const int8_t *q = w->q + r0 * stride;
    const int16_t *p = x->p + t0 * stride;
    const char *ahead = (const char *)q + head8_prefetch_bytes(rows * stride);
    for (size_t c = 0; c < stride; c += 64) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm_prefetch(ahead + c * rows + 64 * r, _MM_HINT_T0);
        }
        UNROLL
        for (size_t k = 0; k < 64; k += 16) {
            __m256i u[TILE_TOKENS];
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                u[t] = load(p + t * stride + c + k);
            }
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const void *from = q + r * stride + c + k;
                __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from));
                UNROLL
                for (size_t t = 0; t < tokens; t++) {
                    acc[r][t] = _mm256_add_epi32(acc[r][t], _mm256_madd_epi16(v, u[t]));
                }
            }
        }
    }
}

INLINE __m128i add_halves(__m256i a)
{
    return _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}

INLINE void tile(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                 size_t tokens, float *lower, float *upper, size_t y_stride)
{
    __m256i acc[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = _mm256_setzero_si256();
        }
    }
    add_products(w, x, r0, t0, TILE_ROWS, tokens, acc);
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m256i ab = _mm256_hadd_epi32(acc[0][t], acc[1][t]);
        __m256i cd = _mm256_hadd_epi32(acc[2][t], acc[3][t]);
        __m128i sums = add_halves(_mm256_hadd_epi32(ab, cd));
        size_t at = (t0 + t) * y_stride + r0;
        head8_bound4(w, x, t0 + t, r0, sums, lower + at, upper + at);
    }
}

static void one_row(const struct head8 *w, const struct head8_input *x, size_t r, float *lower,
                    float *upper, size_t y_stride)
{
    for (size_t t = 0; t < x->n_tokens; t++) {
        __m256i acc[TILE_ROWS][TILE_TOKENS];
        acc[0][0] = _mm256_setzero_si256();
        add_products(w, x, r, t, 1, 1, acc);
        __m128i s = add_halves(acc[0][0]);
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        size_t at = t * y_stride + r;
        head8_bound(w, x, t, r, _mm_cvtsi128_si32(s), &lower[at], &upper[at]);
    }
}

void head8_bounds_avx2(const struct head8 *w, const struct head8_input *x, size_t row0, size_t row1,
                       float *lower, float *upper, size_t y_stride)
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
