/* SPDX-License-Identifier: MIT */
/* Tiles of 4 rows by 1 token for T5, and of 2 rows by up to 2 tokens for weights with scales of
 * groups. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_GROUPS_NEON_H
#define HALO_KERNELS_TERNARY_TERNARY_GROUPS_NEON_H

#include "kernels/reduce_neon.h"
#include "kernels/ternary/ternary_unpack_neon.h"

enum { GROUP_TOKENS = 2 };

/* T5 without taking the digits out, as in ternary_few_avx512.h; but with f - 128 in place of f, which
 * makes trits of the digits. */
INLINE void run_t5(const struct ternary_tile *a, size_t rows)
{
    int32x4_t acc[4], next[4];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[r] = next[r] = vdupq_n_s32(0);
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t m = 0; m < a->row_bytes; m += 16) {
        const int8_t *q = a->q + m / 64 * 320 + m % 64;
        __builtin_prefetch(ahead + m * rows);
        int8x16_t f[4];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            uint8x16_t bytes = vld1q_u8(a->codes + r * a->row_bytes + m);
            f[r] = vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)));
        }
        UNROLL
        for (size_t k = 0; k < 5; k++) {
            int8x16_t x = vld1q_s8(q + 64 * k);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                acc[r] = vdotq_s32(acc[r], f[r], x);
                f[r] = vaddq_s8(f[r], vaddq_s8(f[r], f[r]));
                next[r] = vdotq_s32(next[r], f[r], x);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        uint32x4_t all = vreinterpretq_u32_s32(acc[r]);
        all = vsubq_u32(vmulq_n_u32(all, 3), vreinterpretq_u32_s32(next[r]));
        int32_t s = vaddvq_s32(vshrq_n_s32(vreinterpretq_s32_u32(all), 8));
        a->y[r] = ((float)s * a->x_scale[0]) * a->w_scale[r];
    }
}

/* The trits of chunk j (see store_t2) of a unit. */
INLINE int8x16_t trits_t2(const uint8_t *unit, size_t j)
{
    uint8x16_t c = vld1q_u8(unit + 16 * (j % 2));
    const int8x16_t shift = vdupq_n_s8((int8_t) - (int)(j / 2 * 2));
    c = vandq_u8(vshlq_u8(c, shift), vdupq_n_u8(3));
    return vsubq_s8(vreinterpretq_s8_u8(c), vdupq_n_s8(1));
}

/* Chunk j adds to the lanes 4 (j % 4) .. of p. Chunks 0..3 are a group of 64, all eight one of 128. */
INLINE void step_group(const struct ternary_tile *a, size_t rows, size_t tokens, size_t unit,
                       size_t g, size_t first, size_t chunks, float32x4_t f[2][GROUP_TOKENS][4])
{
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *codes = a->codes + r * a->row_bytes + 32 * unit;
            const int8x16_t trits[2] = {trits_t2(codes, first + i), trits_t2(codes, i + 4)};
            UNROLL
            for (size_t t = 0; t < tokens; t++) {
                const int8_t *q = a->q + t * a->q_stride + 128 * unit;
                int32x4_t p = vdupq_n_s32(0);
                p = vdotq_s32(p, trits[0], vld1q_s8(q + 16 * (first + i)));
                if (chunks == 8) {
                    p = vdotq_s32(p, trits[1], vld1q_s8(q + 16 * (i + 4)));
                }
                float s = a->x_scale[t * a->n_groups + g] * a->w_groups[r * a->n_groups + g];
                f[r][t][i] = vfmaq_n_f32(f[r][t][i], vcvtq_f32_s32(p), s);
            }
        }
    }
}

INLINE void run_groups(const struct ternary_tile *a, size_t rows, size_t tokens, size_t group)
{
    float32x4_t f[2][GROUP_TOKENS][4];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            UNROLL
            for (size_t i = 0; i < 4; i++) {
                f[r][t][i] = vdupq_n_f32(0.0f);
            }
        }
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t g = 0, unit = 0; g < a->n_groups; unit++) {
        __builtin_prefetch(ahead + 32 * unit * rows);
        step_group(a, rows, tokens, unit, g++, 0, group / 16, f);
        if (group == 64 && g < a->n_groups) {
            step_group(a, rows, tokens, unit, g++, 4, 4, f);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            const float32x4_t *p = f[r][t];
            float32x4_t s = vaddq_f32(vaddq_f32(p[0], p[2]), vaddq_f32(p[1], p[3]));
            a->y[t * a->y_stride + r] = reduce_add4_neon(s);
        }
    }
}

static void one_t5_4(const struct ternary_tile *a)
{
    run_t5(a, 4);
}

static void one_t5_1(const struct ternary_tile *a)
{
    run_t5(a, 1);
}

#define GROUPS(rows, tokens, group)                                                                \
    static void t2_##group##_##rows##x##tokens(const struct ternary_tile *a)                       \
    {                                                                                              \
        run_groups(a, rows, tokens, group);                                                        \
    }
GROUPS(2, 1, 64)
GROUPS(2, 2, 64)
GROUPS(1, 1, 64)
GROUPS(1, 2, 64)
GROUPS(2, 1, 128)
GROUPS(2, 2, 128)
GROUPS(1, 1, 128)
GROUPS(1, 2, 128)
#undef GROUPS

#endif
