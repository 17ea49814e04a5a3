/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels/quantize/quantize_spans.h"
#include "kernels/reduce_neon.h"

static float largest(const float *x, size_t n)
{
    float32x4_t m = vdupq_n_f32(1e-5f);
    float32x4_t m2 = m;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        m = reduce_larger_neon(vabsq_f32(vld1q_f32(x + i)), m);
        m2 = reduce_larger_neon(vabsq_f32(vld1q_f32(x + i + 4)), m2);
    }
    float a = vmaxvq_f32(vmaxq_f32(m, m2));
    for (; i < n; i++) {
        float v = fabsf(x[i]);
        a = v > a ? v : a;
    }
    return a;
}

static inline int32x4_t round4(const float *x, float inv)
{
    const float32x4_t lowest = vdupq_n_f32(-128.0f);
    const float32x4_t highest = vdupq_n_f32(127.0f);
    float32x4_t v = reduce_larger_neon(vmulq_n_f32(vld1q_f32(x), inv), lowest);
    return vcvtnq_s32_f32(vminq_f32(v, highest));
}

/* 16 values to 16 bytes; adds them to `sum`. */
static inline int8x16_t quantize16(const float *x, float inv, int32x4_t *sum)
{
    int32x4_t a = round4(x, inv);
    int32x4_t b = round4(x + 4, inv);
    int32x4_t c = round4(x + 8, inv);
    int32x4_t d = round4(x + 12, inv);
    *sum = vaddq_s32(*sum, vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d)));
    int16x8_t lo = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
    int16x8_t hi = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
    return vcombine_s8(vmovn_s16(lo), vmovn_s16(hi));
}

static int32_t quantize_span(const float *x, size_t n, int8_t *q, float *scale)
{
    float a = largest(x, n);
    float inv = 127.0f / a;
    int32x4_t sum = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vst1q_s8(q + i, quantize16(x + i, inv, &sum));
    }
    if (i < n) {
        float tail[16] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vst1q_s8(q + i, quantize16(tail, inv, &sum));
    }
    *scale = a / 127.0f;
    return vaddvq_s32(sum);
}

void quantize_row_neon(const float *x, const struct quantized *out, size_t token)
{
    quantize_spans(x, out, token, quantize_span);
}
