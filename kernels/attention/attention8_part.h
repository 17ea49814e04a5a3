/* SPDX-License-Identifier: MIT */
/* The int8 cache's part of a block, as attention.h lays it out: what all variants share. */
#ifndef HALO_KERNELS_ATTENTION_ATTENTION8_PART_H
#define HALO_KERNELS_ATTENTION_ATTENTION8_PART_H

#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/quantize/quantize.h"

#define ATTENTION8_TINY 0x1p-100f
#define ATTENTION8_TOP 16256.0f /* 127 * 128 */

struct attention8_scales {
    float k[ATTENTION_BLOCK];
    float v[ATTENTION_BLOCK];
};

/* They follow K and V. */
static inline const struct attention8_scales *attention8_scales(const uint8_t *part,
                                                                size_t head_dim)
{
    return (const void *)(part + 2 * ATTENTION_BLOCK * head_dim);
}

/* attention8_store with one of the variants of quantize_row. */
static inline void
attention8_store_with(void (*quantize)(const float *, const struct quantized *, size_t),
                      const float *k, const float *v, size_t head_dim, size_t slot, uint8_t *part)
{
    int8_t q[2][ATTENTION_MAX_HEAD_DIM];
    float scale[2];
    int32_t sum;
    for (size_t i = 0; i < 2; i++) {
        const struct quantized to = {.q = q[i],
                                     .stride = ATTENTION_MAX_HEAD_DIM,
                                     .scale = &scale[i],
                                     .sum = &sum,
                                     .n_tokens = 1,
                                     .n_cols = (uint32_t)head_dim};
        quantize(i == 0 ? k : v, &to, 0);
    }
    uint8_t *to_k = part + 4 * slot;
    uint8_t *to_v = part + ATTENTION_BLOCK * head_dim + slot / 4 * (4 * head_dim) + slot % 4;
    for (size_t d = 0; d < head_dim; d += 4) {
        memcpy(to_k + d * ATTENTION_BLOCK, q[0] + d, 4);
    }
    for (size_t d = 0; d < head_dim; d++) {
        to_v[4 * d] = (uint8_t)q[1][d];
    }
    uint8_t *scales = part + 2 * ATTENTION_BLOCK * head_dim;
    memcpy(scales + slot * sizeof(float), &scale[0], sizeof(float));
    memcpy(scales + (ATTENTION_BLOCK + slot) * sizeof(float), &scale[1], sizeof(float));
}

#endif
