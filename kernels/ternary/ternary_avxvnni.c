/* SPDX-License-Identifier: MIT */
/* Measured as in ternary_avx512.c: one token as ternary_avx2.c; 512 tokens 2560x6912 203 GMAC/s (77 %
 * of vpdpbusd in 256-bit registers), which is 1.14 times ternary_avx2.c. */
#include "kernels/ternary/ternary_tiles_avx2.h"

void ternary_matmul_avxvnni(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                            size_t row1, float *y, size_t y_stride)
{
    ternary_walk(w, x, row0, row1, y, y_stride, &variant_256);
}
