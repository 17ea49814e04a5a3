/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <math.h>

#include "kernels/rope/rope.h"

void rope_rotate_avx2(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
    size_t h = head_dim / 2;
    for (size_t k = 0; k < n_heads; k++, x += head_dim) {
        size_t i = 0;
        for (; i + 8 <= h; i += 8) {
            __m256 x0 = _mm256_loadu_ps(x + i);
            __m256 x1 = _mm256_loadu_ps(x + i + h);
            __m256 c = _mm256_loadu_ps(cos + i);
            __m256 s = _mm256_loadu_ps(sin + i);
            _mm256_storeu_ps(x + i, _mm256_fmsub_ps(x0, c, _mm256_mul_ps(x1, s)));
            _mm256_storeu_ps(x + i + h, _mm256_fmadd_ps(x1, c, _mm256_mul_ps(x0, s)));
        }
        for (; i < h; i++) {
            float x0 = x[i];
            float x1 = x[i + h];
            x[i] = fmaf(x0, cos[i], -(x1 * sin[i]));
            x[i + h] = fmaf(x1, cos[i], x0 * sin[i]);
        }
    }
}
