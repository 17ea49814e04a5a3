/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>

#include "kernels/residual/residual.h"

void residual_add_neon(const float *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
    }
    for (; i < n; i++) {
        y[i] += x[i];
    }
}
