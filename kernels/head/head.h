/* SPDX-License-Identifier: MIT */
/* LM head: logits of f32 hidden vectors against an f16 matrix.
 *
 *   y[t * y_stride + r] = partial sums by 32 over c < n_cols, where each step is
 *                         p = fma(f16_to_f32(w[r][c]), h[t][c], p)                (kernels.h)
 *
 * for t < n_tokens and rows row0 <= r < row1. */
#ifndef HALO_KERNELS_HEAD_HEAD_H
#define HALO_KERNELS_HEAD_HEAD_H

#include <stddef.h>
#include <stdint.h>

struct head_input {
    const float *h; /* token t at h + t * stride, n_cols values */
    size_t stride;
    size_t n_tokens;
};

/* w is [n_rows][n_cols]; y_stride >= n_rows. Threads split the rows. */
void head_logits_ref(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                     size_t row1, float *y, size_t y_stride);
__typeof__(head_logits_ref) head_logits_avx2, head_logits_avx512, head_logits_neon;

#endif
