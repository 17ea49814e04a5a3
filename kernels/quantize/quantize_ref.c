/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "kernels/quantize/quantize_spans.h"

/* Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to an integer, half to even. */
#define MAGIC 0x1.8p+23f

static int32_t quantize_span(const float *x, size_t n, int8_t *q, float *scale)
{
    float a = 1e-5f;
    for (size_t i = 0; i < n; i++) {
        float v = fabsf(x[i]);
        a = v > a ? v : a;
    }
    float inv = 127.0f / a;
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * inv;
        v = v > -128.0f ? v : -128.0f;
        v = v < 127.0f ? v : 127.0f;
        int32_t k = (int32_t)((v + MAGIC) - MAGIC);
        q[i] = (int8_t)k;
        sum += k;
    }
    *scale = a / 127.0f;
    return sum;
}

void quantize_row_ref(const float *x, const struct quantized *out, size_t token)
{
    quantize_spans(x, out, token, quantize_span);
}
