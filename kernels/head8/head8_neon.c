/* SPDX-License-Identifier: MIT */
/* Weights widened to int16, then smlal: sdot takes no int16. Bits are checked under an emulator;
 * speed has not been measured on a processor. */
#include <arm_neon.h>

#include "kernels/head8/head8.h"
#include "kernels/head8/head8_row.h"
#include "kernels/unroll.h"

enum { TILE_ROWS = 4, TILE_TOKENS = 2 };

void head8_pack_neon(const float *w, const struct head8 *to, size_t row)
{
    head8_pack_row(w, to, row);
}

/* Sums of the products of rows r0 .. r0 + rows and tokens t0 .. t0 + tokens. */
INLINE void add_products(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                         size_t rows, size_t tokens, int32x4_t acc[TILE_ROWS][TILE_TOKENS])
{
    size_t stride = head8_stride(w->n_cols);
    const int8_t *q = w->q + r0 * stride;
    const int16_t *p = x->p + t0 * stride;
    const char *ahead = (const char *)q + head8_prefetch_bytes(rows * stride);
    for (size_t c = 0; c < stride; c += 64) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            __builtin_prefetch(ahead + c * rows + 64 * r);
        }
        UNROLL
        for (size_t k = 0; k < 64; k += 8) {
            int16x8_t u[TILE_TOKENS];
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                u[t] = vld1q_s16(p + t * stride + c + k);
            }
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                int16x8_t v = vmovl_s8(vld1_s8(q + r * stride + c + k));
                UNROLL
                for (size_t t = 0; t < tokens; t++) {
                    acc[r][t] = vmlal_s16(acc[r][t], vget_low_s16(v), vget_low_s16(u[t]));
                    acc[r][t] = vmlal_high_s16(acc[r][t], v, u[t]);
                }
            }
        }
    }
}

/* head8_bound for rows r .. r + 3. */
INLINE void bound4(const struct head8 *w, const struct head8_input *x, size_t t, size_t r,
                   int32x4_t sums, float *lower, float *upper)
{
    float32x4_t scale = vmulq_n_f32(vld1q_f32(w->scale + r), x->xs[t]);
    float32x4_t v = vmulq_f32(vcvtq_f32_s32(sums), scale);
    float32x4_t ea = vmulq_n_f32(vld1q_f32(w->err + r), x->a[t]);
    float32x4_t nb = vmulq_n_f32(vld1q_f32(w->norm + r), x->b[t]);
    float32x4_t radius = vaddq_f32(vaddq_f32(ea, nb), vdupq_n_f32(HEAD8_TINY));
    vst1q_f32(lower, vsubq_f32(v, radius));
    vst1q_f32(upper, vaddq_f32(v, radius));
}

INLINE void tile(const struct head8 *w, const struct head8_input *x, size_t r0, size_t t0,
                 size_t tokens, float *lower, float *upper, size_t y_stride)
{
    int32x4_t acc[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = vdupq_n_s32(0);
        }
    }
    add_products(w, x, r0, t0, TILE_ROWS, tokens, acc);
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        int32x4_t ab = vpaddq_s32(acc[0][t], acc[1][t]);
        int32x4_t cd = vpaddq_s32(acc[2][t], acc[3][t]);
        size_t at = (t0 + t) * y_stride + r0;
        bound4(w, x, t0 + t, r0, vpaddq_s32(ab, cd), lower + at, upper + at);
    }
}

static void one_row(const struct head8 *w, const struct head8_input *x, size_t r, float *lower,
                    float *upper, size_t y_stride)
{
    for (size_t t = 0; t < x->n_tokens; t++) {
        int32x4_t acc[TILE_ROWS][TILE_TOKENS];
        acc[0][0] = vdupq_n_s32(0);
        add_products(w, x, r, t, 1, 1, acc);
        size_t at = t * y_stride + r;
        head8_bound(w, x, t, r, vaddvq_s32(acc[0][0]), &lower[at], &upper[at]);
    }
}

void head8_bounds_neon(const struct head8 *w, const struct head8_input *x, size_t row0, size_t row1,
                       float *lower, float *upper, size_t y_stride)
{
    size_t r = row0;
    for (; r + TILE_ROWS <= row1; r += TILE_ROWS) {
        size_t t = 0;
        for (; t + TILE_TOKENS <= x->n_tokens; t += TILE_TOKENS) {
            tile(w, x, r, t, TILE_TOKENS, lower, upper, y_stride);
        }
        for (; t < x->n_tokens; t++) {
            tile(w, x, r, t, 1, lower, upper, y_stride);
        }
    }
    for (; r < row1; r++) {
        one_row(w, x, r, lower, upper, y_stride);
    }
}
