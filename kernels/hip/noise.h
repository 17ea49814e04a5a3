/* SPDX-License-Identifier: MIT */
/* kernels/philox and kernels/gumbel as device code. */
#ifndef HALO_KERNELS_HIP_NOISE_H
#define HALO_KERNELS_HIP_NOISE_H

#include "kernels/gumbel/gumbel.h"
#include "kernels/hip/device.h"
#include "kernels/philox/philox.h"

/* Word `which` of the block. */
DEVICE uint32_t philox_word(uint32_t c0, uint32_t c1, uint32_t c2, uint64_t seed, uint32_t which)
{
    uint32_t c3 = 0;
    uint32_t k0 = (uint32_t)seed;
    uint32_t k1 = (uint32_t)(seed >> 32);
    UNROLL for (int round = 0; round < PHILOX_ROUNDS; round++)
    {
        uint64_t u = (uint64_t)PHILOX_M0 * c0;
        uint64_t v = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(v >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)v;
        c2 = (uint32_t)(u >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)u;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    return which == 0 ? c0 : which == 1 ? c1 : which == 2 ? c2 : c3;
}

DEVICE float log_parts(float f, float e)
{
    float s = f / (2.0f + f);
    float z = s * s;
    float q = fma_f32(z, GUMBEL_C9, GUMBEL_C7);
    q = fma_f32(z, q, GUMBEL_C5);
    q = fma_f32(z, q, GUMBEL_C3);
    return fma_f32(e, GUMBEL_LN2, fma_f32(s * z, q, s + s));
}

DEVICE float log_split(float v)
{
    int32_t bits = (int32_t)bits_of_f32(v);
    int32_t k = (bits - GUMBEL_ROOT) >> 23;
    return log_parts(f32_of_bits((uint32_t)bits - ((uint32_t)k << 23)) - 1.0f, (float)k);
}

DEVICE float gumbel_of(const struct hip_wanted *w, uint32_t id)
{
    uint32_t block = id / GUMBEL_SPAN * GUMBEL_LANES + id % GUMBEL_LANES;
    uint32_t word =
        philox_word(w->noise_index, GUMBEL_STREAM, block, w->noise_seed, id / GUMBEL_LANES % 4);
    int32_t j = (int32_t)(word >> 1);
    float t = ((float)j + 0.5f) * 0x1p-31f;
    float u = ((float)(0x7fffffff - j) + 0.5f) * 0x1p-31f;
    float minus = j < GUMBEL_LINEAR_BELOW ? log_parts(-t, 0.0f) : log_split(u);
    return -log_split(-minus) * w->noise_scale;
}

/* What logits of a row are compared by: x, or x with its noise. */
DEVICE float compared(const struct hip_wanted *w, float x, uint32_t id)
{
    return w->is_drawn ? x + gumbel_of(w, id) : x;
}

#endif
