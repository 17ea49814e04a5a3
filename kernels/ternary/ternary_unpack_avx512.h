/* SPDX-License-Identifier: MIT */
/* Packed rows to codes t + 1, a byte each, and to T2. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_UNPACK_AVX512_H
#define HALO_KERNELS_TERNARY_TERNARY_UNPACK_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/ternary/ternary_s3.h"
#include "kernels/ternary/ternary_walk.h"
#include "kernels/unroll.h"

/* Four dwords, one for each quarter of a register. */
INLINE __m512i quarters(int a, int b, int c, int d)
{
    return _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
}

/* 32 groups of four columns: an entry of the table for each, reflected where the sign bit is set. */
INLINE void unpack_s3(const uint8_t *unit, __m512i *lo, __m512i *hi)
{
    const __m512i entries = _mm512_loadu_si512(ternary_s3_table);
    const __m512i twos = _mm512_set1_epi32(0x02020202);
    uint32_t signs;
    memcpy(&signs, unit + 16, sizeof signs);
    __m512i i = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)unit));
    __m512i a = _mm512_permutexvar_epi32(i, entries); /* looks at bits 0..3 alone */
    __m512i b = _mm512_permutexvar_epi32(_mm512_srli_epi32(i, 4), entries);
    *lo = _mm512_mask_sub_epi32(a, (__mmask16)signs, twos, a);
    *hi = _mm512_mask_sub_epi32(b, (__mmask16)(signs >> 16), twos, b);
}

/* The unit of 128 columns at `unit`: columns 0..63 and 64..127. Not for T5. */
INLINE void unpack(enum ternary_packing packing, const uint8_t *unit, __m512i *lo, __m512i *hi)
{
    const void *from = unit;
    if (packing == TERNARY_S3) {
        unpack_s3(unit, lo, hi);
    } else if (packing == TERNARY_B1) { /* bit j of a quarter to bit 1, which makes 0 or 2 of it */
        const __m512i mask = _mm512_set1_epi8(2);
        __m512i c = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)from));
        *lo = _mm512_and_si512(_mm512_rolv_epi32(c, quarters(1, 0, 31, 30)), mask);
        *hi = _mm512_and_si512(_mm512_rolv_epi32(c, quarters(29, 28, 27, 26)), mask);
    } else {
        const __m512i mask = _mm512_set1_epi8(3);
        __m512i c = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)from));
        *lo = _mm512_and_si512(_mm512_srlv_epi32(c, quarters(0, 0, 2, 2)), mask);
        *hi = _mm512_and_si512(_mm512_srlv_epi32(c, quarters(4, 4, 6, 6)), mask);
    }
}

/* The reverse, to T2. */
INLINE void store_t2(__m512i lo, __m512i hi, uint8_t *t2)
{
    __m512i a = _mm512_or_si512(lo, _mm512_slli_epi32(hi, 4));
    __m256i upper = _mm256_slli_epi32(_mm512_extracti64x4_epi64(a, 1), 2);
    void *to = t2;
    _mm256_storeu_si256((__m256i *)to, _mm256_or_si256(_mm512_castsi512_si256(a), upper));
}

INLINE void convert(enum ternary_packing packing, const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    size_t unit_bytes = ternary_row_bytes(packing, 1);
    for (size_t c = 0; c < n_cols; c += 128, row += unit_bytes, t2 += 32) {
        __m512i lo, hi;
        unpack(packing, row, &lo, &hi);
        store_t2(lo, hi, t2);
    }
}

static void s3_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    convert(TERNARY_S3, row, n_cols, t2);
}

static void b1_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    convert(TERNARY_B1, row, n_cols, t2);
}

/* The next code of each byte f: 3f >> 8 = (f - ceil(f / 4)) >> 6. What is left of f is 3f & 255. */
INLINE __m512i next_t5(__m512i *f)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i quarter = _mm512_avg_epu8(_mm512_avg_epu8(*f, zero), zero);
    __m512i code = _mm512_srli_epi16(_mm512_sub_epi8(*f, quarter), 6);
    *f = _mm512_add_epi8(*f, _mm512_add_epi8(*f, *f));
    return _mm512_and_si512(code, _mm512_set1_epi8(3));
}

INLINE void unpack_t5(const uint8_t *unit, __m512i codes[5])
{
    __m512i f = _mm512_loadu_si512(unit);
    UNROLL
    for (size_t k = 0; k < 5; k++) {
        codes[k] = next_t5(&f);
    }
}

/* Two units of T5 have the columns of five of T2. */
static void t5_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    for (size_t c = 0; c < n_cols; c += 640, row += 128, t2 += 160) {
        __m512i v[10];
        unpack_t5(row, v);
        UNROLL
        for (size_t k = 5; k < 10; k++) {
            v[k] = _mm512_setzero_si512();
        }
        if (n_cols - c > 320) {
            unpack_t5(row + 64, v + 5);
        }
        UNROLL
        for (size_t k = 0; k < 5; k++) {
            if (c + 128 * k < n_cols) {
                store_t2(v[2 * k], v[2 * k + 1], t2 + 32 * k);
            }
        }
    }
}

#endif
