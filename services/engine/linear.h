/* SPDX-License-Identifier: MIT */
/* linear: a packed matrix of a model file, "NAME.weight" and "NAME.weight_scale", checked and bound. */
#ifndef HALO_ENGINE_LINEAR_H
#define HALO_ENGINE_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/h1b.h"
#include "kernels/ternary/ternary.h"

/* Binds the matrix [n_rows][n_cols]: a packed dtype, no bytes that stand for no trits, finite scales of
 * rows or of groups. Reads all of it. False if there is no such matrix: `why` says then, in one line,
 * which section was expected to be what; *ret_linear is undefined. */
MUST_CHECK bool linear_bind(const struct h1b *file, const char *name, uint32_t n_rows,
                            uint32_t n_cols, char *why, size_t cap_why,
                            struct ternary_weights *ret_linear);

/* Bytes of the codes, and of the scales. */
uint64_t linear_code_bytes(const struct ternary_weights *w);
uint64_t linear_scale_bytes(const struct ternary_weights *w);

/* "T2", "T2/128" for scales of groups of 128, and so on. */
const char *linear_packing_name(const struct ternary_weights *w);

#endif
