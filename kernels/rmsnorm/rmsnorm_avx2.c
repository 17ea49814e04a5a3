/* SPDX-License-Identifier: MIT */
/* `kernels_bench rows`, Zen 5: 0.19 us for 2560 values. A kernel that quantises as well would save a
 * pass over L1, 0.1 us of some 200 us that a layer takes: not worth having. */
#include <immintrin.h>
#include <math.h>

#include "kernels/reduce_avx2.h"
#include "kernels/rmsnorm/rmsnorm.h"

static float sum_of_squares(const float *x, size_t n)
{
    __m256 p[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        for (size_t k = 0; k < 4; k++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * k);
            p[k] = _mm256_fmadd_ps(v, v, p[k]);
        }
    }
    if (i == n) {
        return reduce_add32_avx2(p);
    }
    float tail[32];
    reduce_spill_avx2(p, tail);
    for (; i < n; i++) {
        tail[i % 32] = fmaf(x[i], x[i], tail[i % 32]);
    }
    return reduce_add32(tail);
}

void rmsnorm_row_avx2(const float *x, const float *w, size_t n, float eps, float *y)
{
    float r = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    __m256 vr = _mm256_set1_ps(r);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), vr);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    for (; i < n; i++) {
        y[i] = (x[i] * r) * w[i];
    }
}
