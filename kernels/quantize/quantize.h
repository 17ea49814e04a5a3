/* SPDX-License-Identifier: MIT */
/* Activations to int8, one scale per token (absolute maximum), as BitNet b1.58 layers take them, or
 * one per group of 64 or 128 values, for weights with group scales: their models were not trained with
 * rounded activations, and finer scales keep closer to them.
 *
 * For each span of n values x[0..n), the token's n_cols or one group:
 *   a = the largest of 1e-5 and all |x[i]|; a NaN is never the largest
 *   inv = 127 / a
 *   q[i] = round half to even of x[i] * inv, clamped to -128..127; NaN gives -128
 *   scale = a / 127
 * and q[i] = 0 for n_cols <= i < stride;  sum = sum of q[i] over i < n_cols, without groups only.
 *
 * `sum` turns a product with codes c = t + 1 into one with t: sum of t*q = sum of c*q - sum of q.
 * For finite x, |q| <= 127. */
#ifndef HALO_KERNELS_QUANTIZE_QUANTIZE_H
#define HALO_KERNELS_QUANTIZE_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

/* Quantised token vectors. Row t is q + t * stride; all memory is the caller's. Fill it row by row
 * with quantize_row; threads may fill different rows. */
struct quantized {
    int8_t *q;
    size_t stride; /* quantize_stride(n_cols); 64-byte aligned rows are fastest */
    float *scale; /* [n_tokens], or [n_tokens][n_cols / group] */
    int32_t *sum; /* [n_tokens], not used with groups */
    uint32_t n_tokens;
    uint32_t n_cols;
    uint32_t group; /* 0, 64 or 128, a divisor of n_cols */
};

/* n rounded up to a multiple of 128 and of 320, whichever is more: whole units of any packing of
 * weights. A multiple of 64. */
static inline size_t quantize_stride(size_t n)
{
    size_t t2 = (n + 127) / 128 * 128;
    size_t t5 = (n + 319) / 320 * 320;
    return t2 > t5 ? t2 : t5;
}

/* Quantises x[0..out->n_cols) into row `token` of `out`. */
void quantize_row_ref(const float *x, const struct quantized *out, size_t token);
__typeof__(quantize_row_ref) quantize_row_avx2, quantize_row_avx512, quantize_row_neon;

#endif
