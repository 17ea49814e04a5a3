/* SPDX-License-Identifier: MIT */
/* Bits are cut out of bytes and multiplied by sdot. Bits are checked under an emulator; speed has not
 * been measured on a processor. */
#include <arm_neon.h>

#include "kernels/planes/planes.h"
#include "kernels/planes/planes_walk.h"

INLINE void dot(unsigned bits, unsigned groups, size_t tokens, const struct planes_tile *tile,
                const struct planes_input *x, size_t t0, size_t stride,
                int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS])
{
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1U << bits) - 1U));
    const int8_t *hi = x->hi + t0 * stride;
    const int8_t *lo = x->lo + t0 * stride;
    int32x4_t high[PLANES_TILE_ROWS][PLANES_TILE_TOKENS];
    int32x4_t low[PLANES_TILE_ROWS][PLANES_TILE_TOKENS];
    for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
        for (size_t t = 0; t < tokens; t++) {
            high[r][t] = vdupq_n_s32(0);
            low[r][t] = vdupq_n_s32(0);
        }
    }
    for (size_t at = 0; at < stride / 8 * bits; at += 16) {
        size_t c0 = at / 64 * 64 * groups + at % 64;
        UNROLL
        for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
            __builtin_prefetch(tile->ahead[r] + at);
            uint8x16_t v = vld1q_u8(tile->row[r] + at);
            UNROLL
            for (unsigned g = 0; g < groups; g++) {
                int8x16_t shift = vdupq_n_s8((int8_t) - (int)(g * bits));
                int8x16_t u = vreinterpretq_s8_u8(vandq_u8(vshlq_u8(v, shift), mask));
                UNROLL
                for (size_t t = 0; t < tokens; t++) {
                    size_t c = t * stride + c0 + 64 * (size_t)g;
                    high[r][t] = vdotq_s32(high[r][t], u, vld1q_s8(hi + c));
                    low[r][t] = vdotq_s32(low[r][t], u, vld1q_s8(lo + c));
                }
            }
        }
    }
    for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
        for (size_t t = 0; t < tokens; t++) {
            out[t][r] = vaddvq_s32(vaddq_s32(vshlq_n_s32(high[r][t], 7), low[r][t]));
        }
    }
}

PLANES_VARIANT(neon)
