/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <math.h>

#include "kernels/reduce_neon.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/unroll.h"

static float sum_of_squares(const float *x, size_t n)
{
    float32x4_t p[8];
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        p[k] = vdupq_n_f32(0.0f);
    }
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        UNROLL
        for (size_t k = 0; k < 8; k++) {
            float32x4_t v = vld1q_f32(x + i + 4 * k);
            p[k] = vfmaq_f32(p[k], v, v);
        }
    }
    if (i == n) {
        return reduce_add32_neon(p);
    }
    float tail[32];
    reduce_spill_neon(p, tail);
    for (; i < n; i++) {
        tail[i % 32] = fmaf(x[i], x[i], tail[i % 32]);
    }
    return reduce_add32(tail);
}

void rmsnorm_row_neon(const float *x, const float *w, size_t n, float eps, float *y)
{
    float r = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), r);
        vst1q_f32(y + i, vmulq_f32(v, vld1q_f32(w + i)));
    }
    for (; i < n; i++) {
        y[i] = (x[i] * r) * w[i];
    }
}
