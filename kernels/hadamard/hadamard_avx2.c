/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/hadamard/hadamard_walk.h"

/* Lanes in MASK take (partner - v), the others (partner + v). */
#define STEP(v, partner, MASK)                                                                     \
    _mm256_blend_ps(_mm256_add_ps(partner, v), _mm256_sub_ps(partner, v), MASK)

INLINE void within(float *x, float s)
{
    __m256 v = _mm256_loadu_ps(x);
    v = STEP(v, _mm256_permute_ps(v, 0xb1), 0xaa);
    v = STEP(v, _mm256_permute_ps(v, 0x4e), 0xcc);
    v = STEP(v, _mm256_permute2f128_ps(v, v, 1), 0xf0);
    _mm256_storeu_ps(x, _mm256_mul_ps(v, _mm256_set1_ps(s)));
}

INLINE void across(float *x0, float *x1, float s)
{
    __m256 a = _mm256_loadu_ps(x0);
    __m256 b = _mm256_loadu_ps(x1);
    _mm256_storeu_ps(x0, _mm256_mul_ps(_mm256_add_ps(a, b), _mm256_set1_ps(s)));
    _mm256_storeu_ps(x1, _mm256_mul_ps(_mm256_sub_ps(a, b), _mm256_set1_ps(s)));
}

void hadamard_rotate_avx2(float *x, size_t n, size_t block)
{
    hadamard_walk(x, n, block, &(struct hadamard_ops){8, within, across});
}
