/* SPDX-License-Identifier: MIT */
/* Elementary functions from IEEE + - * / and fma alone, so that every processor gives the same bits.
 * libm is not used beyond fma and fmaf, which are exact by definition.
 *
 * math_exp(x), the one that runs in vector form too (softmax, attention):
 *   NaN -> NaN; x < -87 -> +0; x > 0x1.62e42ep+6 (88.72283) -> +inf; otherwise
 *   t = fma(x, 0x1.715476p+0, 0x1.8p+23)        (the integer n = round(x / ln 2) in t's low bits)
 *   n = t - 0x1.8p+23
 *   r = fma(n, -0x1.62e43p-1, x);  r = fma(n, 0x1.05c61p-29, r)
 *   p = C4; then p = fma(p, r, c) for c = C3, C2, C1, C0 = 1/2, 1, 1
 *   result = the float whose bits are bits(p) + (bits(t) << 23), modulo 2^32
 *   C4..C1 are a Chebyshev fit of (exp(r) - 1 - r) / r^2 on |r| <= 0.3475 (error 6.6e-8, that is
 *   8e-9 of the result). exp(+-0) is exactly 1. Every result is +0, +inf or a normal number.
 *
 * The others go through double and are scalar only: tables and sampling use them. */
#ifndef HALO_KERNELS_MATH_MATH_H
#define HALO_KERNELS_MATH_MATH_H

#define MATH_EXP_MIN (-87.0f)
#define MATH_EXP_MAX 0x1.62e42ep+6f
#define MATH_EXP_LOG2E 0x1.715476p+0f
#define MATH_EXP_MAGIC 0x1.8p+23f
#define MATH_EXP_LN2_HI 0x1.62e43p-1f
#define MATH_EXP_LN2_LO (-0x1.05c61p-29f)
#define MATH_EXP_C4 0x1.6d1254p-10f
#define MATH_EXP_C3 0x1.120cbap-7f
#define MATH_EXP_C2 0x1.555518p-5f
#define MATH_EXP_C1 0x1.5554dcp-3f
#define MATH_EXP_C0 0.5f

float math_exp(float x);

/* Rounded from the double functions below. log of +0 or -0 is -inf, of a negative number NaN;
 * sin and cos of |x| > 2^20 are NaN. */
float math_log(float x);
float math_sin(float x);
float math_cos(float x);

/* About 1 ulp. x < -708 gives 0, x > 709.7 gives +inf. */
double math_exp_f64(double x);

/* About 1 ulp. 0 gives -inf, x < 0 gives NaN. */
double math_log_f64(double x);

/* About 1 ulp of 1 for |x| <= 2^20; NaN beyond. */
void math_sincos_f64(double x, double *ret_sin, double *ret_cos);

#endif
