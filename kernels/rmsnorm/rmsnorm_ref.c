/* SPDX-License-Identifier: MIT */
#include "kernels/rmsnorm/rmsnorm.h"

#include <math.h>

#include "kernels/reduce.h"

void rmsnorm_row_ref(const float *x, const float *w, size_t n, float eps, float *y)
{
    float p[32] = {0};
    for (size_t i = 0; i < n; i++) {
        p[i % 32] = fmaf(x[i], x[i], p[i % 32]);
    }
    float r = 1.0f / sqrtf(reduce_add32(p) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        y[i] = (x[i] * r) * w[i];
    }
}
