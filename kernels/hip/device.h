/* SPDX-License-Identifier: MIT */
/* What several GPU kernels use: the definitions of kernels/ that are small enough to be said again in
 * device code, with the constants of kernels/math/math.h, and the reductions. "Partial sums by 32" is a
 * wave whose lane i holds p[i]: the butterfly 16, 8, 4, 2, 1 adds in the defined order, because a sum
 * of two does not depend on their order. */
#ifndef HALO_KERNELS_HIP_DEVICE_H
#define HALO_KERNELS_HIP_DEVICE_H

#include "kernels/hip/args.h"
#include "kernels/hip/shim.h"
#include "kernels/math/math.h"

/* Of partial sums by 32; all lanes get it. */
DEVICE float wave_add_f32(float p)
{
    p += lane_xor_f32(p, 16);
    p += lane_xor_f32(p, 8);
    p += lane_xor_f32(p, 4);
    p += lane_xor_f32(p, 2);
    p += lane_xor_f32(p, 1);
    return p;
}

DEVICE int32_t wave_add_i32(int32_t p)
{
    p += lane_xor_i32(p, 16);
    p += lane_xor_i32(p, 8);
    p += lane_xor_i32(p, 4);
    p += lane_xor_i32(p, 2);
    p += lane_xor_i32(p, 1);
    return p;
}

DEVICE float larger_f32(float a, float b)
{
    return b > a ? b : a;
}

/* No value is a NaN. */
DEVICE float wave_max_f32(float a)
{
    a = larger_f32(a, lane_xor_f32(a, 16));
    a = larger_f32(a, lane_xor_f32(a, 8));
    a = larger_f32(a, lane_xor_f32(a, 4));
    a = larger_f32(a, lane_xor_f32(a, 2));
    a = larger_f32(a, lane_xor_f32(a, 1));
    return a;
}

/* As wave_add_i32, and the largest of values that are not below 0: one instruction where the hardware has it. */
DEVICE int32_t wave_sum_i32(int32_t p)
{
#if SHIM_NVIDIA
    int32_t sum;
    __asm__ volatile("redux.sync.add.s32 %0, %1, 0xffffffff;" : "=r"(sum) : "r"(p));
    return sum;
#else
    return wave_add_i32(p);
#endif
}

DEVICE float wave_most_f32(float a)
{
#if SHIM_NVIDIA
    uint32_t most;
    __asm__ volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(most) : "r"(bits_of_f32(a)));
    return f32_of_bits(most);
#else
    return wave_max_f32(a);
#endif
}

/* math_exp of kernels/math, of what is at most MATH_EXP_MAX, or NaN. */
DEVICE float exp_below_f32(float x)
{
    float t = fma_f32(x, MATH_EXP_LOG2E, MATH_EXP_MAGIC);
    float n = t - MATH_EXP_MAGIC;
    float r = fma_f32(n, -MATH_EXP_LN2_HI, x);
    r = fma_f32(n, -MATH_EXP_LN2_LO, r);
    float p = MATH_EXP_C4;
    p = fma_f32(p, r, MATH_EXP_C3);
    p = fma_f32(p, r, MATH_EXP_C2);
    p = fma_f32(p, r, MATH_EXP_C1);
    p = fma_f32(p, r, MATH_EXP_C0);
    p = fma_f32(p, r, 1.0f);
    p = fma_f32(p, r, 1.0f);
    p = f32_of_bits(bits_of_f32(p) + (bits_of_f32(t) << 23));
    p = x < MATH_EXP_MIN ? 0.0f : p;
    return x != x ? x : p;
}

/* math_exp of kernels/math. */
DEVICE float exp_f32(float x)
{
    float p = exp_below_f32(x);
    return x > MATH_EXP_MAX ? f32_of_bits(0x7f800000) : p;
}

/* f16_from_f32 of kernels/f16. */
DEVICE uint16_t f16_of_f32(float x)
{
    uint32_t u = bits_of_f32(x);
    uint32_t sign = u >> 16 & 0x8000;
    uint32_t mag = u & 0x7fffffff;
    uint32_t h = (mag - (112u << 23) + 0xfff + (mag >> 13 & 1)) >> 13;
    if (mag < 0x38800000) {
        h = bits_of_f32(f32_of_bits(mag) + 0.5f) - bits_of_f32(0.5f);
    }
    if (mag >= 0x477ff000) {
        h = 0x7c00;
    }
    if (mag > 0x7f800000) {
        h = 0x7e00 | (mag >> 13 & 0x3ff);
    }
    return (uint16_t)(sign | h);
}

DEVICE float magnitude_f32(float x)
{
    return f32_of_bits(bits_of_f32(x) & 0x7fffffff);
}

/* quantize.h: one value, given inv = 127 / a. */
DEVICE int32_t int8_of_f32(float x, float inv)
{
    float v = x * inv;
    v = v > -128.0f ? v : -128.0f;
    v = v < 127.0f ? v : 127.0f;
    return (int32_t)((v + 0x1.8p+23f) - 0x1.8p+23f);
}

/* The same as a float whose lowest byte it is. */
DEVICE float int8_as_f32(float x, float inv)
{
    float v = x * inv;
    v = v > -128.0f ? v : -128.0f;
    v = v < 127.0f ? v : 127.0f;
    return v + 0x1.8p+23f;
}

#define QUANTIZE_LEAST 1e-5f

DEVICE uint32_t least_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

#endif
