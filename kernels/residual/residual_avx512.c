/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/reduce_avx512.h"
#include "kernels/residual/residual.h"

void residual_add_avx512(const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = reduce_mask16(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, y + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, x + i)));
    }
}
