/* SPDX-License-Identifier: MIT */
/* `kernels_bench rows`, Zen 5: 0.43 us for 6912 values. */
#include <immintrin.h>

#include "kernels/quantize/quantize_spans.h"
#include "kernels/reduce_avx512.h"

/* max_ps(a, b) is a > b ? a : b, so a NaN in the first place never wins. */
static float largest(const float *x, size_t n)
{
    __m512 m[2] = {_mm512_set1_ps(1e-5f), _mm512_set1_ps(1e-5f)};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        m[0] = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + i)), m[0]);
        m[1] = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + i + 16)), m[1]);
    }
    for (; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(reduce_mask16(n - i), x + i);
        m[0] = _mm512_max_ps(_mm512_abs_ps(v), m[0]);
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(m[0], m[1]));
}

static int32_t quantize_span(const float *x, size_t n, int8_t *q, float *scale)
{
    float a = largest(x, n);
    const __m512 inv = _mm512_set1_ps(127.0f / a);
    const __m512 lo = _mm512_set1_ps(-128.0f);
    const __m512 hi = _mm512_set1_ps(127.0f);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = reduce_mask16(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inv);
        v = _mm512_min_ps(_mm512_max_ps(v, lo), hi);
        __m512i k = _mm512_maskz_cvtps_epi32(mask, v);
        sum = _mm512_add_epi32(sum, k);
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(k));
    }
    *scale = a / 127.0f;
    return _mm512_reduce_add_epi32(sum);
}

void quantize_row_avx512(const float *x, const struct quantized *out, size_t token)
{
    quantize_spans(x, out, token, quantize_span);
}
