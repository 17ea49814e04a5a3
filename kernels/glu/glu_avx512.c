/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/glu/glu.h"
#include "kernels/math/exp_avx512.h"
#include "kernels/reduce_avx512.h"

void glu_relu2_avx512(const float *gate, const float *up, size_t n, float *y)
{
    const __m512 zero = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = reduce_mask16(n - i);
        /* max_ps(g, 0) is g > 0 ? g : +0, also for -0 and NaN */
        __m512 g = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, gate + i), zero);
        __m512 u = _mm512_maskz_loadu_ps(mask, up + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(_mm512_mul_ps(g, g), u));
    }
}

void glu_silu_avx512(const float *gate, const float *up, size_t n, float *y)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = reduce_mask16(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        __m512 e = exp_avx512(_mm512_xor_ps(g, _mm512_set1_ps(-0.0f)));
        __m512 s = _mm512_div_ps(g, _mm512_add_ps(one, e));
        __m512 u = _mm512_maskz_loadu_ps(mask, up + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(s, u));
    }
}
