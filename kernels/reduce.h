/* SPDX-License-Identifier: MIT */
/* The end of "partial sums by 32" (see kernels.h) in scalar C. */
#ifndef HALO_KERNELS_REDUCE_H
#define HALO_KERNELS_REDUCE_H

#include <stddef.h>

/* Adds p[0..31] up in the fixed order; destroys p. */
static inline float reduce_add32(float p[32])
{
    for (size_t d = 16; d > 0; d /= 2) {
        for (size_t i = 0; i < d; i++) {
            p[i] += p[i + d];
        }
    }
    return p[0];
}

#endif
