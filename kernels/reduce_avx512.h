/* SPDX-License-Identifier: MIT */
/* The end of "partial sums by 32" (see kernels.h): p[0..15] are the lanes of a, p[16..31] of b. */
#ifndef HALO_KERNELS_REDUCE_AVX512_H
#define HALO_KERNELS_REDUCE_AVX512_H

#include <immintrin.h>

static inline float reduce_add16_avx512(__m512 c)
{
    __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    v = _mm_add_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}

static inline float reduce_add32_avx512(__m512 a, __m512 b)
{
    return reduce_add16_avx512(_mm512_add_ps(a, b));
}

/* A mask of the first n lanes of sixteen; all of them if n >= 16. */
static inline __mmask16 reduce_mask16(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

#endif
