/* SPDX-License-Identifier: MIT */
/* math_exp for four floats: the steps of math.h, one instruction each. */
#ifndef HALO_KERNELS_MATH_EXP_NEON_H
#define HALO_KERNELS_MATH_EXP_NEON_H

#include <arm_neon.h>
#include <math.h>

#include "kernels/math/math.h"

static inline float32x4_t exp_neon(float32x4_t x)
{
    const float32x4_t magic = vdupq_n_f32(MATH_EXP_MAGIC);
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t t = vfmaq_f32(magic, x, vdupq_n_f32(MATH_EXP_LOG2E));
    float32x4_t n = vsubq_f32(t, magic);
    float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-MATH_EXP_LN2_HI));
    r = vfmaq_f32(r, n, vdupq_n_f32(-MATH_EXP_LN2_LO));
    float32x4_t p = vdupq_n_f32(MATH_EXP_C4);
    p = vfmaq_f32(vdupq_n_f32(MATH_EXP_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(MATH_EXP_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(MATH_EXP_C1), p, r);
    p = vfmaq_f32(vdupq_n_f32(MATH_EXP_C0), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    uint32x4_t bits =
        vaddq_u32(vreinterpretq_u32_f32(p), vshlq_n_u32(vreinterpretq_u32_f32(t), 23));
    bits = vbicq_u32(bits, vcltq_f32(x, vdupq_n_f32(MATH_EXP_MIN)));
    float32x4_t y = vreinterpretq_f32_u32(bits);
    y = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(MATH_EXP_MAX)), vdupq_n_f32(INFINITY), y);
    return vbslq_f32(vceqq_f32(x, x), y, x);
}

#endif
