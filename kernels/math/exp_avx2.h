/* SPDX-License-Identifier: MIT */
/* math_exp for eight floats: the steps of math.h, one instruction each. */
#ifndef HALO_KERNELS_MATH_EXP_AVX2_H
#define HALO_KERNELS_MATH_EXP_AVX2_H

#include <immintrin.h>
#include <math.h>

#include "kernels/math/math.h"

static inline __m256 exp_avx2(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(MATH_EXP_MAGIC);
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(MATH_EXP_LOG2E), magic);
    __m256 n = _mm256_sub_ps(t, magic);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-MATH_EXP_LN2_HI), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-MATH_EXP_LN2_LO), r);
    __m256 p = _mm256_set1_ps(MATH_EXP_C4);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(MATH_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(MATH_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(MATH_EXP_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(MATH_EXP_C0));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    __m256i bits =
        _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23));
    __m256 y = _mm256_castsi256_ps(bits);
    __m256 is_small = _mm256_cmp_ps(x, _mm256_set1_ps(MATH_EXP_MIN), _CMP_LT_OQ);
    __m256 is_large = _mm256_cmp_ps(x, _mm256_set1_ps(MATH_EXP_MAX), _CMP_GT_OQ);
    y = _mm256_andnot_ps(is_small, y);
    y = _mm256_blendv_ps(y, _mm256_set1_ps(INFINITY), is_large);
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

#endif
