/* SPDX-License-Identifier: MIT */
/* Shapes as in head_avx2.c: a row and a token take eight registers of partial sums. Bits are checked
 * under an emulator; speed has not been measured on a processor. */
#include <arm_neon.h>
#include <math.h>

#include "kernels/f16/f16.h"
#include "kernels/head/head_walk.h"
#include "kernels/reduce_neon.h"
#include "kernels/unroll.h"

enum { TILE_TOKENS = 3 };

INLINE void step(const uint16_t *w, const float *h, size_t h_stride, size_t tokens,
                 float32x4_t p[TILE_TOKENS][8])
{
    UNROLL
    for (size_t k = 0; k < 8; k++) {
        float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(w + 4 * k)));
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            p[t][k] = vfmaq_f32(p[t][k], v, vld1q_f32(h + t * h_stride + 4 * k));
        }
    }
}

/* n < 32 more columns, then the sum. */
static float finish_tail(const float32x4_t p[8], const uint16_t *w, const float *h, size_t n)
{
    float sums[32];
    reduce_spill_neon(p, sums);
    for (size_t i = 0; i < n; i++) {
        sums[i] = fmaf(f16_to_f32(w[i]), h[i], sums[i]);
    }
    return reduce_add32(sums);
}

INLINE void run_shape(const struct head_tile *a, size_t tokens)
{
    float32x4_t p[TILE_TOKENS][8];
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        UNROLL
        for (size_t k = 0; k < 8; k++) {
            p[t][k] = vdupq_n_f32(0.0f);
        }
    }
    size_t n = a->n_cols;
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        __builtin_prefetch((const char *)(a->w + c) + HEAD_PREFETCH_BYTES);
        step(a->w + c, a->h + c, a->h_stride, tokens, p);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        a->y[t * a->y_stride] =
            c == n ? reduce_add32_neon(p[t])
                   : finish_tail(p[t], a->w + c, a->h + t * a->h_stride + c, n - c);
    }
}

#define SHAPE(tokens)                                                                              \
    static void run_1x##tokens(const struct head_tile *a)                                          \
    {                                                                                              \
        run_shape(a, tokens);                                                                      \
    }
SHAPE(1)
SHAPE(2)
SHAPE(3)
#undef SHAPE

void head_logits_neon(const uint16_t *w, size_t n_cols, const struct head_input *x, size_t row0,
                      size_t row1, float *y, size_t y_stride)
{
    static head_run_tile *const single[] = {run_1x1, run_1x1, run_1x2, run_1x3};
    const struct head_shapes shapes = {1, TILE_TOKENS, single, single};
    head_walk(w, n_cols, x, row0, row1, y, y_stride, &shapes);
}
