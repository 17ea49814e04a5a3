/* SPDX-License-Identifier: MIT */
#include "kernels/gumbel/gumbel.h"

#include <math.h>
#include <string.h>

#include "kernels/philox/philox.h"

/* log(1 + f) + e log 2 */
static float log_parts(float f, float e)
{
    float s = f / (2.0f + f);
    float z = s * s;
    float q = fmaf(z, GUMBEL_C9, GUMBEL_C7);
    q = fmaf(z, q, GUMBEL_C5);
    q = fmaf(z, q, GUMBEL_C3);
    return fmaf(e, GUMBEL_LN2, fmaf(s * z, q, s + s));
}

static float log_split(float v)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    int32_t from_root = bits - GUMBEL_ROOT;
    int32_t k = (from_root - (from_root & 0x7fffff)) / 0x800000; /* rounds down */
    bits -= k * 0x800000;
    memcpy(&v, &bits, sizeof v);
    return log_parts(v - 1.0f, (float)k);
}

float gumbel_from(uint32_t word)
{
    int32_t j = (int32_t)(word >> 1);
    float t = ((float)j + 0.5f) * 0x1p-31f;
    float u = ((float)(INT32_MAX - j) + 0.5f) * 0x1p-31f;
    float minus = j < GUMBEL_LINEAR_BELOW ? log_parts(-t, 0.0f) : log_split(u);
    return -log_split(-minus);
}

float gumbel_at(const struct gumbel *g, uint32_t id)
{
    const uint32_t key[2] = {(uint32_t)g->seed, (uint32_t)(g->seed >> 32)};
    uint32_t block = id / GUMBEL_SPAN * GUMBEL_LANES + id % GUMBEL_LANES;
    struct philox_block r =
        philox_rounds((struct philox_block){{g->index, GUMBEL_STREAM, block, 0}}, key);
    return gumbel_from(r.word[id / GUMBEL_LANES % 4]) * g->scale;
}

void gumbel_noise_ref(const struct gumbel *g, size_t first, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = gumbel_at(g, (uint32_t)(first + i));
    }
}
