/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>

#include "kernels/hadamard/hadamard_walk.h"

/* Lanes whose bits are set in `mask` become (partner - v), the others (partner + v). */
INLINE float32x4_t step(float32x4_t v, float32x4_t partner, uint32x4_t mask)
{
    return vbslq_f32(mask, vsubq_f32(partner, v), vaddq_f32(partner, v));
}

INLINE void within(float *x, float s)
{
    const uint32x4_t odd = {0, ~0U, 0, ~0U};
    const uint32x4_t high = {0, 0, ~0U, ~0U};
    float32x4_t v = vld1q_f32(x);
    v = step(v, vrev64q_f32(v), odd);
    v = step(v, vextq_f32(v, v, 2), high);
    vst1q_f32(x, vmulq_n_f32(v, s));
}

INLINE void across(float *x0, float *x1, float s)
{
    float32x4_t a = vld1q_f32(x0);
    float32x4_t b = vld1q_f32(x1);
    vst1q_f32(x0, vmulq_n_f32(vaddq_f32(a, b), s));
    vst1q_f32(x1, vmulq_n_f32(vsubq_f32(a, b), s));
}

void hadamard_rotate_neon(float *x, size_t n, size_t block)
{
    hadamard_walk(x, n, block, &(struct hadamard_ops){4, within, across});
}
