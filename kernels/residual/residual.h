/* SPDX-License-Identifier: MIT */
/* y[i] += x[i], i < n */
#ifndef HALO_KERNELS_RESIDUAL_RESIDUAL_H
#define HALO_KERNELS_RESIDUAL_RESIDUAL_H

#include <stddef.h>

void residual_add_ref(const float *x, size_t n, float *y);
__typeof__(residual_add_ref) residual_add_avx2, residual_add_avx512, residual_add_neon;

#endif
