/* SPDX-License-Identifier: MIT */
#include <arm_neon.h>

#include "kernels/gumbel/gumbel.h"
#include "kernels/gumbel/gumbel_walk.h"
#include "kernels/unroll.h"

/* Halves of the products of all four lanes. */
INLINE uint32x4_t mul_halves(uint32x4_t x, uint32_t by, uint32x4_t *ret_high)
{
    uint32x4_t low = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(x), by));
    uint32x4_t high = vreinterpretq_u32_u64(vmull_n_u32(vget_high_u32(x), by));
    *ret_high = vuzp2q_u32(low, high);
    return vuzp1q_u32(low, high);
}

/* Four blocks of Philox side by side, in place. */
INLINE void rounds(uint32x4_t x[4], uint32_t k0, uint32_t k1)
{
    for (unsigned i = 0; i < PHILOX_ROUNDS; i++) {
        uint32x4_t a_high, b_high;
        uint32x4_t a = mul_halves(x[0], PHILOX_M0, &a_high);
        uint32x4_t b = mul_halves(x[2], PHILOX_M1, &b_high);
        x[0] = veorq_u32(veorq_u32(b_high, x[1]), vdupq_n_u32(k0));
        x[1] = b;
        x[2] = veorq_u32(veorq_u32(a_high, x[3]), vdupq_n_u32(k1));
        x[3] = a;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

/* v = 2^e m; gives m - 1. */
INLINE float32x4_t split(float32x4_t v, float32x4_t *ret_e)
{
    int32x4_t bits = vreinterpretq_s32_f32(v);
    int32x4_t k = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(GUMBEL_ROOT)), 23);
    *ret_e = vcvtq_f32_s32(k);
    float32x4_t m = vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(k, 23)));
    return vsubq_f32(m, vdupq_n_f32(1.0f));
}

INLINE float32x4_t log_parts(float32x4_t f, float32x4_t e)
{
    float32x4_t s = vdivq_f32(f, vaddq_f32(vdupq_n_f32(2.0f), f));
    float32x4_t z = vmulq_f32(s, s);
    float32x4_t q = vfmaq_f32(vdupq_n_f32(GUMBEL_C7), z, vdupq_n_f32(GUMBEL_C9));
    q = vfmaq_f32(vdupq_n_f32(GUMBEL_C5), z, q);
    q = vfmaq_f32(vdupq_n_f32(GUMBEL_C3), z, q);
    float32x4_t l = vfmaq_f32(vaddq_f32(s, s), vmulq_f32(s, z), q);
    return vfmaq_f32(l, e, vdupq_n_f32(GUMBEL_LN2));
}

INLINE float32x4_t middle_of(int32x4_t j)
{
    float32x4_t x = vaddq_f32(vcvtq_f32_s32(j), vdupq_n_f32(0.5f));
    return vmulq_f32(x, vdupq_n_f32(0x1p-31f));
}

INLINE float32x4_t noise_of(uint32x4_t word, float32x4_t scale)
{
    int32x4_t j = vreinterpretq_s32_u32(vshrq_n_u32(word, 1));
    float32x4_t t = middle_of(j);
    float32x4_t u = middle_of(vsubq_s32(vdupq_n_s32(INT32_MAX), j));
    uint32x4_t is_linear = vcltq_s32(j, vdupq_n_s32(GUMBEL_LINEAR_BELOW));
    float32x4_t e;
    float32x4_t f = split(u, &e);
    f = vbslq_f32(is_linear, vnegq_f32(t), f);
    e = vbslq_f32(is_linear, vdupq_n_f32(0.0f), e);
    f = split(vnegq_f32(log_parts(f, e)), &e);
    return vmulq_f32(vnegq_f32(log_parts(f, e)), scale);
}

static void fill_span(const struct gumbel *g, uint32_t span, float *y)
{
    const float32x4_t scale = vdupq_n_f32(g->scale);
    const uint32x4_t lanes = {0, 1, 2, 3};
    for (uint32_t at = 0; at < GUMBEL_LANES; at += 4) {
        uint32x4_t x[4] = {vdupq_n_u32(g->index), vdupq_n_u32(GUMBEL_STREAM),
                           vaddq_u32(vdupq_n_u32(span * GUMBEL_LANES + at), lanes), vdupq_n_u32(0)};
        rounds(x, (uint32_t)g->seed, (uint32_t)(g->seed >> 32));
        UNROLL
        for (size_t w = 0; w < 4; w++) {
            vst1q_f32(y + w * GUMBEL_LANES + at, noise_of(x[w], scale));
        }
    }
}

GUMBEL_VARIANT(neon)
