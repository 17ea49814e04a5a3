/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/ternary/ternary.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    TILE_ROWS = 4,
    TILE_TOKENS = 6,
    BLOCK_BYTES = 128 * 1024, /* weights that stay in L2 while all tokens pass over them */
};

/* Codes of 64 columns as bytes: a group of 32 bytes lies in both halves, the lower half keeps
 * bits 0..1 (columns 0..31) and the upper one bits 2..3 (columns 32..63, four times too large).
 * finish() divides the upper lanes by four. Shifted right by 4, the group gives columns 64..127. */
INLINE void step(const uint8_t *codes, size_t row_bytes, const int8_t *q, size_t stride,
                 size_t rows, size_t tokens, __m512i acc[TILE_ROWS][TILE_TOKENS])
{
    const __m512i mask = _mm512_inserti64x4(_mm512_set1_epi8(0x03), _mm256_set1_epi8(0x0c), 1);
    __m512i lo[TILE_ROWS], hi[TILE_ROWS];
    for (size_t r = 0; r < rows; r++) {
        const void *from = codes + r * row_bytes;
        __m512i c = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)from));
        lo[r] = _mm512_and_si512(c, mask);
        hi[r] = _mm512_and_si512(_mm512_srli_epi16(c, 4), mask);
    }
    for (size_t t = 0; t < tokens; t++) {
        __m512i x0 = _mm512_loadu_si512(q + t * stride);
        __m512i x1 = _mm512_loadu_si512(q + t * stride + 64);
        for (size_t r = 0; r < rows; r++) {
            acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], lo[r], x0);
            acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], hi[r], x1);
        }
    }
}

/* The lower eight lanes plus a quarter of the upper ones. */
INLINE __m256i fold(__m512i acc)
{
    __m256i upper = _mm512_extracti64x4_epi64(acc, 1);
    return _mm256_add_epi32(_mm512_castsi512_si256(acc), _mm256_srai_epi32(upper, 2));
}

/* Lane r of the result is the sum of acc[r]'s lanes; lanes past `rows` are not meaningful. */
INLINE __m128i finish(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m256i ab = _mm256_hadd_epi32(fold(a), fold(b));
    __m256i cd = _mm256_hadd_epi32(fold(c), fold(d));
    __m256i s = _mm256_hadd_epi32(ab, cd);
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

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

INLINE void run_tile(const struct tile *a, const float w_scale[TILE_ROWS], size_t rows,
                     size_t tokens)
{
    __m512i acc[TILE_ROWS][TILE_TOKENS];
    for (size_t r = 0; r < TILE_ROWS; r++) {
        for (size_t t = 0; t < TILE_TOKENS; t++) {
            acc[r][t] = _mm512_setzero_si512();
        }
    }
    for (size_t g = 0; g * 32 < a->row_bytes; g++) {
        step(a->codes + g * 32, a->row_bytes, a->q + g * 128, a->stride, rows, tokens, acc);
    }
    const __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 ws = _mm_loadu_ps(w_scale);
    for (size_t t = 0; t < tokens; t++) {
        __m128i s = finish(acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
        s = _mm_sub_epi32(s, _mm_set1_epi32(a->x_sum[t]));
        __m128 v = _mm_mul_ps(_mm_mul_ps(_mm_cvtepi32_ps(s), _mm_set1_ps(a->x_scale[t])), ws);
        _mm_mask_storeu_ps(a->y + t * a->y_stride, mask, v);
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
    case 4:
        run_tile(a, w_scale, rows, 4);
        break;
    case 5:
        run_tile(a, w_scale, rows, 5);
        break;
    default:
        run_tile(a, w_scale, rows, 6);
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

void ternary_matmul_avx512(const struct ternary_weights *w, const struct quantized *x, size_t row0,
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
