/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <string.h>

#include "kernels/glu/glu.h"
#include "kernels/math/exp_avx2.h"

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

static inline __m256 silu8(const float *gate, const float *up)
{
    __m256 g = _mm256_loadu_ps(gate);
    __m256 e = exp_avx2(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
    __m256 s = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
    return _mm256_mul_ps(s, _mm256_loadu_ps(up));
}

void glu_silu_avx2(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, silu8(gate + i, up + i));
    }
    if (i < n) {
        float g[8] = {0}, u[8] = {0};
        memcpy(g, gate + i, (n - i) * sizeof *g);
        memcpy(u, up + i, (n - i) * sizeof *u);
        _mm256_storeu_ps(g, silu8(g, u));
        memcpy(y + i, g, (n - i) * sizeof *g);
    }
}
