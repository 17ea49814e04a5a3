/* SPDX-License-Identifier: MIT */
/* UNROLL before a loop with constant bounds unrolls it fully, so that an array of vectors indexed by
 * the loop lives in registers. Left to itself gcc 12 gives up on some of these loops and then keeps
 * the whole array in memory, which halves the speed of a kernel. */
#ifndef HALO_KERNELS_UNROLL_H
#define HALO_KERNELS_UNROLL_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNROLL /* the checks make loops that gcc cannot unroll, which it warns about */
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* For functions that get their constant bounds as arguments. */
#define INLINE static inline __attribute__((always_inline))

#endif
