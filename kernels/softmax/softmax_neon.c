/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <math.h>

#include "kernels/math/exp_neon.h"
#include "kernels/reduce_neon.h"
#include "kernels/softmax/softmax.h"
#include "kernels/unroll.h"

float softmax_max_neon(const float *x, size_t n)
{
    float32x4_t m[4];
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        m[k] = vdupq_n_f32(-INFINITY);
    }
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        UNROLL
        for (size_t k = 0; k < 4; k++) {
            m[k] = reduce_larger_neon(vld1q_f32(x + i + 4 * k), m[k]);
        }
    }
    float max = vmaxvq_f32(vmaxq_f32(vmaxq_f32(m[0], m[1]), vmaxq_f32(m[2], m[3])));
    for (; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    return max;
}

float softmax_exp_neon(const float *x, size_t n, float max, float scale, float *y)
{
    const float32x4_t vmax = vdupq_n_f32(max);
    float32x4_t p[8];
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        p[k] = vdupq_n_f32(0.0f);
    }
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        UNROLL
        for (size_t k = 0; k < 8; k++) {
            float32x4_t v = vsubq_f32(vld1q_f32(x + i + 4 * k), vmax);
            v = exp_neon(vmulq_n_f32(v, scale));
            vst1q_f32(y + i + 4 * k, v);
            p[k] = vaddq_f32(p[k], v);
        }
    }
    if (i == n) {
        return reduce_add32_neon(p);
    }
    float tail[32];
    reduce_spill_neon(p, tail);
    for (; i < n; i++) {
        y[i] = math_exp((x[i] - max) * scale);
        tail[i % 32] += y[i];
    }
    return reduce_add32(tail);
}
