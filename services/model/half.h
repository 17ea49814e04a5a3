/* SPDX-License-Identifier: MIT */
/* Conversions between binary32 and the 16-bit float formats of model files. */
#ifndef HALO_MODEL_HALF_H
#define HALO_MODEL_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t half_bits_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* bfloat16: the upper half of a binary32. */
static inline float half_from_bf16(uint16_t h)
{
    return half_f32_of_bits((uint32_t)h << 16);
}

/* binary16 to binary32, exact. */
static inline float half_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 31;
    uint32_t fraction = h & 0x3ff;
    if (exponent == 31)
        return half_f32_of_bits(sign | 0x7f800000U | fraction << 13);
    if (exponent != 0)
        return half_f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24F; /* a subnormal, or zero */
    return sign ? -magnitude : magnitude;
}

/* binary32 to binary16, to nearest, ties to even; beyond 65504 (from 65520 on) infinity. */
static inline uint16_t half_to_f16(float x)
{
    uint32_t bits = half_bits_of_f32(x);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000U)
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000U) {
        /* Below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the adder. */
        float shifted = half_f32_of_bits(magnitude) + 0.5F;
        return (uint16_t)(sign | (half_bits_of_f32(shifted) - 0x3f000000U));
    }
    uint32_t rounded = magnitude + 0xfffU + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000U) >> 13);
}

#endif
