/* SPDX-License-Identifier: MIT */
/* What the kernel tests share: random inputs of several characters, in buffers of the exact size
 * (so that a sanitizer sees any access beyond), and comparison by bits. */
#ifndef HALO_TESTS_KERNELS_CHECK_H
#define HALO_TESTS_KERNELS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/kernels.h"

/* Kinds of float data. CHECK_FINITE kinds come first. */
enum check_kind {
    CHECK_NORMAL, /* -4 .. 4 */
    CHECK_ZEROS, /* +0 and -0 */
    CHECK_EQUAL, /* one value */
    CHECK_TINY, /* subnormals and the smallest normals */
    CHECK_HUGE, /* up to the largest float */
    CHECK_WIDE, /* any exponent */
    CHECK_FINITE, /* the number of kinds without infinities and NaN */
    CHECK_ANY_BITS = CHECK_FINITE,
    CHECK_KINDS,
};

struct check_rng {
    uint64_t state;
};

uint32_t check_random(struct check_rng *rng);

/* How many rounds of a long test to run: n, or a fifth where HALO_EMULATED is set, as in neon_run. */
int check_rounds(int n);

/* Uniform in [lo, hi]. */
size_t check_between(struct check_rng *rng, size_t lo, size_t hi);

/* One float of a kind; CHECK_EQUAL gives 0.75. */
float check_float(struct check_rng *rng, enum check_kind kind);

/* malloc, never NULL. */
void *check_alloc(size_t size);

/* n floats of a kind, to be freed. */
float *check_floats(struct check_rng *rng, size_t n, enum check_kind kind);

/* Random f16 bits, finite unless is_any. */
uint16_t *check_halves(struct check_rng *rng, size_t n, bool is_any);

/* Fails unless all n floats have equal bits, any NaN counting as equal to any other. */
void check_same_floats(const float *got, const float *want, size_t n, const char *isa_name);

/* The variants besides ref that this machine runs: calls `test` for each. */
void check_each_isa(void (*test)(const struct kernels *k, const struct kernels *ref));

#endif
