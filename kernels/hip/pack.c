/* SPDX-License-Identifier: MIT */
/* Rows of weights as the kernels read them: T2 of every packing, and the head in 8 bits with the bounds of
 * its error. */
#include <string.h>

#include "kernels/hip/plan.h"
#include "kernels/ternary/ternary_s3.h"

/* Code t + 1 of column c of a row. */
static unsigned code_at(enum ternary_packing packing, const uint8_t *row, uint32_t c)
{
    uint32_t unit_cols = packing == TERNARY_T5 ? 320 : 128;
    const uint8_t *unit = row + c / unit_cols * ternary_row_bytes(packing, 1);
    c %= unit_cols;
    switch (packing) {
    case TERNARY_T5: {
        unsigned v = unit[c % 64];
        for (uint32_t k = 0; k < c / 64; k++)
            v = 3 * v & 255;
        return 3 * v >> 8;
    }
    case TERNARY_S3: {
        unsigned nibble = (unsigned)unit[c / 4 % 16] >> c / 64 * 4 & 15U;
        unsigned code = ternary_s3_table[nibble] >> c % 4 * 8 & 255;
        return (unsigned)unit[16 + c / 32] >> c / 4 % 8 & 1U ? 2 - code : code;
    }
    case TERNARY_B1:
        return ((unsigned)unit[c % 16] >> c / 16 & 1U) * 2U;
    case TERNARY_T2:
    case TERNARY_PACKINGS:
        break;
    }
    return (unsigned)unit[c % 32] >> c / 32 * 2 & 3U;
}

void hip_repack_row(enum ternary_packing packing, uint32_t n_cols, const uint8_t *codes,
                    uint8_t *to)
{
    if (packing == TERNARY_T2) {
        memcpy(to, codes, hip_row_bytes(n_cols));
        return;
    }
    memset(to, 0, hip_row_bytes(n_cols));
    for (uint32_t c = 0; c < n_cols; c++) {
        uint8_t *unit = to + c / 128 * 32;
        unit[c % 32] |= (uint8_t)(code_at(packing, codes, c) << c % 128 / 32 * 2);
    }
}

void hip_pack_head_row(const float *w, uint32_t n,
                       void (*pack)(const float *, const struct planes *, size_t), int8_t *to,
                       float *scale, float *err, float *norm)
{
    uint8_t planes[PLANES][PLANES_MAX_COLS / 2];
    float errs[PLANES] = {0};
    struct planes p = {.scale = scale, .norm = norm, .n_cols = n};
    for (unsigned k = 0; k < PLANES; k++) {
        p.plane[k] = planes[k];
        p.err[k] = &errs[k];
    }
    pack(w, &p, 0);
    *err = errs[PLANES - 1];
    memset(to, 0, hip_head8_stride(n));
    for (uint32_t c = 0; c < n; c++) {
        unsigned u = 0;
        for (unsigned k = 0; k < PLANES; k++) {
            unsigned bits = planes_bits(k);
            unsigned g = c % PLANES_BLOCK / 64;
            size_t at = (size_t)c / PLANES_BLOCK * 64 * bits + g / (8 / bits) * 64 + c % 64;
            u = u << bits |
                ((unsigned)planes[k][at] >> bits * (g % (8 / bits)) & ((1U << bits) - 1));
        }
        to[c] = (int8_t)((int)u - 128);
    }
}
