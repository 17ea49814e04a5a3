/* SPDX-License-Identifier: MIT */
/* Scalar elementary functions; the formulas are in math.h. The double ones use Taylor series long
 * enough that the cut-off term is below half an ulp: their coefficients need no explanation, and
 * none of them is on a hot path. */
#include "kernels/math/math.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define F64_MAGIC 0x1.8p+52

static uint64_t f64_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static double f64_from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float math_exp(float x)
{
    if (x < MATH_EXP_MIN) {
        return 0.0f;
    }
    if (x > MATH_EXP_MAX) {
        return INFINITY;
    }
    if (x != x) {
        return x;
    }
    float t = fmaf(x, MATH_EXP_LOG2E, MATH_EXP_MAGIC);
    float n = t - MATH_EXP_MAGIC;
    float r = fmaf(n, -MATH_EXP_LN2_HI, x);
    r = fmaf(n, -MATH_EXP_LN2_LO, r);
    float p = MATH_EXP_C4;
    p = fmaf(p, r, MATH_EXP_C3);
    p = fmaf(p, r, MATH_EXP_C2);
    p = fmaf(p, r, MATH_EXP_C1);
    p = fmaf(p, r, MATH_EXP_C0);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t bits, n_bits;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&n_bits, &t, sizeof n_bits);
    bits += n_bits << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

double math_exp_f64(double x)
{
    if (x < -708.0) {
        return 0.0;
    }
    if (x > 709.7) {
        return INFINITY;
    }
    if (x != x) {
        return x;
    }
    double t = fma(x, 0x1.71547652b82fep+0, F64_MAGIC);
    double n = t - F64_MAGIC;
    double r = fma(n, -0x1.62e42fefa39efp-1, x);
    r = fma(n, -0x1.abc9e3b39803fp-56, r);
    /* 1 + r(1 + r/2(1 + r/3(...))) up to r^14 */
    double p = 1.0;
    for (int k = 14; k >= 1; k--) {
        p = fma(p * r, 1.0 / k, 1.0);
    }
    return f64_from_bits(f64_bits(p) + (f64_bits(t) << 52));
}

double math_log_f64(double x)
{
    if (x != x || x < 0.0) {
        return NAN;
    }
    if (x == 0.0) {
        return -INFINITY;
    }
    if (x == INFINITY) {
        return x;
    }
    double e = 0.0;
    if (x < 0x1p-1022) {
        x *= 0x1p+54;
        e = -54.0;
    }
    /* x = 2^e * m with m in [sqrt(1/2), sqrt(2)) */
    uint64_t bits = f64_bits(x);
    uint64_t k = (bits - f64_bits(0x1.6a09e667f3bcdp-1)) >> 52 & 0xfff;
    double m = f64_from_bits(bits - (k << 52));
    e += (double)(k < 0x800 ? (int)k : (int)k - 0x1000);
    /* log m = 2 artanh(s), s = (m - 1) / (m + 1): 2(s + s^3/3 + ... + s^23/23) */
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double q = 1.0 / 23.0;
    for (int d = 21; d >= 3; d -= 2) {
        q = fma(q, z, 1.0 / d);
    }
    q = 2.0 * s * z * q;
    /* 2s = f - s*f, which keeps f exact for m near 1 */
    double tail = q - s * f;
    return fma(e, 0x1.62e42fefa39efp-1, fma(e, 0x1.abc9e3b39803fp-56, tail) + f);
}

/* Taylor series about 0 for |r| <= pi/4: r - r^3/3! + ... - r^19/19! */
static double sin_small(double r)
{
    double z = r * r;
    double p = 1.0;
    for (int k = 18; k >= 4; k -= 2) {
        p = fma(p * z, -1.0 / (k * (k + 1)), 1.0);
    }
    return fma(r * z * p, -1.0 / 6.0, r);
}

/* 1 - r^2/2! + ... + r^20/20! */
static double cos_small(double r)
{
    double z = r * r;
    double p = 1.0;
    for (int k = 19; k >= 1; k -= 2) {
        p = fma(p * z, -1.0 / (k * (k + 1)), 1.0);
    }
    return p;
}

void math_sincos_f64(double x, double *ret_sin, double *ret_cos)
{
    if (!(x <= 1048576.0 && x >= -1048576.0)) { /* NaN too */
        *ret_sin = NAN;
        *ret_cos = NAN;
        return;
    }
    /* r = x - n * pi/2 with pi/2 as a sum of two doubles; fma makes the first step exact */
    double t = fma(x, 0x1.45f306dc9c883p-1, F64_MAGIC);
    double n = t - F64_MAGIC;
    double r = fma(n, -0x1.921fb54442d18p+0, x);
    r = fma(n, -0x1.1a62633145c07p-54, r);
    double s = sin_small(r);
    double c = cos_small(r);
    uint64_t quadrant = f64_bits(t) & 3;
    double a = quadrant & 1 ? c : s;
    double b = quadrant & 1 ? s : c;
    *ret_sin = quadrant & 2 ? -a : a;
    *ret_cos = quadrant == 1 || quadrant == 2 ? -b : b;
}

float math_log(float x)
{
    return (float)math_log_f64((double)x);
}

float math_sin(float x)
{
    double s, c;
    math_sincos_f64((double)x, &s, &c);
    return (float)s;
}

float math_cos(float x)
{
    double s, c;
    math_sincos_f64((double)x, &s, &c);
    return (float)c;
}
