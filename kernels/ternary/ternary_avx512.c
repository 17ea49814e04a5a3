/* SPDX-License-Identifier: MIT */
/* Measured on one thread of a shared Zen 5 server (4.1 GHz, gcc 12), `kernels_bench gemv gemm`; in
 * brackets the share of the limit measured in turns with it (reading memory, vpdpbusd in registers):
 *   one token     2560x6912 37 GB/s (96 %), 6912x2560 37 (89 %), 512x1536 37 (100 %)
 *   2, 4, 8       2560x6912 36, 27, 14 GB/s of weights; from 4 on bound by arithmetic
 *   512 tokens    2560x6912 459 GMAC/s (90 %), 6912x2560 465 (93 %), 512x1536 330 (64 %)
 * Tried and left:
 *   no software prefetch: 16 instead of 37 GB/s for one token; 4 KiB ahead 33, 16 KiB and more 35
 *   tiles of 4x5, 4x4, 3x8, 2x12, 1x12 rows by tokens: 98, 96, 94, 92, 71 % of 4x6
 *   codes unpacked to bytes once for all tokens, in L1 or L2: 80 to 93 % of this, for the four times
 *     larger weights need the cache's bandwidth that the activations need too */
#include <immintrin.h>

#include "kernels/ternary/ternary_groups_avx512.h"
#include "kernels/unroll.h"

enum {
    TILE_ROWS = 4,
    TILE_TOKENS = 6,
};

/* Codes of 64 columns as bytes: a group of 32 bytes lies in both halves, the lower half keeps
 * bits 0..1 (columns 0..31) and the upper one bits 2..3 (columns 32..63, four times too large).
 * fold() divides the upper lanes by four. Shifted right by 4, the group gives columns 64..127. */
INLINE void step(const uint8_t *codes, size_t row_bytes, const int8_t *q, size_t q_stride,
                 size_t rows, size_t tokens, __m512i acc[TILE_ROWS][TILE_TOKENS])
{
    const __m512i mask = _mm512_inserti64x4(_mm512_set1_epi8(0x03), _mm256_set1_epi8(0x0c), 1);
    __m512i lo[TILE_ROWS], hi[TILE_ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        const void *from = codes + r * row_bytes;
        __m512i c = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)from));
        lo[r] = _mm512_and_si512(c, mask);
        hi[r] = _mm512_and_si512(_mm512_srli_epi16(c, 4), mask);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m512i x0 = _mm512_loadu_si512(q + t * q_stride);
        __m512i x1 = _mm512_loadu_si512(q + t * q_stride + 64);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            add_products(&acc[r][t], lo[r], x0);
            add_products(&acc[r][t], hi[r], x1);
        }
    }
}

/* The lower eight lanes plus a quarter of the upper ones. */
INLINE __m256i fold(__m512i acc)
{
    __m256i upper = _mm512_extracti64x4_epi64(acc, 1);
    return _mm256_add_epi32(_mm512_castsi512_si256(acc), _mm256_srai_epi32(upper, 2));
}

/* The sums of the lanes of a, b, c and d. */
INLINE __m128i sum_rows(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m256i ab = _mm256_hadd_epi32(fold(a), fold(b));
    __m256i cd = _mm256_hadd_epi32(fold(c), fold(d));
    __m256i s = _mm256_hadd_epi32(ab, cd);
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

INLINE void run_shape(const struct ternary_tile *a, size_t rows, size_t tokens)
{
    __m512i acc[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < TILE_TOKENS; t++) {
            acc[r][t] = _mm512_setzero_si512();
        }
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t g = 0; g * 32 < a->row_bytes; g++) {
        UNROLL
        for (size_t i = 0; i < rows / 2; i++) {
            _mm_prefetch(ahead + g * 32 * rows + 64 * i, _MM_HINT_T0);
        }
        step(a->codes + g * 32, a->row_bytes, a->q + g * 128, a->q_stride, rows, tokens, acc);
    }
    const __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 w_scale = _mm_maskz_loadu_ps(mask, a->w_scale);
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m128i s = sum_rows(acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
        __m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(s, _mm_set1_epi32(a->x_sum[t])));
        v = _mm_mul_ps(_mm_mul_ps(v, _mm_set1_ps(a->x_scale[t])), w_scale);
        _mm_mask_storeu_ps(a->y + t * a->y_stride, mask, v);
    }
}

#define SHAPE(rows, tokens)                                                                        \
    static void run_##rows##x##tokens(const struct ternary_tile *a)                                \
    {                                                                                              \
        run_shape(a, rows, tokens);                                                                \
    }
SHAPE(4, 1)
SHAPE(4, 2)
SHAPE(4, 3)
SHAPE(4, 4)
SHAPE(4, 5)
SHAPE(4, 6)
SHAPE(1, 1)
SHAPE(1, 2)
SHAPE(1, 3)
SHAPE(1, 4)
SHAPE(1, 5)
SHAPE(1, 6)
#undef SHAPE

void ternary_matmul_avx512(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                           size_t row1, float *y, size_t y_stride)
{
    static const struct ternary_variant variant = {
        .tiles = {{.many = {.rows = 4,
                            .max_tokens = TILE_TOKENS,
                            .full = {run_4x1, run_4x2, run_4x3, run_4x4, run_4x5, run_4x6},
                            .single = {run_1x1, run_1x2, run_1x3, run_1x4, run_1x5, run_1x6}},
                   .few = {[TERNARY_T5] = FEW_SHAPES(t5),
                           [TERNARY_S3] = FEW_SHAPES(s3),
                           [TERNARY_B1] = FEW_SHAPES(b1)}},
                  {.many = GROUPS_SHAPES(t2_64), .few = {[TERNARY_B1] = GROUPS_SHAPES(b1_64)}},
                  {.many = GROUPS_SHAPES(t2_128), .few = {[TERNARY_B1] = GROUPS_SHAPES(b1_128)}}},
        .to_t2 = {[TERNARY_T5] = t5_to_t2, [TERNARY_S3] = s3_to_t2, [TERNARY_B1] = b1_to_t2},
    };
    ternary_walk(w, x, row0, row1, y, y_stride, &variant);
}
