/* SPDX-License-Identifier: MIT */
/* Root mean square normalisation of one row:
 *
 *   sum = partial sums by 32 of x[i]^2, where each step is p = fma(x[i], x[i], p)   (kernels.h)
 *   r = 1 / sqrt(sum / (float)n + eps)
 *   y[i] = (x[i] * r) * w[i],  i < n
 *
 * n >= 1. y may be x. */
#ifndef HALO_KERNELS_RMSNORM_RMSNORM_H
#define HALO_KERNELS_RMSNORM_RMSNORM_H

#include <stddef.h>

void rmsnorm_row_ref(const float *x, const float *w, size_t n, float eps, float *y);
__typeof__(rmsnorm_row_ref) rmsnorm_row_avx2, rmsnorm_row_avx512, rmsnorm_row_neon;

#endif
