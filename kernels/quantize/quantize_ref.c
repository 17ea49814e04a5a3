/* SPDX-License-Identifier: MIT */
#include "kernels/quantize/quantize.h"

#include <math.h>

/* Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to an integer, half to even. */
#define MAGIC 0x1.8p+23f

void quantize_row_ref(const float *x, const struct quantized *out, size_t token)
{
    size_t n = out->n_cols;
    int8_t *q = out->q + token * out->stride;
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
    for (size_t i = n; i < quantize_stride(n); i++) {
        q[i] = 0;
    }
    out->scale[token] = a / 127.0f;
    out->sum[token] = sum;
}
