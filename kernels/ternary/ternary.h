/* SPDX-License-Identifier: MIT */
/* Linear layer with ternary weights: int8 activations times T2 codes, for one or many tokens.
 *
 *   acc = sum over c < n_cols of (code(r, c) - 1) * q[t][c], exact in int32
 *   y[t * y_stride + r] = ((float)acc * x->scale[t]) * scales[r / rows_per_scale]
 *
 * for all tokens t of x and rows row0 <= r < row1; (float) rounds to nearest even. The sum is exact
 * for n_cols <= 2^20, so its order is free.
 *
 * T2 (common/h1b.h): a row is ternary_row_bytes(n_cols) bytes, groups of 32 bytes per 128 columns;
 * bits 2k..2k+1 of byte m of group g hold the code (0, 1, 2) of column 128g + 32k + m. Columns past
 * n_cols hold code 1 in the weights and 0 in q, so they add nothing and need no special case. Code
 * 3 does not occur (the file is checked); with it, acc is as if it were a code of 3. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_H
#define HALO_KERNELS_TERNARY_TERNARY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize/quantize.h"

struct ternary_weights {
    const uint8_t *codes; /* row r at codes + r * ternary_row_bytes(n_cols) */
    const float *scales; /* [n_rows / rows_per_scale] */
    uint32_t n_rows, n_cols;
    uint32_t rows_per_scale; /* divides n_rows */
};

static inline size_t ternary_row_bytes(size_t n_cols)
{
    return (n_cols + 127) / 128 * 32;
}

/* x->n_cols == w->n_cols; row0 <= row1 <= n_rows; y_stride >= n_rows. Threads split [0, n_rows);
 * ranges of a multiple of 4 rows are fastest. A call reads its weights from memory once, however many
 * the tokens. */
void ternary_matmul_ref(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                        size_t row1, float *y, size_t y_stride);
__typeof__(ternary_matmul_ref) ternary_matmul_avx2, ternary_matmul_avxvnni, ternary_matmul_avx512,
    ternary_matmul_neon;

#endif
