/* SPDX-License-Identifier: MIT */
/* Bits are cut out of bytes and multiplied by vpdpbusd, once with the high and once with the low half of
 * the activations. */
#include <immintrin.h>

#include "kernels/planes/planes.h"
#include "kernels/planes/planes_walk.h"

/* Compilers disagree on the type of the count, but for constants. */
INLINE __m512i shift_right(__m512i v, unsigned n)
{
    switch (n) {
    case 0:
        return v;
    case 1:
        return _mm512_srli_epi16(v, 1);
    case 2:
        return _mm512_srli_epi16(v, 2);
    case 3:
        return _mm512_srli_epi16(v, 3);
    case 4:
        return _mm512_srli_epi16(v, 4);
    case 5:
        return _mm512_srli_epi16(v, 5);
    case 6:
        return _mm512_srli_epi16(v, 6);
    default:
        return _mm512_srli_epi16(v, 7);
    }
}

INLINE __m256i fold(__m512i high, __m512i low)
{
    __m512i s = _mm512_add_epi32(_mm512_slli_epi32(high, 7), low);
    return _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
}

INLINE void dot(unsigned bits, unsigned groups, size_t tokens, const struct planes_tile *tile,
                const struct planes_input *x, size_t t0, size_t stride,
                int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS])
{
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    const int8_t *hi = x->hi + t0 * stride;
    const int8_t *lo = x->lo + t0 * stride;
    __m512i high[PLANES_TILE_ROWS][PLANES_TILE_TOKENS];
    __m512i low[PLANES_TILE_ROWS][PLANES_TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            high[r][t] = _mm512_setzero_si512();
            low[r][t] = _mm512_setzero_si512();
        }
    }
    for (size_t at = 0; at < stride / 8 * bits; at += 64) {
        __m512i v[PLANES_TILE_ROWS];
        UNROLL
        for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
            _mm_prefetch((const char *)tile->ahead[r] + at, _MM_HINT_T0);
            v[r] = _mm512_loadu_si512(tile->row[r] + at);
        }
        UNROLL
        for (unsigned g = 0; g < groups; g++) {
            size_t c = at * groups + 64 * (size_t)g;
            UNROLL
            for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
                __m512i u = _mm512_and_si512(shift_right(v[r], g * bits), mask);
                UNROLL
                for (size_t t = 0; t < tokens; t++) {
                    high[r][t] =
                        _mm512_dpbusd_epi32(high[r][t], u, _mm512_loadu_si512(hi + t * stride + c));
                    low[r][t] =
                        _mm512_dpbusd_epi32(low[r][t], u, _mm512_loadu_si512(lo + t * stride + c));
                }
            }
        }
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m256i ab = _mm256_hadd_epi32(fold(high[0][t], low[0][t]), fold(high[1][t], low[1][t]));
        __m256i cd = _mm256_hadd_epi32(fold(high[2][t], low[2][t]), fold(high[3][t], low[3][t]));
        __m256i s = _mm256_hadd_epi32(ab, cd);
        _mm_storeu_si128((__m128i *)(void *)out[t],
                         _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
}

PLANES_VARIANT(avx512)
