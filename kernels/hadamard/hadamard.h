/* SPDX-License-Identifier: MIT */
/* Rotation of a row by the normalised Sylvester Walsh-Hadamard matrix, block by block:
 * y = H x / sqrt(B) for each B consecutive values, with H_1 = 1, H_2n = [[H_n, H_n], [H_n, -H_n]].
 * It is its own inverse, and spreads outliers over the block before the row is quantised (BitNet v2,
 * arXiv 2504.18415). In place:
 *
 *   for h = 1, 2, 4, ... B / 2: for each pair i, i + h of a block (i without bit h):
 *     a = x[i], b = x[i + h];  x[i] = a + b;  x[i + h] = a - b
 *   x[i] = x[i] * s,  s = 1 / sqrt((float)B) */
#ifndef HALO_KERNELS_HADAMARD_HADAMARD_H
#define HALO_KERNELS_HADAMARD_HADAMARD_H

#include <stddef.h>

/* `block` is a power of two from 2 that divides n. */
void hadamard_rotate_ref(float *x, size_t n, size_t block);
__typeof__(hadamard_rotate_ref) hadamard_rotate_avx2, hadamard_rotate_avx512, hadamard_rotate_neon;

#endif
