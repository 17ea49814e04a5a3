/* SPDX-License-Identifier: MIT */
#include "kernels/head/head.h"

#include <math.h>

#include "kernels/f16/f16.h"
#include "kernels/reduce.h"

void head_logits_ref(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                     size_t row1, float *y, size_t y_stride)
{
    for (size_t t = 0; t < x->n_tokens; t++) {
        const float *h = x->h + t * x->stride;
        for (size_t r = row0; r < row1; r++) {
            float p[32] = {0};
            for (size_t c = 0; c < n_cols; c++) {
                p[c % 32] = fmaf(f16_to_f32(w[r * n_cols + c]), h[c], p[c % 32]);
            }
            y[t * y_stride + r] = reduce_add32(p);
        }
    }
}
