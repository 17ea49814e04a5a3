/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/residual/residual.h"

void residual_add_avx2(const float *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    }
    for (; i < n; i++) {
        y[i] += x[i];
    }
}
