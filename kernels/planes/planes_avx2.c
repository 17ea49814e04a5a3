/* SPDX-License-Identifier: MIT */
/* Bits are cut out of bytes and multiplied by vpmaddubsw. A pair of products is at most 2 * 15 * 128, and
 * at most two such pairs (8 of 2 * 128) are added up in 16 bits. */
#include <immintrin.h>

#include "kernels/planes/planes.h"
#include "kernels/planes/planes_walk.h"

INLINE __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

/* One row and one token: the products of 32 bytes of the plane, in 32-bit lanes: 128 high + low. */
INLINE __m256i half_dot(unsigned bits, unsigned groups, __m256i v, const int8_t *hi,
                        const int8_t *lo)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    __m256i high = _mm256_setzero_si256();
    __m256i low = _mm256_setzero_si256();
    UNROLL
    for (unsigned g = 0; g < groups; g++) {
        __m256i u = _mm256_and_si256(_mm256_srli_epi16(v, (int)(g * bits)), mask);
        high = _mm256_add_epi16(high, _mm256_maddubs_epi16(u, load(hi + 64 * (size_t)g)));
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(u, load(lo + 64 * (size_t)g)));
    }
    return _mm256_add_epi32(_mm256_madd_epi16(high, _mm256_set1_epi16(128)),
                            _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
}

INLINE void dot(unsigned bits, unsigned groups, size_t tokens, const struct planes_tile *tile,
                const struct planes_input *x, size_t t0, size_t stride,
                int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS])
{
    const int8_t *hi = x->hi + t0 * stride;
    const int8_t *lo = x->lo + t0 * stride;
    __m256i acc[PLANES_TILE_ROWS][PLANES_TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = _mm256_setzero_si256();
        }
    }
    for (size_t at = 0; at < stride / 8 * bits; at += 32) {
        size_t c = at / 64 * 64 * groups + at % 64;
        UNROLL
        for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
            _mm_prefetch((const char *)tile->ahead[r] + at, _MM_HINT_T0);
            __m256i v = load(tile->row[r] + at);
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                acc[r][t] = _mm256_add_epi32(
                    acc[r][t], half_dot(bits, groups, v, hi + t * stride + c, lo + t * stride + c));
            }
        }
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        __m256i ab = _mm256_hadd_epi32(acc[0][t], acc[1][t]);
        __m256i cd = _mm256_hadd_epi32(acc[2][t], acc[3][t]);
        __m256i s = _mm256_hadd_epi32(ab, cd);
        _mm_storeu_si128((__m128i *)(void *)out[t],
                         _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
}

PLANES_VARIANT(avx2)
