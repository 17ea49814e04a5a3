/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <string.h>

#include "kernels/glu/glu.h"
#include "kernels/math/exp_neon.h"

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

static inline float32x4_t silu4(const float *gate, const float *up)
{
    float32x4_t g = vld1q_f32(gate);
    float32x4_t e = exp_neon(vnegq_f32(g));
    return vmulq_f32(vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), e)), vld1q_f32(up));
}

void glu_silu_neon(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(y + i, silu4(gate + i, up + i));
    }
    if (i < n) {
        float g[4] = {0}, u[4] = {0};
        memcpy(g, gate + i, (n - i) * sizeof *g);
        memcpy(u, up + i, (n - i) * sizeof *u);
        vst1q_f32(g, silu4(g, u));
        memcpy(y + i, g, (n - i) * sizeof *g);
    }
}
