/* SPDX-License-Identifier: MIT */
#include "services/load/dice.h"

#include <math.h>

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void dice_init(struct dice *d, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        d->s[i] = z ^ z >> 31;
    }
}

uint64_t dice_u64(struct dice *d)
{
    uint64_t *s = d->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t dice_below(struct dice *d, uint32_t n)
{
    return (uint32_t)(((dice_u64(d) >> 32) * n) >> 32);
}

double dice_unit(struct dice *d)
{
    return ((double)(dice_u64(d) >> 11) + 0.5) * 0x1p-53;
}

/* Standard normal, by the polar method. */
static double normal(struct dice *d)
{
    for (;;) {
        double u = 2 * dice_unit(d) - 1;
        double v = 2 * dice_unit(d) - 1;
        double r = u * u + v * v;
        if (r > 0 && r < 1)
            return u * sqrt(-2 * log(r) / r);
    }
}

/* Shape at least 1, scale 1. */
static double gamma_of(struct dice *d, double shape)
{
    double a = shape - 1.0 / 3;
    double c = 1 / sqrt(9 * a);
    for (;;) {
        double x = normal(d);
        double v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(dice_unit(d)) < x * x / 2 + a - a * v + a * log(v))
            return a * v;
    }
}

double dice_gamma(struct dice *d, double shape)
{
    if (shape == 1)
        return -log(dice_unit(d));
    double g =
        shape > 1 ? gamma_of(d, shape) : gamma_of(d, shape + 1) * pow(dice_unit(d), 1 / shape);
    return g / shape;
}
