/* SPDX-License-Identifier: MIT */
#include "kernels/ternary/ternary_tiles_avx2.h"

void ternary_matmul_avxvnni(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                            size_t row1, float *y, size_t y_stride)
{
    ternary_matmul_256(w, x, row0, row1, y, y_stride);
}
