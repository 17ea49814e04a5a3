/* SPDX-License-Identifier: MIT */
/* dice: random numbers of a seed, the same on every machine (xoshiro256**, seeded by splitmix64;
 * Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021). */
#ifndef HALO_LOAD_DICE_H
#define HALO_LOAD_DICE_H

#include <stdint.h>

struct dice {
    uint64_t s[4];
};

void dice_init(struct dice *d, uint64_t seed);

uint64_t dice_u64(struct dice *d);

/* Uniform in [0, n); n is at least 1. */
uint32_t dice_below(struct dice *d, uint32_t n);

/* Uniform in (0, 1). */
double dice_unit(struct dice *d);

/* Gamma distributed with the shape and mean 1: shape 1 is the exponential distribution, so gaps drawn
 * from it make Poisson arrivals; less is burstier, more is more even (Marsaglia and Tsang, "A simple
 * method for generating gamma variables", 2000). */
double dice_gamma(struct dice *d, double shape);

#endif
