/* SPDX-License-Identifier: MIT */
/* The 16 groups of four columns that a nibble of S3 can mean when the first column that is not zero is
 * +1: t + 1 of column j in bits 8j..8j+7. If that column is -1, each byte b of the entry is 2 - b. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_S3_H
#define HALO_KERNELS_TERNARY_TERNARY_S3_H

/* Bits 0..1 of n are the place of the zero; bits 2 and 3 are set if the second and the third of the
 * others differ from the first. */
#define S3_PLACE(n, j) ((j) - ((j) > ((n)&3)))
#define S3_CODE(n, j)                                                                              \
    ((j) == ((n)&3) ? 1u : (n) >> (S3_PLACE(n, j) + 1) & (S3_PLACE(n, j) > 0) ? 0u : 2u)
#define S3_ENTRY(n) (S3_CODE(n, 0) | S3_CODE(n, 1) << 8 | S3_CODE(n, 2) << 16 | S3_CODE(n, 3) << 24)

#define S3_TABLE                                                                                   \
    S3_ENTRY(0), S3_ENTRY(1), S3_ENTRY(2), S3_ENTRY(3), S3_ENTRY(4), S3_ENTRY(5), S3_ENTRY(6),     \
        S3_ENTRY(7), S3_ENTRY(8), S3_ENTRY(9), S3_ENTRY(10), S3_ENTRY(11), S3_ENTRY(12),           \
        S3_ENTRY(13), S3_ENTRY(14), S3_ENTRY(15)

#endif
