/* SPDX-License-Identifier: MIT */
/* Tiles in 256-bit registers, 4 rows by 1 token (memory speed) or 2 rows by up to 4 tokens, for AVX2
 * and, where the compiler may use it, AVX-VNNI. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_TILES_AVX2_H
#define HALO_KERNELS_TERNARY_TERNARY_TILES_AVX2_H

#include "kernels/ternary/ternary_groups_avx2.h"

enum {
    TILE_ROWS = 2,
    TILE_TOKENS = 4,
};

/* Groups of 128 columns that may be added up before the sums are widened, and the same if half of the
 * products are left out and the others are four times too large. */
enum { GROUPS = STEPS / 4, GROUPS_SCALED = STEPS / 8 };

/* The group at `codes` of each row times 128 columns of each token, added to the sums. */
INLINE void step(const uint8_t *codes, size_t row_bytes, const int8_t *q, size_t q_stride,
                 size_t rows, size_t tokens, __m256i acc[TILE_ROWS][TILE_TOKENS])
{
    const __m256i mask = _mm256_set1_epi8(0x03);
    __m256i c[TILE_ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        c[r] = load(codes + r * row_bytes);
    }
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        __m256i v[TILE_ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            v[r] = _mm256_and_si256(_mm256_srli_epi16(c[r], (int)(2 * k)), mask);
        }
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            __m256i x = load(q + t * q_stride + 32 * k);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                add_products(&acc[r][t], v[r], x);
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

INLINE void run_shape(const struct ternary_tile *a, size_t rows, size_t tokens)
{
    __m256i wide[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            wide[r][t] = _mm256_setzero_si256();
        }
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    size_t n_groups = a->row_bytes / 32;
    for (size_t g0 = 0; g0 < n_groups; g0 += GROUPS) {
        size_t g1 = n_groups - g0 < GROUPS ? n_groups : g0 + GROUPS;
        __m256i acc[TILE_ROWS][TILE_TOKENS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                acc[r][t] = _mm256_setzero_si256();
            }
        }
        for (size_t g = g0; g < g1; g++) {
            _mm_prefetch(ahead + g * 32 * rows, _MM_HINT_T0);
            step(a->codes + g * 32, a->row_bytes, a->q + g * 128, a->q_stride, rows, tokens, acc);
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                wide[r][t] = widen(wide[r][t], acc[r][t]);
            }
        }
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t s = sum8(wide[r][t]) - a->x_sum[t];
            a->y[t * a->y_stride + r] = ((float)s * a->x_scale[t]) * a->w_scale[r];
        }
    }
}

/* One group of one row for one token: columns 32..63 and 96..127 keep their codes in bits 2..3,
 * which saves a shift; their products, four times too large, have sums of their own. */
INLINE void step_row(const uint8_t *codes, const __m256i x[4], __m256i *acc, __m256i *scaled)
{
    const __m256i mask = _mm256_set1_epi8(0x03);
    const __m256i mask_scaled = _mm256_set1_epi8(0x0c);
    __m256i lo = load(codes);
    __m256i hi = _mm256_srli_epi16(lo, 4);
    add_products(acc, _mm256_and_si256(lo, mask), x[0]);
    add_products(scaled, _mm256_and_si256(lo, mask_scaled), x[1]);
    add_products(acc, _mm256_and_si256(hi, mask), x[2]);
    add_products(scaled, _mm256_and_si256(hi, mask_scaled), x[3]);
}

static void run_4x1(const struct ternary_tile *a)
{
    __m256i wide[4], wide_scaled[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        wide[r] = wide_scaled[r] = _mm256_setzero_si256();
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    size_t n_groups = a->row_bytes / 32;
    for (size_t g0 = 0; g0 < n_groups; g0 += GROUPS_SCALED) {
        size_t g1 = n_groups - g0 < GROUPS_SCALED ? n_groups : g0 + GROUPS_SCALED;
        __m256i acc[4], scaled[4];
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            acc[r] = scaled[r] = _mm256_setzero_si256();
        }
        for (size_t g = g0; g < g1; g++) {
            _mm_prefetch(ahead + g * 128, _MM_HINT_T0);
            _mm_prefetch(ahead + g * 128 + 64, _MM_HINT_T0);
            const int8_t *q = a->q + g * 128;
            const __m256i x[4] = {load(q), load(q + 32), load(q + 64), load(q + 96)};
            UNROLL
            for (size_t r = 0; r < 4; r++) {
                step_row(a->codes + r * a->row_bytes + g * 32, x, &acc[r], &scaled[r]);
            }
        }
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            wide[r] = widen(wide[r], acc[r]);
            wide_scaled[r] = widen(wide_scaled[r], scaled[r]);
        }
    }
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        wide[r] = _mm256_add_epi32(wide[r], _mm256_srai_epi32(wide_scaled[r], 2));
    }
    __m256i s8 =
        _mm256_hadd_epi32(_mm256_hadd_epi32(wide[0], wide[1]), _mm256_hadd_epi32(wide[2], wide[3]));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    __m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(s, _mm_set1_epi32(a->x_sum[0])));
    v = _mm_mul_ps(_mm_mul_ps(v, _mm_set1_ps(a->x_scale[0])), _mm_loadu_ps(a->w_scale));
    _mm_storeu_ps(a->y, v);
}

#define SHAPE(rows, tokens)                                                                        \
    static void run_##rows##x##tokens(const struct ternary_tile *a)                                \
    {                                                                                              \
        run_shape(a, rows, tokens);                                                                \
    }
SHAPE(2, 1)
SHAPE(2, 2)
SHAPE(2, 3)
SHAPE(2, 4)
SHAPE(1, 1)
SHAPE(1, 2)
SHAPE(1, 3)
SHAPE(1, 4)
#undef SHAPE

/* `few` by tiles for one token, of which a call may take several. */
#define ONE_TOKEN(most, four_rows, one_row)                                                        \
    {                                                                                              \
        .rows = 4, .max_tokens = 1, .full = {four_rows}, .single = {one_row}, .up_to = (most),     \
    }
#define GROUPS_MANY(name)                                                                          \
    {                                                                                              \
        .rows = 2, .max_tokens = GROUP_TOKENS, .full = {name##_2x1, name##_2x2},                   \
        .single = {name##_1x1, name##_1x2},                                                        \
    }

static const struct ternary_variant variant_256 = {
    .tiles = {{.many = {.rows = TILE_ROWS,
                        .max_tokens = TILE_TOKENS,
                        .full = {run_2x1, run_2x2, run_2x3, run_2x4},
                        .single = {run_1x1, run_1x2, run_1x3, run_1x4}},
               .few = {[TERNARY_T2] = ONE_TOKEN(1, run_4x1, run_1x1),
                       [TERNARY_T5] = ONE_TOKEN(IS_WIDE ? 4 : 2, one_t5_4, one_t5_1),
                       [TERNARY_S3] = ONE_TOKEN(1, one_s3_4, one_s3_1),
                       [TERNARY_B1] = ONE_TOKEN(2, one_b1_4, one_b1_1)}},
              {.many = GROUPS_MANY(t2_64),
               .few = {[TERNARY_T2] = ONE_TOKEN(1, t2_64_4x1, t2_64_1x1),
                       [TERNARY_B1] = ONE_TOKEN(2, b1_64_4x1, b1_64_1x1)}},
              {.many = GROUPS_MANY(t2_128),
               .few = {[TERNARY_T2] = ONE_TOKEN(1, t2_128_4x1, t2_128_1x1),
                       [TERNARY_B1] = ONE_TOKEN(2, b1_128_4x1, b1_128_1x1)}}},
    .to_t2 = {[TERNARY_T5] = t5_to_t2, [TERNARY_S3] = s3_to_t2, [TERNARY_B1] = b1_to_t2},
};
#undef ONE_TOKEN
#undef GROUPS_MANY

#endif
