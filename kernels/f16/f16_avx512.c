/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/f16/f16.h"

void f16_encode_avx512(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i h = _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256((__m256i *)(void *)(y + i), h);
    }
    for (; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

void f16_decode_avx512(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)(x + i));
        _mm512_storeu_ps(y + i, _mm512_cvtph_ps(h));
    }
    for (; i < n; i++) {
        y[i] = f16_to_f32(x[i]);
    }
}
