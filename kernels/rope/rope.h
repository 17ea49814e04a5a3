/* SPDX-License-Identifier: MIT */
/* Rotary position embedding, halves paired: element i with element i + d/2 (Su et al. 2021, in the
 * order of Hugging Face's Llama code).
 *
 * Table, made once by this code and shipped to every device, h = head_dim / 2, i < h:
 *   inv_freq[i] = math_exp_f64((-2.0 * i / head_dim) * math_log_f64(theta)), which a model may scale
 *   cos[p][i], sin[p][i] = (float)(factor * f), f of math_sincos_f64(p * inv_freq[i]), p < 2^20;
 *   the factor is 1 but for YaRN
 *
 * Rotation of each head x[0..head_dim) at one position, c = cos[p], s = sin[p]:
 *   x'[i]     = fma(x[i],     c[i], -(x[i + h] * s[i]))
 *   x'[i + h] = fma(x[i + h], c[i],   x[i]     * s[i]) */
#ifndef HALO_KERNELS_ROPE_ROPE_H
#define HALO_KERNELS_ROPE_ROPE_H

#include <stddef.h>

/* The h frequencies. head_dim is even. */
void rope_inv_freq(size_t head_dim, double theta, double *inv_freq);

/* Fills rows pos0 <= p < pos1 of cos and sin, [n_pos][h] each. */
void rope_table_fill(const double *inv_freq, size_t h, double factor, size_t pos0, size_t pos1,
                     float *cos, float *sin);

/* Rotates n_heads heads that follow each other in x, in place; cos and sin are the position's rows
 * of head_dim / 2 values. head_dim is a multiple of 2. */
void rope_rotate_ref(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin);
__typeof__(rope_rotate_ref) rope_rotate_avx2, rope_rotate_avx512, rope_rotate_neon;

#endif
