/* SPDX-License-Identifier: MIT */
/* What the vector variants share: the order of passes. The first pass does the steps within a vector
 * (and, where that is all, the scale), each later one a step of whole vectors, the last of them with
 * the scale. */
#ifndef HALO_KERNELS_HADAMARD_HADAMARD_WALK_H
#define HALO_KERNELS_HADAMARD_HADAMARD_WALK_H

#include <math.h>

#include "kernels/hadamard/hadamard.h"
#include "kernels/unroll.h"

struct hadamard_ops {
    size_t width; /* floats in a vector */
    /* The steps h < width of the vector at x, then times s. */
    void (*within)(float *x, float s);
    /* One step of two vectors, then times s. */
    void (*across)(float *x0, float *x1, float s);
};

INLINE void hadamard_walk(float *x, size_t n, size_t block, const struct hadamard_ops *ops)
{
    if (block < ops->width) {
        hadamard_rotate_ref(x, n, block);
        return;
    }
    float s = 1.0f / sqrtf((float)block);
    for (size_t i = 0; i < n; i += ops->width) {
        ops->within(x + i, block == ops->width ? s : 1.0f);
    }
    for (size_t h = ops->width; h < block; h *= 2) {
        float scale = 2 * h == block ? s : 1.0f;
        for (size_t i = 0; i < n; i += 2 * h) {
            for (size_t k = 0; k < h; k += ops->width) {
                ops->across(x + i + k, x + i + k + h, scale);
            }
        }
    }
}

#endif
