/* SPDX-License-Identifier: MIT */
#include "kernels/hadamard/hadamard.h"

#include <math.h>

void hadamard_rotate_ref(float *x, size_t n, size_t block)
{
    for (size_t h = 1; h < block; h *= 2) {
        for (size_t i = 0; i < n; i++) {
            if ((i & h) == 0) {
                float a = x[i];
                float b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
        }
    }
    float s = 1.0f / sqrtf((float)block);
    for (size_t i = 0; i < n; i++) {
        x[i] *= s;
    }
}
