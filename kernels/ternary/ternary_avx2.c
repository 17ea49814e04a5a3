/* SPDX-License-Identifier: MIT */
/* Measured as in ternary_avx512.c; the arithmetic limit is vpmaddubsw and vpaddw in registers:
 *   one token     2560x6912 28 GB/s (90 %), 6912x2560 24 to 31 (68 to 86 %), 512x1536 24 (71 %)
 *   2, 4, 8       2560x6912 19, 11.5, 5.8 GB/s of weights; bound by arithmetic
 *   512 tokens    2560x6912 178 GMAC/s (76 %), 6912x2560 177 (77 %), 512x1536 134 (57 %)
 * Tried and left:
 *   no software prefetch: 10 instead of 28 GB/s for one token
 *   one token by tiles of two rows with four shifts a group: 83 % of four rows with one shift
 *   tiles of 3x3, 4x2, 1x8 rows by tokens: 96, 88, 97 % of 2x4
 *   codes unpacked to bytes once for all tokens: 101 % (2x4), 108 % (3x3, 4x3), not worth 64 KiB of
 *     stack and a second path */
#include "kernels/ternary/ternary_tiles_avx2.h"

void ternary_matmul_avx2(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                         size_t row1, float *y, size_t y_stride)
{
    ternary_walk(w, x, row0, row1, y, y_stride, &variant_256);
}
