/* SPDX-License-Identifier: MIT */
/* Packed rows to codes t + 1, a byte each, and to T2. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_UNPACK_NEON_H
#define HALO_KERNELS_TERNARY_TERNARY_UNPACK_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/ternary/ternary_s3.h"
#include "kernels/ternary/ternary_walk.h"
#include "kernels/unroll.h"

/* Codes of 16 columns to bits 2k..2k+1 of bytes of T2: chunk j of a unit, columns 16j..16j+15, has
 * k = j / 2 and belongs to the lower (j even) or the upper 16 of its 32 bytes. */
INLINE void store_t2(const uint8x16_t codes[8], uint8_t *t2)
{
    UNROLL
    for (size_t half = 0; half < 2; half++) {
        uint8x16_t a = vsliq_n_u8(codes[half], codes[half + 2], 2);
        uint8x16_t b = vsliq_n_u8(codes[half + 4], codes[half + 6], 2);
        vst1q_u8(t2 + 16 * half, vsliq_n_u8(a, b, 4));
    }
}

static void b1_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    const uint8x16_t odd = vdupq_n_u8(0xaa);
    for (size_t c = 0; c < n_cols; c += 128, row += 16, t2 += 32) {
        uint8x16_t bits = vld1q_u8(row);
        vst1q_u8(t2, vandq_u8(vshlq_n_u8(bits, 1), odd));
        vst1q_u8(t2 + 16, vandq_u8(bits, odd));
    }
}

/* 16 columns are 4 groups: an entry of the table for each, reflected where the sign bit is set. */
static void s3_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    static const uint8_t fours[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    static const uint8_t places[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    static const uint8_t sign_bits[16] = {1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8};
    uint8x16x4_t entries;
    uint8_t bytes[64];
    memcpy(bytes, ternary_s3_table, sizeof bytes);
    for (size_t i = 0; i < 4; i++) {
        entries.val[i] = vld1q_u8(bytes + 16 * i);
    }
    for (size_t c = 0; c < n_cols; c += 128, row += 20, t2 += 32) {
        uint8x16_t nibbles = vld1q_u8(row);
        uint8x16_t both[2] = {vandq_u8(nibbles, vdupq_n_u8(15)), vshrq_n_u8(nibbles, 4)};
        uint8x16_t codes[8];
        UNROLL
        for (size_t j = 0; j < 8; j++) {
            uint8x16_t which = vaddq_u8(vld1q_u8(fours), vdupq_n_u8((uint8_t)(j % 4 * 4)));
            uint8x16_t entry = vqtbl1q_u8(both[j / 4], which);
            uint8x16_t at = vsliq_n_u8(vld1q_u8(places), entry, 2);
            uint8x16_t v = vqtbl4q_u8(entries, at);
            uint8x16_t signs = vdupq_n_u8((uint8_t)(row[16 + j / 2] >> j % 2 * 4));
            uint8x16_t is_negative = vtstq_u8(signs, vld1q_u8(sign_bits));
            codes[j] = vbslq_u8(is_negative, vsubq_u8(vdupq_n_u8(2), v), v);
        }
        store_t2(codes, t2);
    }
}

/* The five codes of each of 16 bytes f, in c[0], c[4] .. c[16]: 3f >> 8, which is how many of 86 and 171
 * are not above f, then the same with 3f & 255. */
INLINE void unpack_t5(const uint8_t *bytes, uint8x16_t *c)
{
    uint8x16_t f = vld1q_u8(bytes);
    UNROLL
    for (size_t k = 0; k < 5; k++) {
        uint8x16_t is_1 = vcgeq_u8(f, vdupq_n_u8(86));
        uint8x16_t is_2 = vcgeq_u8(f, vdupq_n_u8(171));
        c[4 * k] = vsubq_u8(vandq_u8(is_1, vdupq_n_u8(1)), is_2);
        f = vaddq_u8(f, vaddq_u8(f, f));
    }
}

/* Two units of T5 have the columns of five of T2. */
static void t5_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2)
{
    for (size_t c = 0; c < n_cols; c += 640, row += 128, t2 += 160) {
        uint8x16_t codes[40];
        memset(codes, 0, sizeof codes);
        for (size_t i = 0; i < (n_cols - c > 320 ? 8 : 4); i++) {
            unpack_t5(row + 16 * i, codes + i / 4 * 20 + i % 4);
        }
        for (size_t k = 0; k < 5 && c + 128 * k < n_cols; k++) {
            store_t2(codes + 8 * k, t2 + 32 * k);
        }
    }
}

#endif
