/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>

#include "kernels/glu/glu.h"

void glu_relu2_neon(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i);
        uint32x4_t square = vreinterpretq_u32_f32(vmulq_f32(g, g));
        float32x4_t s = vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(g), square));
        vst1q_f32(y + i, vmulq_f32(s, vld1q_f32(up + i)));
    }
    for (; i < n; i++) {
        float s = gate[i] > 0.0f ? gate[i] * gate[i] : 0.0f;
        y[i] = s * up[i];
    }
}
