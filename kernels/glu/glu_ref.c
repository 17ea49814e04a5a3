/* SPDX-License-Identifier: MIT */
#include "kernels/glu/glu.h"

#include "kernels/math/math.h"

void glu_relu2_ref(const float *gate, const float *up, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        /* The choice after the square: clang makes fmaxnm of one before it, which keeps a signalling
         * NaN on ARM. */
        float s = gate[i] > 0.0f ? gate[i] * gate[i] : 0.0f;
        y[i] = s * up[i];
    }
}

void glu_silu_ref(const float *gate, const float *up, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        float s = gate[i] / (1.0f + math_exp(-gate[i]));
        y[i] = s * up[i];
    }
}
