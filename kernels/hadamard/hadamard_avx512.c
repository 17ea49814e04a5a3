/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/hadamard/hadamard_walk.h"

/* Lanes in `mask` become (partner - v), the others (partner + v). */
INLINE __m512 step(__m512 v, __m512 partner, __mmask16 mask)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(partner, v), mask, partner, v);
}

INLINE void within(float *x, float s)
{
    __m512 v = _mm512_loadu_ps(x);
    v = step(v, _mm512_permute_ps(v, 0xb1), 0xaaaa);
    v = step(v, _mm512_permute_ps(v, 0x4e), 0xcccc);
    v = step(v, _mm512_shuffle_f32x4(v, v, 0xb1), 0xf0f0);
    v = step(v, _mm512_shuffle_f32x4(v, v, 0x4e), 0xff00);
    _mm512_storeu_ps(x, _mm512_mul_ps(v, _mm512_set1_ps(s)));
}

INLINE void across(float *x0, float *x1, float s)
{
    __m512 a = _mm512_loadu_ps(x0);
    __m512 b = _mm512_loadu_ps(x1);
    _mm512_storeu_ps(x0, _mm512_mul_ps(_mm512_add_ps(a, b), _mm512_set1_ps(s)));
    _mm512_storeu_ps(x1, _mm512_mul_ps(_mm512_sub_ps(a, b), _mm512_set1_ps(s)));
}

void hadamard_rotate_avx512(float *x, size_t n, size_t block)
{
    hadamard_walk(x, n, block, &(struct hadamard_ops){16, within, across});
}
