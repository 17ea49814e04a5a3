/* SPDX-License-Identifier: MIT */
/* The end of "partial sums by 32" (see kernels.h): p[4k..4k+3] are the lanes of p[k]. */
#ifndef HALO_KERNELS_REDUCE_NEON_H
#define HALO_KERNELS_REDUCE_NEON_H

#include <arm_neon.h>

#include "kernels/reduce.h"

static inline float reduce_add4_neon(float32x4_t a)
{
    float32x2_t v = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(v, 0) + vget_lane_f32(v, 1);
}

static inline float reduce_add32_neon(const float32x4_t p[8])
{
    float32x4_t a = vaddq_f32(vaddq_f32(p[0], p[4]), vaddq_f32(p[2], p[6]));
    float32x4_t b = vaddq_f32(vaddq_f32(p[1], p[5]), vaddq_f32(p[3], p[7]));
    return reduce_add4_neon(vaddq_f32(a, b));
}

static inline void reduce_spill_neon(const float32x4_t p[8], float out[32])
{
    for (size_t k = 0; k < 8; k++) {
        vst1q_f32(out + 4 * k, p[k]);
    }
}

/* a > b ? a : b in each lane, so a NaN in the first place never wins; vmaxq_f32 would let it. */
static inline float32x4_t reduce_larger_neon(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

#endif
