/* SPDX-License-Identifier: MIT */
/* pack: rows of trits (-1, 0, +1) to the bytes of the packed dtypes T2, T5, S3 and B1 and back, one
 * row at a time. common/h1b.h has the layouts. For those who write model files and for tests; the
 * engine multiplies by packed rows as they are (kernels/ternary). */
#ifndef HALO_COMMON_PACK_H
#define HALO_COMMON_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/h1b.h"

/* "T2", "F32", ...; NULL for a number that is no dtype. */
const char *pack_dtype_name(enum h1b_dtype dtype);

/* Whether rows of the dtype are packed trits. */
bool pack_is_packed(enum h1b_dtype dtype);

/* Bytes of a row of n_cols weights; 0 if the dtype is none of the packed ones. Never overflows. */
uint64_t pack_row_bytes(enum h1b_dtype dtype, uint64_t n_cols);

/* Packs trits[0..n_cols) into `row`, pack_row_bytes bytes. False, with `row` undefined, if the dtype
 * cannot hold them: B1 a zero, S3 a group of four columns without exactly one zero. (Of a last group
 * of less than four columns S3 can hold at most one zero.) */
MUST_CHECK bool pack_row(enum h1b_dtype dtype, const int8_t *trits, size_t n_cols, uint8_t *row);

/* The reverse. False, with `trits` undefined, if bytes of the row occur in no packed row. */
MUST_CHECK bool pack_unpack_row(enum h1b_dtype dtype, const uint8_t *row, size_t n_cols,
                                int8_t *trits);

#endif
