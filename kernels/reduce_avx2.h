/* SPDX-License-Identifier: MIT */
/* The end of "partial sums by 32" (see kernels.h): p[8k..8k+7] are the lanes of p[k]. */
#ifndef HALO_KERNELS_REDUCE_AVX2_H
#define HALO_KERNELS_REDUCE_AVX2_H

#include <immintrin.h>

#include "kernels/reduce.h"

static inline float reduce_add8_avx2(__m256 a)
{
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    v = _mm_add_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}

static inline float reduce_add32_avx2(const __m256 p[4])
{
    return reduce_add8_avx2(_mm256_add_ps(_mm256_add_ps(p[0], p[2]), _mm256_add_ps(p[1], p[3])));
}

static inline void reduce_spill_avx2(const __m256 p[4], float out[32])
{
    for (size_t k = 0; k < 4; k++) {
        _mm256_storeu_ps(out + 8 * k, p[k]);
    }
}

/* The largest lane, none of which is NaN. */
static inline float reduce_max8_avx2(__m256 a)
{
    __m128 v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    v = _mm_max_ss(v, _mm_movehdup_ps(v));
    return _mm_cvtss_f32(v);
}

#endif
