/* SPDX-License-Identifier: MIT */
#include "services/load/arrivals.h"

#include <math.h>

void arrivals_init(struct arrivals *a, uint64_t seed, double rate, double burstiness, double ramp_s)
{
    *a = (struct arrivals){.rate = rate, .burstiness = burstiness, .ramp_s = ramp_s};
    dice_init(&a->dice, seed);
}

/* Arrivals of a steady unit rate are moved to where the wanted rate has let as many pass: that is at
 * rate * t * t / (2 * ramp) during the ramp, and at rate * (t - ramp / 2) after it. */
uint64_t arrivals_next(struct arrivals *a)
{
    a->sum += dice_gamma(&a->dice, a->burstiness);
    double t = a->sum / a->rate + a->ramp_s / 2;
    if (t < a->ramp_s)
        t = sqrt(2 * a->ramp_s * a->sum / a->rate);
    return (uint64_t)(t * 1e9);
}
