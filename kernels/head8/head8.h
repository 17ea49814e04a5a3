/* SPDX-License-Identifier: MIT */
/* Bounds of the logits of head.h from a copy of the head in 8 bits, to find the few rows that can be
 * among the largest without reading the full head. Those are then computed by head_logits, so the
 * answer has the bits of the full head: the bounds hold for what head_logits gives, with all its
 * roundings, and not for the sum in real numbers.
 *
 * Copy of a row w (finite; n = n_cols <= 65536):    scale = max|w| / 127,  q = round(w / scale)
 *   err >= |w - scale*q|,  norm >= |w|                                     (Euclidean lengths)
 * Copy of a hidden vector h:                        xs = max|h| / top,  p = round(h / xs)
 *   top = min(32767, floor((2^31 - 1) / (127 n))), so that a sum of q*p is exact in int32.
 *
 * With e = w - scale*q and f = h - xs*p:  w.h = scale*xs*(q.p) + e.h + (scale*q).f, so by Cauchy and
 * Schwarz |w.h - scale*xs*(q.p)| <= err*|h| + (norm + err)*|f|. Every rounding of head_logits (chains
 * of n/32 fma and 5 sums) and of the bounds is at most a few 2^-24 of (norm + err)*(|h| + |f|);
 * gamma = (n/32 + 32) * 2^-23 covers them twice. So with
 *   a >= (1 + gamma) * (|h| + |f|),  b >= |f| + gamma * (|h| + |f|)        (made by head8_quantize)
 *   v = (float)(q.p) * (scale*xs),  r = (err*a + norm*b) + 2^-120
 *   lower = v - r <= logit <= upper = v + r
 * A row with an infinity or a NaN has err = norm = inf, and its bounds exclude nothing. */
#ifndef HALO_KERNELS_HEAD8_HEAD8_H
#define HALO_KERNELS_HEAD8_HEAD8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAD8_MAX_COLS = 65536 };

struct head8 {
    int8_t *q; /* row r at q + r * head8_stride(n_cols), zeros past n_cols */
    float *scale, *err, *norm; /* [n_rows] */
    uint32_t n_cols;
};

struct head8_input {
    int16_t *p; /* token t at p + t * head8_stride(n_cols), zeros past n_cols */
    float *xs, *a, *b; /* [n_tokens] */
    uint32_t n_tokens;
};

static inline size_t head8_stride(size_t n_cols)
{
    return (n_cols + 63) / 64 * 64;
}

/* Fills row `row` of `to` from w[0..n_cols). */
void head8_pack_ref(const float *w, const struct head8 *to, size_t row);
__typeof__(head8_pack_ref) head8_pack_avx2, head8_pack_avx512, head8_pack_neon;

/* Fills row `token` of `to` from h[0..n_cols). False, and no bounds hold, if h has a value that is not
 * finite, or if max|h| is outside of 1e-20 .. 1e20. */
bool head8_quantize(const float *h, size_t n_cols, const struct head8_input *to, size_t token);

/* lower and upper[t * y_stride + r] for all tokens and rows row0 <= r < row1. Threads split rows. */
void head8_bounds_ref(const struct head8 *w, const struct head8_input *x, size_t row0, size_t row1,
                      float *lower, float *upper, size_t y_stride);
__typeof__(head8_bounds_ref) head8_bounds_avx2, head8_bounds_avx512, head8_bounds_neon;

#endif
