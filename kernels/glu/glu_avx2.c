/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/glu/glu.h"

void glu_relu2_avx2(const float *gate, const float *up, size_t n, float *y)
{
    const __m256 zero = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        /* max_ps(g, 0) is g > 0 ? g : +0, also for -0 and NaN */
        __m256 g = _mm256_max_ps(_mm256_loadu_ps(gate + i), zero);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_mul_ps(g, g), _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++) {
        float g = gate[i] > 0.0f ? gate[i] : 0.0f;
        y[i] = (g * g) * up[i];
    }
}
