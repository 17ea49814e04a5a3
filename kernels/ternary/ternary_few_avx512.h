/* SPDX-License-Identifier: MIT */
/* Tiles of 4 rows by up to 4 tokens that read T5, S3 and B1 as they are.
 *
 * Measured by `kernels_bench packings avx512` on a Zen 5 server with other load, 2560x6912: GB/s of
 * weights for 1, 2 and 4 tokens (memory: 35), GMAC/s for 8, 32 and 512 (vpdpbusd in registers: 500):
 *   T2      32  30  25     450  447  440
 *   T5      34  19  16     325  345  430
 *   S3      19  18  15     400  390  435
 *   B1      27  19  12     400  395  435
 *   T2/128  27  21  12     190  195  190    scales of groups of 128 columns; of 64: 0.7 to 0.9 of it
 *   B1/128  17  10   6     185  180  187
 * Tried and left:
 *   two and more tokens by way of T2: T5 7.6 and 6.5 GB/s for 2 and 4, 190 to 260 GMAC/s for 8
 *   digits of T5 by comparisons into mask registers: 0.75 to 0.95 of next_t5 when T2 is made
 *   tiles of 4x3 for groups: 0.93 of 4x4, although that one spills */
#ifndef HALO_KERNELS_TERNARY_TERNARY_FEW_AVX512_H
#define HALO_KERNELS_TERNARY_TERNARY_FEW_AVX512_H

#include "kernels/ternary/ternary_unpack_avx512.h"

/* acc += products of four codes and four activations, in each lane. As an intrinsic gcc 12 moves
 * accumulators to the stack and between registers in the tiles. */
INLINE void add_products(__m512i *acc, __m512i codes, __m512i q)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(codes), "v"(q));
}

enum { FEW_TOKENS = 4 };

/* y of token t and up to four rows from the sums of codes times activations in acc's lanes. */
INLINE void finish(const struct ternary_tile *a, size_t rows, size_t t, __m512i acc[4][FEW_TOKENS])
{
    __m256i half[4];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        half[r] = _mm256_add_epi32(_mm512_castsi512_si256(acc[r][t]),
                                   _mm512_extracti64x4_epi64(acc[r][t], 1));
    }
    __m256i s8 =
        _mm256_hadd_epi32(_mm256_hadd_epi32(half[0], half[1]), _mm256_hadd_epi32(half[2], half[3]));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    const __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 v = _mm_cvtepi32_ps(_mm_sub_epi32(s, _mm_set1_epi32(a->x_sum[t])));
    v = _mm_mul_ps(v, _mm_set1_ps(a->x_scale[t]));
    v = _mm_mul_ps(v, _mm_maskz_loadu_ps(mask, a->w_scale));
    _mm_mask_storeu_ps(a->y + t * a->y_stride, mask, v);
}

/* One vector of codes of each row times 64 columns of each token. */
INLINE void add_column(const __m512i *codes, const int8_t *q, size_t q_stride, size_t rows,
                       size_t tokens, __m512i acc[4][FEW_TOKENS])
{
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m512i x = _mm512_loadu_si512(q + t * q_stride);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            add_products(&acc[r][t], codes[r], x);
        }
    }
}

INLINE void add_unit(const uint8_t *unit, size_t row_bytes, const int8_t *q, size_t q_stride,
                     size_t rows, size_t tokens, enum ternary_packing packing,
                     __m512i acc[4][FEW_TOKENS])
{
    __m512i a[4], b[4];
    if (packing == TERNARY_T5) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            a[r] = _mm512_loadu_si512(unit + r * row_bytes);
        }
        UNROLL
        for (size_t k = 0; k < 5; k++) {
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                b[r] = next_t5(&a[r]);
            }
            add_column(b, q + 64 * k, q_stride, rows, tokens, acc);
        }
    } else {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            unpack(packing, unit + r * row_bytes, &a[r], &b[r]);
        }
        add_column(a, q, q_stride, rows, tokens, acc);
        add_column(b, q + 64, q_stride, rows, tokens, acc);
    }
}

INLINE void run_few(const struct ternary_tile *a, size_t rows, size_t tokens,
                    enum ternary_packing packing)
{
    __m512i acc[4][FEW_TOKENS];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = _mm512_setzero_si512();
        }
    }
    const size_t unit_bytes = ternary_row_bytes(packing, 1);
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    const int8_t *q = a->q;
    for (size_t m = 0; m < a->row_bytes; m += unit_bytes) {
        UNROLL
        for (size_t i = 0; i < rows * unit_bytes; i += 64) {
            _mm_prefetch(ahead + m * rows + i, _MM_HINT_T0);
        }
        add_unit(a->codes + m, a->row_bytes, q, a->q_stride, rows, tokens, packing, acc);
        q += packing == TERNARY_T5 ? 320 : 128;
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        finish(a, rows, t, acc);
    }
}

/* T5 without taking the digits out, for one token. With f[0] the byte and f[k+1] = 3 f[k] mod 256, the digit k is
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
    __m512i sums[4][FEW_TOKENS];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        __m512i triple = _mm512_add_epi32(acc[r], _mm512_add_epi32(acc[r], acc[r]));
        sums[r][0] = _mm512_srai_epi32(_mm512_sub_epi32(triple, next[r]), 8);
    }
    finish(a, rows, 0, sums);
}

static void t5_4x1(const struct ternary_tile *a)
{
    run_t5(a, 4);
}

static void t5_1x1(const struct ternary_tile *a)
{
    run_t5(a, 1);
}

#define FEW(name, tokens, packing)                                                                 \
    static void name##_4x##tokens(const struct ternary_tile *a)                                    \
    {                                                                                              \
        run_few(a, 4, tokens, packing);                                                            \
    }                                                                                              \
    static void name##_1x##tokens(const struct ternary_tile *a)                                    \
    {                                                                                              \
        run_few(a, 1, tokens, packing);                                                            \
    }
FEW(t5, 2, TERNARY_T5)
FEW(t5, 3, TERNARY_T5)
FEW(t5, 4, TERNARY_T5)
FEW(s3, 1, TERNARY_S3)
FEW(s3, 2, TERNARY_S3)
FEW(s3, 3, TERNARY_S3)
FEW(s3, 4, TERNARY_S3)
FEW(b1, 1, TERNARY_B1)
FEW(b1, 2, TERNARY_B1)
FEW(b1, 3, TERNARY_B1)
FEW(b1, 4, TERNARY_B1)
#undef FEW

/* `few` of weights with scales of rows. */
#define FEW_SHAPES(name)                                                                           \
    {                                                                                              \
        .rows = 4, .max_tokens = FEW_TOKENS,                                                       \
        .full = {name##_4x1, name##_4x2, name##_4x3, name##_4x4},                                  \
        .single = {name##_1x1, name##_1x2, name##_1x3, name##_1x4}, .up_to = 4 * FEW_TOKENS,       \
    }

#endif
