/* SPDX-License-Identifier: MIT */
/* Gated unit of BitNet b1.58: squared ReLU of the gate times up.
 *
 *   g' = gate[i] > 0 ? gate[i] : +0
 *   y[i] = (g' * g') * up[i],  i < n
 *
 * y may be gate or up. */
#ifndef HALO_KERNELS_GLU_GLU_H
#define HALO_KERNELS_GLU_GLU_H

#include <stddef.h>

void glu_relu2_ref(const float *gate, const float *up, size_t n, float *y);
__typeof__(glu_relu2_ref) glu_relu2_avx2, glu_relu2_avx512, glu_relu2_neon;

#endif
