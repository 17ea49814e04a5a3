/* SPDX-License-Identifier: MIT */
#include "kernels/f16/f16.h"

#include <string.h>

static uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

uint16_t f16_from_f32(float x)
{
    uint32_t u = f32_bits(x);
    uint32_t sign = u >> 16 & 0x8000;
    uint32_t mag = u & 0x7fffffff;
    uint32_t h;
    if (mag > 0x7f800000) {
        h = 0x7e00 | (mag >> 13 & 0x3ff);
    } else if (mag >= 0x477ff000) { /* 65520: halfway between the largest f16 and 2^16 */
        h = 0x7c00;
    } else if (mag < 0x38800000) { /* 2^-14; an ulp of 0.5f is the f16 subnormal unit */
        h = f32_bits(f32_from_bits(mag) + 0.5f) - f32_bits(0.5f);
    } else {
        h = (mag - (112u << 23) + 0xfff + (mag >> 13 & 1)) >> 13;
    }
    return (uint16_t)(sign | h);
}

float f16_to_f32(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16;
    uint32_t mag = x & 0x7fff;
    if (mag > 0x7c00) {
        return f32_from_bits(sign | 0x7fc00000 | mag << 13);
    }
    if (mag == 0x7c00) {
        return f32_from_bits(sign | 0x7f800000);
    }
    if (mag < 0x0400) {
        return f32_from_bits(sign | f32_bits((float)mag * 0x1p-24f));
    }
    return f32_from_bits(sign | ((mag << 13) + (112u << 23)));
}

void f16_encode_ref(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

void f16_decode_ref(const uint16_t *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = f16_to_f32(x[i]);
    }
}
