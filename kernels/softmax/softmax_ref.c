/* SPDX-License-Identifier: MIT */
#include "kernels/softmax/softmax.h"

#include <math.h>

#include "kernels/math/math.h"
#include "kernels/reduce.h"

float softmax_max_ref(const float *x, size_t n)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    return max;
}

float softmax_exp_ref(const float *x, size_t n, float max, float scale, float *y)
{
    float p[32] = {0};
    for (size_t i = 0; i < n; i++) {
        y[i] = math_exp((x[i] - max) * scale);
        p[i % 32] += y[i];
    }
    return reduce_add32(p);
}
