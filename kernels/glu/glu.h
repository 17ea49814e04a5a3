/* SPDX-License-Identifier: MIT */
/* Gated units: an activation of the gate times up.
 *
 * Squared ReLU (BitNet b1.58 2B-4T):
 *   g' = gate[i] > 0 ? gate[i] : +0
 *   y[i] = (g' * g') * up[i],  i < n
 *
 * SiLU (Llama, Qwen3):
 *   e = math_exp(-gate[i])     (math.h)
 *   y[i] = (gate[i] / (1 + e)) * up[i],  i < n
 *
 * y may be gate or up. */
#ifndef HALO_KERNELS_GLU_GLU_H
#define HALO_KERNELS_GLU_GLU_H

#include <stddef.h>

void glu_relu2_ref(const float *gate, const float *up, size_t n, float *y);
__typeof__(glu_relu2_ref) glu_relu2_avx2, glu_relu2_avx512, glu_relu2_neon;

void glu_silu_ref(const float *gate, const float *up, size_t n, float *y);
__typeof__(glu_silu_ref) glu_silu_avx2, glu_silu_avx512, glu_silu_neon;

#endif
