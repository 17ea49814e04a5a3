/* SPDX-License-Identifier: MIT */
#include "kernels/ternary/ternary.h"

static int32_t dot(const uint8_t *codes, const int8_t *q, size_t n_cols)
{
    int32_t acc = 0;
    for (size_t c = 0; c < n_cols; c++) {
        unsigned byte = codes[c / 128 * 32 + c % 32];
        int32_t code = (int32_t)(byte >> c % 128 / 32 * 2 & 3);
        acc += (code - 1) * q[c];
    }
    return acc;
}

void ternary_matmul_ref(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                        size_t row1, float *y, size_t y_stride)
{
    size_t row_bytes = ternary_row_bytes(w->n_cols);
    for (size_t t = 0; t < x->n_tokens; t++) {
        for (size_t r = row0; r < row1; r++) {
            int32_t acc = dot(w->codes + r * row_bytes, x->q + t * x->stride, w->n_cols);
            y[t * y_stride + r] = ((float)acc * x->scale[t]) * w->scales[r / w->rows_per_scale];
        }
    }
}
