/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>
#include <math.h>

#include "kernels/rope/rope.h"

void rope_rotate_neon(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
    size_t h = head_dim / 2;
    for (size_t k = 0; k < n_heads; k++, x += head_dim) {
        size_t i = 0;
        for (; i + 4 <= h; i += 4) {
            float32x4_t x0 = vld1q_f32(x + i);
            float32x4_t x1 = vld1q_f32(x + i + h);
            float32x4_t c = vld1q_f32(cos + i);
            float32x4_t s = vld1q_f32(sin + i);
            vst1q_f32(x + i, vfmaq_f32(vnegq_f32(vmulq_f32(x1, s)), x0, c));
            vst1q_f32(x + i + h, vfmaq_f32(vmulq_f32(x0, s), x1, c));
        }
        for (; i < h; i++) {
            float x0 = x[i];
            float x1 = x[i + h];
            x[i] = fmaf(x0, cos[i], -(x1 * sin[i]));
            x[i + h] = fmaf(x1, cos[i], x0 * sin[i]);
        }
    }
}
