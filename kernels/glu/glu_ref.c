/* SPDX-License-Identifier: MIT */
#include "kernels/glu/glu.h"

void glu_relu2_ref(const float *gate, const float *up, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i] > 0.0f ? gate[i] : 0.0f;
        y[i] = (g * g) * up[i];
    }
}
