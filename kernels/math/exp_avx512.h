/* SPDX-License-Identifier: MIT */
/* math_exp for sixteen floats: the steps of math.h, one instruction each. */
#ifndef HALO_KERNELS_MATH_EXP_AVX512_H
#define HALO_KERNELS_MATH_EXP_AVX512_H

#include <immintrin.h>
#include <math.h>

#include "kernels/math/math.h"

static inline __m512 exp_avx512(__m512 x)
{
    const __m512 magic = _mm512_set1_ps(MATH_EXP_MAGIC);
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps(MATH_EXP_LOG2E), magic);
    __m512 n = _mm512_sub_ps(t, magic);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-MATH_EXP_LN2_HI), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-MATH_EXP_LN2_LO), r);
    __m512 p = _mm512_set1_ps(MATH_EXP_C4);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(MATH_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(MATH_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(MATH_EXP_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(MATH_EXP_C0));
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_fmadd_ps(p, r, one);
    __m512i bits =
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(t), 23));
    __mmask16 is_kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(MATH_EXP_MIN), _CMP_NLT_UQ);
    __mmask16 is_large = _mm512_cmp_ps_mask(x, _mm512_set1_ps(MATH_EXP_MAX), _CMP_GT_OQ);
    __m512 y = _mm512_maskz_mov_ps(is_kept, _mm512_castsi512_ps(bits));
    y = _mm512_mask_mov_ps(y, is_large, _mm512_set1_ps(INFINITY));
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

#endif
