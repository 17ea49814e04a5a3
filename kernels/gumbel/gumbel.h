/* SPDX-License-Identifier: MIT */
/* Gumbel noise: the largest of x[id] + T * g[id] is a token drawn with the probabilities
 * softmax(x / T), if the g are independent with the distribution exp(-exp(-g)) (Gumbel 1954; Maddison,
 * Tarlow, Minka: "A* Sampling", 2014). So a draw is a comparison, which any part of the vocabulary can
 * make for itself, and bounds of x bound it.
 *
 *   word = word (id / 32) % 4 of the Philox block with the counter {index, 1, (id / 128) * 32 + id % 32, 0}
 *          and the key `seed`, low word first: 32 neighbouring ids have the same word of 32 neighbouring
 *          blocks
 *   j = word >> 1
 *   t = ((float)j + 0.5f) * 2^-31,  u = ((float)(2^31 - 1 - j) + 0.5f) * 2^-31     (u is 1 - t)
 *   E = -log(1 - t):  j < 0x25800000: L(-t, 0);  else split(u);  negated
 *   y = -split(E) * scale
 * where split(v), v > 0, is L(m - 1, e) with v = 2^e m:  bits b of v, k = (b - 0x3f3504f3) >> 23 as a
 *   signed shift, m has the bits b - (k << 23), e = (float)k, so m is in sqrt(1/2) .. sqrt(2)
 * and L(f, e) = log(1 + f) + e log 2:
 *   s = f / (2 + f),  z = s * s
 *   q = fma(z, 2/9, 2/7);  q = fma(z, q, 2/5);  q = fma(z, q, 2/3)
 *   l = fma(s * z, q, s + s);  fma(e, 0x1.62e43p-1, l)
 * The constants are rounded to f32, the conversions to nearest even. E is in 2^-32 .. 22.2, so g is in
 * -3.11 .. 22.2, and there is no infinity or NaN. The error is a few 2^-24 of |g| + 1. */
#ifndef HALO_KERNELS_GUMBEL_GUMBEL_H
#define HALO_KERNELS_GUMBEL_GUMBEL_H

#include <stddef.h>
#include <stdint.h>

/* A draw: which one, and how it is scaled. */
struct gumbel {
    uint64_t seed;
    uint32_t index; /* of the reply's token */
    float scale; /* the temperature, finite */
};

enum {
    GUMBEL_STREAM = 1,
    GUMBEL_SPAN = 128, /* ids of GUMBEL_LANES blocks */
    GUMBEL_LANES = 32,
    GUMBEL_LINEAR_BELOW = 0x25800000,
    GUMBEL_ROOT = 0x3f3504f3,
};

#define GUMBEL_LN2 0x1.62e43p-1f
#define GUMBEL_C3 (2.0f / 3)
#define GUMBEL_C5 (2.0f / 5)
#define GUMBEL_C7 (2.0f / 7)
#define GUMBEL_C9 (2.0f / 9)

/* y / scale of a word. */
float gumbel_from(uint32_t word);

/* The noise of one token. */
float gumbel_at(const struct gumbel *g, uint32_t id);

/* y[i] is the noise of token first + i, i < n. */
void gumbel_noise_ref(const struct gumbel *g, size_t first, size_t n, float *y);
__typeof__(gumbel_noise_ref) gumbel_noise_avx2, gumbel_noise_avx512, gumbel_noise_neon;

#endif
