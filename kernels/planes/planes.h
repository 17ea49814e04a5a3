/* SPDX-License-Identifier: MIT */
/* Bounds of the logits of head.h from a copy of the head in 8 bits that is read a few bits at a time,
 * to find the rows that can be among the largest without reading the full head. Those are then computed
 * by head_logits, so the answer has the bits of the full head: the bounds hold for what head_logits
 * gives, with all its roundings, and not for the sum in real numbers.
 *
 * Copy of a row w (finite; n = n_cols <= 65536):  scale = max|w| / 127,  U = round(w / scale) + 128
 * U is 1..255 and lies in four planes: bits 7..4, 3..2, 1 and 0. After plane k one knows U up to
 * 2^s - 1 (s = 4, 2, 1, 0) and takes the middle: V = (U >> s << s) + (2^s - 1) / 2 - 128.
 *   err[k] >= |w - scale*V|,  norm >= |w|                                  (Euclidean lengths)
 * Copy of a hidden vector h:  xs = max|h| / top,  p = round(h / xs) = 128 hi + lo, -64 <= lo < 64
 *   top = min(16256, floor((2^31 - 1) / (512 n))), so that twice a sum of U*p is exact in int32.
 *
 * With e = w - scale*V and f = h - xs*p:  w.h = scale*xs*(V.p) + e.h + (scale*V).f, so by Cauchy and
 * Schwarz |w.h - scale*xs*(V.p)| <= err*|h| + (norm + err)*|f|. Every rounding of head_logits (chains
 * of n/32 fma and 5 sums) and of the bounds is at most a few 2^-24 of (norm + err)*(|h| + |f|);
 * gamma = (n/32 + 32) * 2^-23 covers them twice. So with
 *   a >= (1 + gamma) * (|h| + |f|),  b >= |f| + gamma * (|h| + |f|)        (made by planes_quantize)
 *   v = (float)(2 V.p) * (scale * (xs/2)),  r = (err*a + norm*b) + 2^-120
 *   lower = v - r <= logit <= upper = v + r
 * A row with an infinity or a NaN has err = norm = inf, and its bounds exclude nothing.
 *
 * A plane of b bits holds for each row blocks of 512 columns, 64 b bytes each: column 64 g + m of a
 * block (g < 8, m < 64) is in byte 64 (g / (8/b)) + m, from bit b (g mod (8/b)) on. Past n_cols all is
 * zero, in the planes and in p. */
#ifndef HALO_KERNELS_PLANES_PLANES_H
#define HALO_KERNELS_PLANES_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLANES = 4, PLANES_BLOCK = 512, PLANES_MAX_COLS = 65536, PLANES_TOP_COLS = 8192 };

struct planes {
    uint8_t *plane[PLANES]; /* row r of plane k at plane[k] + r * planes_row_bytes(n_cols, k) */
    float *err[PLANES]; /* [n_rows] each */
    float *scale, *norm; /* [n_rows] */
    uint32_t n_cols;
};

struct planes_input {
    int8_t *hi, *lo; /* token t at + t * planes_stride(n_cols) */
    int32_t *total; /* [n_tokens] sum of p */
    float *xs, *a, *b; /* [n_tokens] */
    uint32_t n_tokens;
};

/* Some rows: those in `list`, or, where that is NULL, first .. first + n - 1. */
struct planes_rows {
    const uint32_t *list;
    uint32_t first;
    uint32_t n;
};

static inline unsigned planes_bits(unsigned k)
{
    return k == 0 ? 4 : k == 1 ? 2 : 1;
}

/* Columns with padding. */
static inline size_t planes_stride(size_t n_cols)
{
    return (n_cols + PLANES_BLOCK - 1) / PLANES_BLOCK * PLANES_BLOCK;
}

static inline size_t planes_row_bytes(size_t n_cols, unsigned k)
{
    return planes_stride(n_cols) / 8 * planes_bits(k);
}

/* Fills row `row` of `to` from w[0..n_cols). */
void planes_pack_ref(const float *w, const struct planes *to, size_t row);
__typeof__(planes_pack_ref) planes_pack_avx2, planes_pack_avx512, planes_pack_neon;

/* Fills row `token` of `to` from h[0..n_cols). False, and no bounds hold, if h has a value that is not
 * finite, or if max|h| is outside of 1e-20 .. 1e20. */
bool planes_quantize(const float *h, size_t n_cols, const struct planes_input *to, size_t token);

/* For each of the rows r and each token t: sums[t * y_stride + r] gets what plane k adds to U.p; plane 0
 * sets it. Threads split rows. */
void planes_sum_ref(const struct planes *w, unsigned k, const struct planes_input *x,
                    const struct planes_rows *rows, int32_t *sums, size_t y_stride);
__typeof__(planes_sum_ref) planes_sum_avx2, planes_sum_avx512, planes_sum_neon;

/* Sets sums to what planes 0 and 1 add together. Each row's bits are put together once for all tokens, so
 * for a few of them it is sooner done than one plane after the other. n_cols <= PLANES_TOP_COLS. */
void planes_sum_top_ref(const struct planes *w, const struct planes_input *x,
                        const struct planes_rows *rows, int32_t *sums, size_t y_stride);
__typeof__(planes_sum_top_ref) planes_sum_top_avx2, planes_sum_top_avx512, planes_sum_top_neon;

/* lower and upper[t * y_stride + r] of those rows, given the sums of the planes 0..k. */
void planes_bound_ref(const struct planes *w, unsigned k, const struct planes_input *x,
                      const struct planes_rows *rows, const int32_t *sums, float *lower,
                      float *upper, size_t y_stride);
__typeof__(planes_bound_ref) planes_bound_avx2, planes_bound_avx512, planes_bound_neon;

#endif
