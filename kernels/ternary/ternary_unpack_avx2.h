/* SPDX-License-Identifier: MIT */
/* Packed rows to codes t + 1, a byte each, and to T2; the sums of codes times activations. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_UNPACK_AVX2_H
#define HALO_KERNELS_TERNARY_TERNARY_UNPACK_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/ternary/ternary_s3.h"
#include "kernels/ternary/ternary_walk.h"
#include "kernels/unroll.h"

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE void store(uint8_t *p, __m256i v)
{
    void *to = p;
    _mm256_storeu_si256((__m256i *)to, v);
}

/* add_products: acc += products of bytes of codes and q, the last step in assembly because gcc 12
 * reorders a sum of intrinsics and then runs out of registers.
 * widen: wide plus acc as eight sums of 32 bits.
 * STEPS: how many times products of codes up to 3 may be added up before acc must be widened.
 * IS_WIDE: whether acc has lanes of 32 bits from the start, not of 16. */
#if defined(__AVXVNNI__)

/* vpdpbusd adds four products to a 32-bit lane; a row of 2^20 columns cannot overflow it. */
enum { STEPS = 1 << 20, IS_WIDE = 1 };

INLINE void add_products(__m256i *acc, __m256i codes, __m256i q)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*acc) : "x"(codes), "x"(q));
}

INLINE __m256i widen(__m256i wide, __m256i acc)
{
    return _mm256_add_epi32(wide, acc);
}

#else

/* vpmaddubsw adds two products of magnitude at most 3 * 128 into a 16-bit lane: 42 * 768 < 2^15. */
enum { STEPS = 42, IS_WIDE = 0 };

INLINE void add_products(__m256i *acc, __m256i codes, __m256i q)
{
    __asm__("vpaddw %1, %0, %0" : "+x"(*acc) : "x"(_mm256_maddubs_epi16(codes, q)));
}

INLINE __m256i widen(__m256i wide, __m256i acc)
{
    return _mm256_add_epi32(wide, _mm256_madd_epi16(acc, _mm256_set1_epi16(1)));
}

#endif

/* A unit of B1 as one of T2: the columns 32k + m, m < 16, are the even bits of byte m, which move to
 * the odd ones of the lower half; those of m >= 16 are the odd bits of byte m - 16. */
INLINE __m256i b1_as_t2(const uint8_t *unit)
{
    const void *from = unit;
    __m256i c = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
    c = _mm256_sllv_epi32(c, _mm256_setr_epi32(1, 1, 1, 1, 0, 0, 0, 0));
    return _mm256_and_si256(c, _mm256_set1_epi8((char)0xaa));
}

/* 32 groups of four columns: an entry of the table for each, reflected where the sign bit is set. */
INLINE void unpack_s3(const uint8_t *unit, __m256i codes[4])
{
    const __m256i twos = _mm256_set1_epi32(0x02020202);
    uint32_t signs;
    memcpy(&signs, unit + 16, sizeof signs);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        uint64_t nibbles;
        memcpy(&nibbles, unit + 8 * (k % 2), sizeof nibbles);
        __m256i i = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)(nibbles >> 4 * (k / 2))));
        __m256 a = _mm256_castsi256_ps(
            _mm256_permutevar8x32_epi32(load(ternary_s3_table), i)); /* bits 0..2 */
        __m256 b = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(load(ternary_s3_table + 8), i));
        __m256 c = _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
        __m256i sign = _mm256_sllv_epi32(_mm256_set1_epi32((int32_t)(signs >> 8 * k)),
                                         _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
        __m256 reflected = _mm256_castsi256_ps(_mm256_sub_epi32(twos, _mm256_castps_si256(c)));
        codes[k] = _mm256_castps_si256(_mm256_blendv_ps(c, reflected, _mm256_castsi256_ps(sign)));
    }
}

/* The unit of 128 columns at `unit`: columns 32k..32k+31 in codes[k]. Not for T5. */
INLINE void unpack(enum ternary_packing packing, const uint8_t *unit, __m256i codes[4])
{
    if (packing == TERNARY_S3) {
        unpack_s3(unit, codes);
        return;
    }
    __m256i c = packing == TERNARY_B1 ? b1_as_t2(unit) : load(unit);
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        codes[k] = _mm256_and_si256(_mm256_srli_epi16(c, (int)(2 * k)), _mm256_set1_epi8(3));
    }
}

/* The reverse, to T2. */
INLINE void store_t2(const __m256i codes[4], uint8_t *t2)
{
    __m256i a = _mm256_or_si256(codes[0], _mm256_slli_epi32(codes[1], 2));
    __m256i b = _mm256_or_si256(codes[2], _mm256_slli_epi32(codes[3], 2));
    store(t2, _mm256_or_si256(a, _mm256_slli_epi32(b, 4)));
}

/* The five codes of each of 32 bytes f, in c[0], c[2] .. c[8]: 3f >> 8, which is 2 less how many of 86 and
 * 171 are above f, then the same with 3f & 255. Bytes compare as signed, so all are less 128. */
INLINE void unpack_t5(const uint8_t *bytes, __m256i *c)
{
    const __m256i two = _mm256_set1_epi8(2);
    __m256i f = _mm256_xor_si256(load(bytes), _mm256_set1_epi8((char)0x80));
    UNROLL
    for (size_t k = 0; k < 5; k++) {
        __m256i is_0 = _mm256_cmpgt_epi8(_mm256_set1_epi8(86 - 128), f);
        __m256i is_not_2 = _mm256_cmpgt_epi8(_mm256_set1_epi8(171 - 128), f);
        c[2 * k] = _mm256_add_epi8(_mm256_add_epi8(two, is_0), is_not_2);
        f = _mm256_add_epi8(f, _mm256_add_epi8(f, f));
    }
}

static void s3_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    for (size_t c = 0; c < n_cols; c += 128, row += 20, t2 += 32) {
        __m256i codes[4];
        unpack_s3(row, codes);
        store_t2(codes, t2);
    }
}

static void b1_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    for (size_t c = 0; c < n_cols; c += 128, row += 16, t2 += 32) {
        store(t2, b1_as_t2(row));
    }
}

/* Two units of T5 have the columns of five of T2. */
static void t5_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    for (size_t c = 0; c < n_cols; c += 640, row += 128, t2 += 160) {
        __m256i codes[20];
        unpack_t5(row, codes);
        unpack_t5(row + 32, codes + 1);
        if (n_cols - c > 320) {
            unpack_t5(row + 64, codes + 10);
            unpack_t5(row + 96, codes + 11);
        } else {
            memset(codes + 10, 0, sizeof *codes * 10);
        }
        for (size_t k = 0; k < 5 && c + 128 * k < n_cols; k++) {
            store_t2(codes + 4 * k, t2 + 32 * k);
        }
    }
}

#endif
