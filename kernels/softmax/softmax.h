/* SPDX-License-Identifier: MIT */
/* Softmax over a vocabulary, in the two passes that a sampler wants:
 *
 *   softmax_max: the largest x[i], starting from -inf; a NaN is never the largest. If that is 0 its
 *                sign is not defined (a difference with it is the same either way).
 *   softmax_exp: y[i] = math_exp((x[i] - max) * scale), i < n; returns their partial sums by 32
 *                (kernels.h; plain additions). y may be x. scale is 1 / temperature.
 *
 * A probability is y[i] / sum; its logarithm is (x[i] - max) * scale - math_log(sum). */
#ifndef HALO_KERNELS_SOFTMAX_SOFTMAX_H
#define HALO_KERNELS_SOFTMAX_SOFTMAX_H

#include <stddef.h>

float softmax_max_ref(const float *x, size_t n);
__typeof__(softmax_max_ref) softmax_max_avx2, softmax_max_avx512, softmax_max_neon;

float softmax_exp_ref(const float *x, size_t n, float max, float scale, float *y);
__typeof__(softmax_exp_ref) softmax_exp_avx2, softmax_exp_avx512, softmax_exp_neon;

#endif
