/* SPDX-License-Identifier: MIT */
/* sdot adds four products of codes and activations to a 32-bit lane, which a row of 2^20 columns
 * cannot overflow. Bits are checked under an emulator; speed has not been measured on a processor:
 * the shapes follow from 32 registers and the number of instructions. */
#include "kernels/ternary/ternary_groups_neon.h"

enum {
    TILE_ROWS = 4,
    TILE_TOKENS = 4,
};

INLINE int32x4_t add_products(int32x4_t acc, uint8x16_t codes, int8x16_t q)
{
    return vdotq_s32(acc, vreinterpretq_s8_u8(codes), q);
}

/* Codes 2k..2k+1 of each byte; k is constant in unrolled loops. */
INLINE uint8x16_t unpack(uint8x16_t c, size_t k)
{
    const uint8x16_t mask = vdupq_n_u8(0x03);
    switch (k) {
    case 0:
        return vandq_u8(c, mask);
    case 1:
        return vandq_u8(vshrq_n_u8(c, 2), mask);
    case 2:
        return vandq_u8(vshrq_n_u8(c, 4), mask);
    default:
        return vshrq_n_u8(c, 6);
    }
}

/* 16 bytes of codes of each row, of columns 32k + 0..15 of the activations at q. */
INLINE void step(const uint8_t *codes, size_t row_bytes, const int8_t *q, size_t q_stride,
                 size_t rows, size_t tokens, int32x4_t acc[TILE_ROWS][TILE_TOKENS])
{
    uint8x16_t c[TILE_ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        c[r] = vld1q_u8(codes + r * row_bytes);
    }
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        uint8x16_t v[TILE_ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            v[r] = unpack(c[r], k);
        }
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            int8x16_t x = vld1q_s8(q + t * q_stride + 32 * k);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                acc[r][t] = add_products(acc[r][t], v[r], x);
            }
        }
    }
}

INLINE void run_shape(const struct ternary_tile *a, size_t rows, size_t tokens)
{
    int32x4_t acc[TILE_ROWS][TILE_TOKENS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            acc[r][t] = vdupq_n_s32(0);
        }
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t m = 0; m < a->row_bytes; m += 32) {
        UNROLL
        for (size_t r = 0; r < rows; r += 2) {
            __builtin_prefetch(ahead + m * rows + 32 * r);
        }
        const int8_t *q = a->q + 4 * m;
        step(a->codes + m, a->row_bytes, q, a->q_stride, rows, tokens, acc);
        step(a->codes + m + 16, a->row_bytes, q + 16, a->q_stride, rows, tokens, acc);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t s = vaddvq_s32(acc[r][t]) - a->x_sum[t];
            a->y[t * a->y_stride + r] = ((float)s * a->x_scale[t]) * a->w_scale[r];
        }
    }
}

/* 16 bytes of one row for one token: codes of columns 32.. and 64.. stay where they are, which saves
 * shifts; their products, 4 and 16 times too large, have sums of their own. Even times 16 a lane
 * holds 2^16 products of at most 48 * 128. */
INLINE void step_row(const uint8_t *codes, const int8x16_t x[4], int32x4_t acc[3])
{
    uint8x16_t c = vld1q_u8(codes);
    acc[0] = add_products(acc[0], vandq_u8(c, vdupq_n_u8(0x03)), x[0]);
    acc[1] = add_products(acc[1], vandq_u8(c, vdupq_n_u8(0x0c)), x[1]);
    acc[2] = add_products(acc[2], vandq_u8(c, vdupq_n_u8(0x30)), x[2]);
    acc[0] = add_products(acc[0], vshrq_n_u8(c, 6), x[3]);
}

static void run_4x1(const struct ternary_tile *a)
{
    int32x4_t acc[4][3];
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        acc[r][0] = acc[r][1] = acc[r][2] = vdupq_n_s32(0);
    }
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t m = 0; m < a->row_bytes; m += 16) {
        const int8_t *q = a->q + m / 32 * 128 + m % 32;
        const int8x16_t x[4] = {vld1q_s8(q), vld1q_s8(q + 32), vld1q_s8(q + 64), vld1q_s8(q + 96)};
        __builtin_prefetch(ahead + 4 * m);
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            step_row(a->codes + r * a->row_bytes + m, x, acc[r]);
        }
    }
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        int32x4_t scaled = vaddq_s32(acc[r][1], vshrq_n_s32(acc[r][2], 2));
        acc[r][0] = vaddq_s32(acc[r][0], vshrq_n_s32(scaled, 2));
    }
    int32x4_t s = vpaddq_s32(vpaddq_s32(acc[0][0], acc[1][0]), vpaddq_s32(acc[2][0], acc[3][0]));
    float32x4_t v = vcvtq_f32_s32(vsubq_s32(s, vdupq_n_s32(a->x_sum[0])));
    v = vmulq_f32(vmulq_n_f32(v, a->x_scale[0]), vld1q_f32(a->w_scale));
    vst1q_f32(a->y, v);
}

#define SHAPE(rows, tokens)                                                                        \
    static void run_##rows##x##tokens(const struct ternary_tile *a)                                \
    {                                                                                              \
        run_shape(a, rows, tokens);                                                                \
    }
SHAPE(4, 2)
SHAPE(4, 3)
SHAPE(4, 4)
SHAPE(1, 1)
SHAPE(1, 2)
SHAPE(1, 3)
SHAPE(1, 4)
#undef SHAPE

void ternary_matmul_neon(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                         size_t row1, float *y, size_t y_stride)
{
    static const struct ternary_variant variant = {
        .tiles = {{.many = {.rows = TILE_ROWS,
                            .max_tokens = TILE_TOKENS,
                            .full = {run_4x1, run_4x2, run_4x3, run_4x4},
                            .single = {run_1x1, run_1x2, run_1x3, run_1x4}},
                   .few = {[TERNARY_T5] = {.rows = 4,
                                           .max_tokens = 1,
                                           .full = {one_t5_4},
                                           .single = {one_t5_1},
                                           .up_to = 2}}},
                  {.many = {.rows = 2,
                            .max_tokens = GROUP_TOKENS,
                            .full = {t2_64_2x1, t2_64_2x2},
                            .single = {t2_64_1x1, t2_64_1x2}}},
                  {.many = {.rows = 2,
                            .max_tokens = GROUP_TOKENS,
                            .full = {t2_128_2x1, t2_128_2x2},
                            .single = {t2_128_1x1, t2_128_1x2}}}},
        .to_t2 = {[TERNARY_T5] = t5_to_t2, [TERNARY_S3] = s3_to_t2, [TERNARY_B1] = b1_to_t2},
    };
    ternary_walk(w, x, row0, row1, y, y_stride, &variant);
}
