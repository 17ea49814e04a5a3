/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/ternary/ternary.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    TILE_ROWS = 2,
    TILE_TOKENS = 4,
    /* Steps of vpmaddubsw (each adds at most 2 * 3 * 128 in magnitude) that fit 16 bits: 42.
     * A group takes four. */
    GROUPS_16BIT = 10,
    BLOCK_BYTES = 128 * 1024, /* weights that stay in L2 while all tokens pass over them */
};

struct tile {
    const uint8_t *codes;
    size_t row_bytes;
    const int8_t *q;
    size_t stride;
    const float *x_scale;
    const int32_t *x_sum;
    float *y;
    size_t y_stride;
};

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* The group at `codes` of each row times 128 columns of each token, added to 16-bit sums. */
INLINE void step(const uint8_t *codes, size_t row_bytes, const int8_t *q, size_t stride,
                 size_t rows, size_t tokens, __m256i acc[TILE_ROWS][TILE_TOKENS])
{
    const __m256i mask = _mm256_set1_epi8(0x03);
    __m256i c[TILE_ROWS];
    for (size_t r = 0; r < rows; r++) {
        c[r] = load(codes + r * row_bytes);
    }
    for (size_t k = 0; k < 4; k++) {
        __m256i v[TILE_ROWS];
        for (size_t r = 0; r < rows; r++) {
            v[r] = _mm256_and_si256(_mm256_srli_epi16(c[r], (int)(2 * k)), mask);
        }
        for (size_t t = 0; t < tokens; t++) {
            __m256i x = load(q + t * stride + 32 * k);
            for (size_t r = 0; r < rows; r++) {
                acc[r][t] = _mm256_add_epi16(acc[r][t], _mm256_maddubs_epi16(v[r], x));
            }
        }
    }
}

INLINE int32_t sum8(__m256i a)
{
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtsi128_si32(v);
}

INLINE void run_tile(const struct tile *a, const float w_scale[TILE_ROWS], size_t rows,
                     size_t tokens)
{
    __m256i wide[TILE_ROWS][TILE_TOKENS];
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            wide[r][t] = _mm256_setzero_si256();
        }
    }
    size_t n_groups = a->row_bytes / 32;
    for (size_t g0 = 0; g0 < n_groups; g0 += GROUPS_16BIT) {
        size_t g1 = n_groups - g0 < GROUPS_16BIT ? n_groups : g0 + GROUPS_16BIT;
        __m256i acc[TILE_ROWS][TILE_TOKENS];
        for (size_t r = 0; r < rows; r++) {
            for (size_t t = 0; t < tokens; t++) {
                acc[r][t] = _mm256_setzero_si256();
            }
        }
        for (size_t g = g0; g < g1; g++) {
            step(a->codes + g * 32, a->row_bytes, a->q + g * 128, a->stride, rows, tokens, acc);
        }
        for (size_t r = 0; r < rows; r++) {
            for (size_t t = 0; t < tokens; t++) {
                __m256i s = _mm256_madd_epi16(acc[r][t], _mm256_set1_epi16(1));
                wide[r][t] = _mm256_add_epi32(wide[r][t], s);
            }
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < rows; r++) {
            int32_t s = sum8(wide[r][t]) - a->x_sum[t];
            a->y[t * a->y_stride + r] = ((float)s * a->x_scale[t]) * w_scale[r];
        }
    }
}

INLINE void run_rows(const struct tile *a, const float *w_scale, size_t rows, size_t tokens)
{
    switch (tokens) {
    case 1:
        run_tile(a, w_scale, rows, 1);
        break;
    case 2:
        run_tile(a, w_scale, rows, 2);
        break;
    case 3:
        run_tile(a, w_scale, rows, 3);
        break;
    default:
        run_tile(a, w_scale, rows, 4);
        break;
    }
}

/* Rows [row0, row1) for tokens [t, t + tokens), at most TILE_TOKENS. */
static void run_block(const struct ternary_weights *w, const struct quantized *x, size_t t,
                      size_t tokens, size_t row0, size_t row1, float *y, size_t y_stride)
{
    struct tile a = {
        .row_bytes = ternary_row_bytes(w->n_cols),
        .q = x->q + t * x->stride,
        .stride = x->stride,
        .x_scale = x->scale + t,
        .x_sum = x->sum + t,
        .y_stride = y_stride,
    };
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        rows = row1 - r >= TILE_ROWS ? TILE_ROWS : 1;
        float w_scale[TILE_ROWS] = {0};
        for (size_t i = 0; i < rows; i++) {
            w_scale[i] = w->scales[(r + i) / w->rows_per_scale];
        }
        a.codes = w->codes + r * a.row_bytes;
        a.y = y + t * y_stride + r;
        if (rows == TILE_ROWS) {
            run_rows(&a, w_scale, TILE_ROWS, tokens);
        } else {
            run_rows(&a, w_scale, 1, tokens);
        }
    }
}

void ternary_matmul_avx2(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                         size_t row1, float *y, size_t y_stride)
{
    size_t block = BLOCK_BYTES / ternary_row_bytes(w->n_cols) / TILE_ROWS * TILE_ROWS;
    block = block < TILE_ROWS ? TILE_ROWS : block;
    for (size_t r = row0; r < row1; r += block) {
        size_t end = row1 - r < block ? row1 : r + block;
        for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
            size_t left = x->n_tokens - t;
            run_block(w, x, t, left < TILE_TOKENS ? left : TILE_TOKENS, r, end, y, y_stride);
        }
    }
}
