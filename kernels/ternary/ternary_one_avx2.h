/* SPDX-License-Identifier: MIT */
/* Tiles of 4 rows by 1 token that read T5, S3 and B1 as they are.
 *
 * Measured as in ternary_few_avx512.h, AVX2 and AVX-VNNI: GB/s of weights for 1 token, GMAC/s for 8, 32
 * and 512:
 *   T2      29  183 184 175      30  208 204 201
 *   T5      10  113 157 170      21  116 170 195
 *   S3       6  106 154 168     6.5  116 170 195
 *   B1      13  145 170 170      15  160 195 193
 *   T2/128  16   70  70  70      20   88  88  88
 *   B1/128 7.6   66  69  70       9   82  86  87 */
#ifndef HALO_KERNELS_TERNARY_TERNARY_ONE_AVX2_H
#define HALO_KERNELS_TERNARY_TERNARY_ONE_AVX2_H

#include "kernels/ternary/ternary_unpack_avx2.h"

/* The sums of the lanes of each. */
INLINE __m128i sum4(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

/* y of one token and one or four rows from sums of codes times activations. */
INLINE void finish_one(const struct ternary_tile *a, size_t rows, __m128i sums)
{
    __m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(sums, _mm_set1_epi32(a->x_sum[0])));
    v = _mm_mul_ps(v, _mm_set1_ps(a->x_scale[0]));
    if (rows == 4) {
        _mm_storeu_ps(a->y, _mm_mul_ps(v, _mm_loadu_ps(a->w_scale)));
    } else {
        _mm_store_ss(a->y, _mm_mul_ss(v, _mm_load_ss(a->w_scale)));
    }
}

INLINE void add_unit(enum ternary_packing packing, const uint8_t *unit, const int8_t *q,
                     __m256i *acc)
{
    __m256i codes[10];
    if (packing == TERNARY_T5) {
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            unpack_t5(unit + 32 * h, codes);
            UNROLL
            for (size_t k = 0; k < 5; k++) {
                add_products(acc, codes[2 * k], load(q + 64 * k + 32 * h));
            }
        }
        return;
    }
    unpack(packing, unit, codes);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        add_products(acc, codes[k], load(q + 32 * k));
    }
}

INLINE void run_one(const struct ternary_tile *a, size_t rows, enum ternary_packing packing)
{
    const size_t unit_bytes = ternary_row_bytes(packing, 1);
    const size_t unit_cols = packing == TERNARY_T5 ? 320 : 128;
    const size_t block = STEPS / (unit_cols / 32) * unit_bytes;
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    const int8_t *q = a->q;
    __m256i wide[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        wide[r] = _mm256_setzero_si256();
    }
    for (size_t m0 = 0; m0 < a->row_bytes; m0 += block) {
        size_t m1 = a->row_bytes - m0 < block ? a->row_bytes : m0 + block;
        __m256i acc[4];
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            acc[r] = _mm256_setzero_si256();
        }
        for (size_t m = m0; m < m1; m += unit_bytes, q += unit_cols) {
            UNROLL
            for (size_t i = 0; i < rows * unit_bytes; i += 64) {
                _mm_prefetch(ahead + m * rows + i, _MM_HINT_T0);
            }
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                add_unit(packing, a->codes + r * a->row_bytes + m, q, &acc[r]);
            }
        }
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            wide[r] = widen(wide[r], acc[r]);
        }
    }
    finish_one(a, rows, sum4(wide[0], wide[1], wide[2], wide[3]));
}

#if defined(__AVXVNNI__)
/* T5 without taking the digits out, as in ternary_few_avx512.h. */
INLINE void run_t5(const struct ternary_tile *a, size_t rows)
{
    __m256i acc[4], next[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        acc[r] = next[r] = _mm256_setzero_si256();
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t m = 0; m < a->row_bytes; m += 32) {
        const int8_t *q = a->q + m / 64 * 320 + m % 64;
        __m256i f[4];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            f[r] = load(a->codes + r * a->row_bytes + m);
        }
        UNROLL
        for (size_t i = 0; i < 32 * rows; i += 64) {
            _mm_prefetch(ahead + m * rows + i, _MM_HINT_T0);
        }
        UNROLL
        for (size_t k = 0; k < 5; k++) {
            __m256i x = load(q + 64 * k);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                add_products(&acc[r], f[r], x);
                f[r] = _mm256_add_epi8(f[r], _mm256_add_epi8(f[r], f[r]));
                add_products(&next[r], f[r], x);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        __m256i triple = _mm256_add_epi32(acc[r], _mm256_add_epi32(acc[r], acc[r]));
        acc[r] = _mm256_srai_epi32(_mm256_sub_epi32(triple, next[r]), 8);
    }
    finish_one(a, rows, sum4(acc[0], acc[1], acc[2], acc[3]));
}
#else
INLINE void run_t5(const struct ternary_tile *a, size_t rows)
{
    run_one(a, rows, TERNARY_T5);
}
#endif

#define ONE(name, rows, run, ...)                                                                  \
    static void name##_##rows(const struct ternary_tile *a)                                        \
    {                                                                                              \
        run(a, rows, ##__VA_ARGS__);                                                               \
    }
ONE(one_t5, 4, run_t5)
ONE(one_t5, 1, run_t5)
ONE(one_s3, 4, run_one, TERNARY_S3)
ONE(one_s3, 1, run_one, TERNARY_S3)
ONE(one_b1, 4, run_one, TERNARY_B1)
ONE(one_b1, 1, run_one, TERNARY_B1)
#undef ONE

#endif
