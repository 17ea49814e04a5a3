/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/reduce_avx512.h"
#include "kernels/rope/rope.h"

void rope_rotate_avx512(float *x, size_t n_heads, size_t head_dim, const float *cos,
                        const float *sin)
{
    size_t h = head_dim / 2;
    for (size_t i = 0; i < h; i += 16) {
        __mmask16 mask = reduce_mask16(h - i);
        __m512 c = _mm512_maskz_loadu_ps(mask, cos + i);
        __m512 s = _mm512_maskz_loadu_ps(mask, sin + i);
        for (size_t k = 0; k < n_heads; k++) {
            float *p0 = x + k * head_dim + i;
            float *p1 = p0 + h;
            __m512 x0 = _mm512_maskz_loadu_ps(mask, p0);
            __m512 x1 = _mm512_maskz_loadu_ps(mask, p1);
            _mm512_mask_storeu_ps(p0, mask, _mm512_fmsub_ps(x0, c, _mm512_mul_ps(x1, s)));
            _mm512_mask_storeu_ps(p1, mask, _mm512_fmadd_ps(x1, c, _mm512_mul_ps(x0, s)));
        }
    }
}
