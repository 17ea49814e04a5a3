/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>

#include "kernels/glu/glu.h"

void glu_relu2_neon(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        /* g > 0 ? g : +0, also for -0 and NaN */
        float32x4_t g = vld1q_f32(gate + i);
        g = vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(g), vreinterpretq_u32_f32(g)));
        vst1q_f32(y + i, vmulq_f32(vmulq_f32(g, g), vld1q_f32(up + i)));
    }
    for (; i < n; i++) {
        float g = gate[i] > 0.0f ? gate[i] : 0.0f;
        y[i] = (g * g) * up[i];
    }
}
