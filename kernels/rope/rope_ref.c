/* SPDX-License-Identifier: MIT */
#include "kernels/rope/rope.h"

#include <math.h>

#include "kernels/math/math.h"

void rope_inv_freq(size_t head_dim, double theta, double *inv_freq)
{
    double log_theta = math_log_f64(theta);
    for (size_t i = 0; i < head_dim / 2; i++) {
        inv_freq[i] = math_exp_f64(-2.0 * (double)i / (double)head_dim * log_theta);
    }
}

void rope_table_fill(const double *inv_freq, size_t h, double factor, size_t pos0, size_t pos1,
                     float *cos, float *sin)
{
    for (size_t i = 0; i < h; i++) {
        for (size_t p = pos0; p < pos1; p++) {
            double s, c;
            math_sincos_f64((double)p * inv_freq[i], &s, &c);
            cos[p * h + i] = (float)(factor * c);
            sin[p * h + i] = (float)(factor * s);
        }
    }
}

void rope_rotate_ref(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
    size_t h = head_dim / 2;
    for (size_t k = 0; k < n_heads; k++, x += head_dim) {
        for (size_t i = 0; i < h; i++) {
            float x0 = x[i];
            float x1 = x[i + h];
            x[i] = fmaf(x0, cos[i], -(x1 * sin[i]));
            x[i + h] = fmaf(x1, cos[i], x0 * sin[i]);
        }
    }
}
