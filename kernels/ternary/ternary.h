/* SPDX-License-Identifier: MIT */
/* Linear layer with ternary weights: int8 activations times packed trits, for one or many tokens, for
 * all tokens t of x and rows row0 <= r < row1. trit(r, c) is -1, 0 or +1.
 *
 * Scales of rows (group = 0); (float) rounds to nearest even; the sum is exact, its order is free:
 *   acc = sum over c < n_cols of trit(r, c) * q[t][c], int32
 *   y[t * y_stride + r] = ((float)acc * x->scale[t]) * scales[r / rows_per_scale]
 *
 * Scales of groups (group = 64 or 128, divides n_cols; n = n_cols / group):
 *   p[g][i] = sum over c in [g * group, (g + 1) * group), c / 4 % 16 = i, of trit(r, c) * q[t][c]
 *   s[g] = x->scale[t * n + g] * scales[r * n + g]
 *   f[i] starts at +0; for g = 0, 1, ..: f[i] = fma((float)p[g][i], s[g], f[i])
 *   for d = 8, 4, 2, 1: f[i] += f[i + d] for i < d;  y[t * y_stride + r] = f[0]
 *
 * Packings (common/h1b.h has the layouts): T2 two bits a trit, T5 five trits a byte, S3 five bits for
 * four trits one of which is zero, B1 one bit for -1 or +1. Columns past n_cols meet q = 0 and add
 * nothing. In T2 a code of 3, which files may not have, counts as trit 2; in T5 every byte has trits.
 *
 * T5 or T2 for the same trits: T5 is a fifth less to read. One token goes through AVX-512 at the
 * memory's speed in both, so T5 is a quarter faster; through AVX2 alone a core does 0.4 times as many
 * weights a second in T5, which pays only where many cores share the memory. Batches of 2 to 32 are
 * slower, prefill is the same (ternary_few_avx512.h, ternary_one_avx2.h). So T2 is the default. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_H
#define HALO_KERNELS_TERNARY_TERNARY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize/quantize.h"

enum ternary_packing {
    TERNARY_T2,
    TERNARY_T5,
    TERNARY_S3,
    TERNARY_B1,
    TERNARY_PACKINGS,
};

/* So that the sums of T5 fit, see ternary_few_avx512.h. */
enum { TERNARY_MAX_COLS = (1 << 18) - 128 };

struct ternary_weights {
    const uint8_t *codes; /* row r at codes + r * ternary_row_bytes(packing, n_cols) */
    const float *scales; /* [n_rows / rows_per_scale], or [n_rows][n_cols / group] */
    uint32_t n_rows, n_cols; /* n_cols up to TERNARY_MAX_COLS */
    uint32_t rows_per_scale; /* divides n_rows; unused with groups */
    enum ternary_packing packing;
    uint32_t group; /* 0, 64 or 128 */
};

static inline size_t ternary_row_bytes(enum ternary_packing packing, size_t n_cols)
{
    static const uint8_t unit_bytes[TERNARY_PACKINGS] = {32, 64, 20, 16};
    size_t unit_cols = packing == TERNARY_T5 ? 320 : 128;
    return (n_cols + unit_cols - 1) / unit_cols * unit_bytes[packing];
}

/* x->n_cols == w->n_cols and x->group == w->group; row0 <= row1 <= n_rows; y_stride >= n_rows. Threads
 * split [0, n_rows); ranges of a multiple of 4 rows are fastest. A call reads its weights from memory
 * once, however many the tokens. */
void ternary_matmul_ref(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                        size_t row1, float *y, size_t y_stride);
__typeof__(ternary_matmul_ref) ternary_matmul_avx2, ternary_matmul_avxvnni, ternary_matmul_avx512,
    ternary_matmul_neon;

#endif
