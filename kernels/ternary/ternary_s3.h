/* SPDX-License-Identifier: MIT */
/* The 16 groups of four columns that a nibble n of S3 can mean when the first column that is not zero
 * is +1: t + 1 of column j in bits 8j..8j+7. Bits 0..1 of n are the place of the zero (code 1), bits 2
 * and 3 are set if the second and the third of the others are -1 (code 0) and not +1 (code 2). If the
 * first column is -1, each byte b of the entry is 2 - b. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_S3_H
#define HALO_KERNELS_TERNARY_TERNARY_S3_H

#include <stdint.h>

static const uint32_t ternary_s3_table[16] = {
    0x02020201, 0x02020102, 0x02010202, 0x01020202, 0x02000201, 0x02000102, 0x02010002, 0x01020002,
    0x00020201, 0x00020102, 0x00010202, 0x01000202, 0x00000201, 0x00000102, 0x00010002, 0x01000002,
};

#endif
