/* SPDX-License-Identifier: MIT */
/* Kernels: pure functions on memory, one folder per operation, and the table that picks a variant.
 *
 * The header of an operation is its definition: formula, shapes, layout, order of rounding. NAME_ref
 * is that definition in scalar C; every other variant gives the same bits for the same input, so a
 * caller may mix variants, split work among threads by rows, tokens or heads, and batch as it likes.
 *
 * Rules that hold for all of them:
 * - Arithmetic is IEEE 754 binary32, round to nearest even, subnormals kept (no flush to zero); a
 *   product and a sum are rounded separately unless the text says fma.
 * - "Partial sums by 32" of a sequence t: p[i] for i = 0..31 starts at +0 and takes t[i], t[i+32],
 *   t[i+64], ... in this order; then for d = 16, 8, 4, 2, 1: p[i] += p[i+d] for i < d; p[0] is the
 *   sum. A short tail needs nothing special.
 * - Which NaN comes out of arithmetic on NaN is not defined (processors differ), only that one does.
 * - No allocation, no I/O, no threads, no global state; up to 128 KiB of stack.
 * - Buffers need no alignment beyond that of their element type, but 64 bytes is fastest. Outputs do
 *   not overlap inputs except where a header allows it. Nothing is read or written outside the
 *   stated shapes. */
#ifndef HALO_KERNELS_KERNELS_H
#define HALO_KERNELS_KERNELS_H

#include <stdbool.h>

#include "kernels/attention/attention.h"
#include "kernels/f16/f16.h"
#include "kernels/glu/glu.h"
#include "kernels/gumbel/gumbel.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/head/head.h"
#include "kernels/planes/planes.h"
#include "kernels/quantize/quantize.h"
#include "kernels/residual/residual.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/softmax/softmax.h"
#include "kernels/ternary/ternary.h"

enum isa {
    ISA_REF, /* scalar C, any machine */
    ISA_AVX2, /* AVX2, FMA, F16C */
    ISA_AVXVNNI, /* AVX2 and AVX-VNNI: Intel since Alder Lake, where AVX-512 is off */
    ISA_AVX512, /* AVX-512 F, BW, DQ, VL, VNNI */
    ISA_NEON, /* AArch64 Advanced SIMD with the dot product instructions (ARMv8.2) */
    ISA_COUNT,
};

struct kernels {
    const char *isa_name;
#define KERNEL(name, header) __typeof__(&name##_ref) name; /* NOLINT(bugprone-macro-parentheses) */
#include "kernels/kernels.def"
#undef KERNEL
};

/* The variants of `level`; NULL if this processor or this build lacks it. Static, never freed. */
const struct kernels *kernels_get(enum isa level);

/* The highest level for which kernels_get gives a table. */
enum isa kernels_best(void);

/* "ref", "avx2", "avxvnni", "avx512", "neon". */
const char *kernels_isa_name(enum isa level);

/* False, and *ret_level untouched, if no level has that name. */
bool kernels_isa_parse(const char *name, enum isa *ret_level);

#endif
