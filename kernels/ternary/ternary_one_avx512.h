/* SPDX-License-Identifier: MIT */
/* Tiles of 4 rows by 1 token that read T5, S3 and B1 as they are. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_ONE_AVX512_H
#define HALO_KERNELS_TERNARY_TERNARY_ONE_AVX512_H

#include "kernels/ternary/ternary_unpack_avx512.h"

/* acc += products of four codes and four activations, in each lane. As an intrinsic gcc 12 moves
 * accumulators to the stack and between registers in the tiles. */
INLINE void add_products(__m512i *acc, __m512i codes, __m512i q)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(codes), "v"(q));
}

/* y of one token and up to four rows from the sums of codes times activations in acc's lanes. */
INLINE void finish_one(const struct ternary_tile *a, size_t rows, const __m512i acc[4])
{
    __m256i half[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        half[r] =
            _mm256_add_epi32(_mm512_castsi512_si256(acc[r]), _mm512_extracti64x4_epi64(acc[r], 1));
    }
    __m256i s8 =
        _mm256_hadd_epi32(_mm256_hadd_epi32(half[0], half[1]), _mm256_hadd_epi32(half[2], half[3]));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    const __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(s, _mm_set1_epi32(a->x_sum[0])));
    v = _mm_mul_ps(v, _mm_set1_ps(a->x_scale[0]));
    v = _mm_mul_ps(v, _mm_maskz_loadu_ps(mask, a->w_scale));
    _mm_mask_storeu_ps(a->y, mask, v);
}

INLINE void run_one(const struct ternary_tile *a, size_t rows, enum ternary_packing packing)
{
    __m512i acc[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        acc[r] = _mm512_setzero_si512();
    }
    size_t unit_bytes = ternary_row_bytes(packing, 1);
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    const int8_t *q = a->q;
    for (size_t m = 0; m < a->row_bytes; m += unit_bytes, q += 128) {
        _mm_prefetch(ahead + m * rows, _MM_HINT_T0);
        if (rows * unit_bytes > 64) {
            _mm_prefetch(ahead + m * rows + 64, _MM_HINT_T0);
        }
        __m512i x0 = _mm512_loadu_si512(q);
        __m512i x1 = _mm512_loadu_si512(q + 64);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m512i lo, hi;
            unpack(packing, a->codes + r * a->row_bytes + m, &lo, &hi);
            add_products(&acc[r], lo, x0);
            add_products(&acc[r], hi, x1);
        }
    }
    finish_one(a, rows, acc);
}

/* T5 without taking the digits out. With f[0] the byte and f[k+1] = 3 f[k] mod 256, the digit k is
 * (3 f[k] - f[k+1]) / 256, so the sum of digits times q is (3 A - B) / 256 where A sums f[k] q[k] and B
 * sums f[k+1] q[k]. That is two additions and two products for 64 weights. A lane's sum of digits
 * times q is below 2^23 in magnitude, so 3 A - B is right in 32 bits whatever A and B lost. */
INLINE void run_t5(const struct ternary_tile *a, size_t rows)
{
    __m512i acc[4], next[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        acc[r] = next[r] = _mm512_setzero_si512();
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    const int8_t *q = a->q;
    for (size_t m = 0; m < a->row_bytes; m += 64, q += 320) {
        __m512i f[4];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm_prefetch(ahead + m * rows + 64 * r, _MM_HINT_T0);
            f[r] = _mm512_loadu_si512(a->codes + r * a->row_bytes + m);
        }
        UNROLL
        for (size_t k = 0; k < 5; k++) {
            __m512i x = _mm512_loadu_si512(q + 64 * k);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                add_products(&acc[r], f[r], x);
                f[r] = _mm512_add_epi8(f[r], _mm512_add_epi8(f[r], f[r]));
                add_products(&next[r], f[r], x);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        __m512i triple = _mm512_add_epi32(acc[r], _mm512_add_epi32(acc[r], acc[r]));
        acc[r] = _mm512_srai_epi32(_mm512_sub_epi32(triple, next[r]), 8);
    }
    finish_one(a, rows, acc);
}

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
