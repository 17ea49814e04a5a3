/* SPDX-License-Identifier: MIT */
/* arrivals: when the requests of an open loop are meant to be sent, whatever becomes of them. */
#ifndef HALO_LOAD_ARRIVALS_H
#define HALO_LOAD_ARRIVALS_H

#include <stdint.h>

#include "services/load/dice.h"

struct arrivals {
    struct dice dice;
    double rate; /* per second, after the ramp */
    double burstiness; /* shape of the gaps' gamma distribution */
    double ramp_s; /* the rate rises from 0 to `rate` in a straight line */
    double sum; /* of the gaps so far, in units of the mean gap */
};

void arrivals_init(struct arrivals *a, uint64_t seed, double rate, double burstiness,
                   double ramp_s);

/* The next one, in nanoseconds after the start; never less than the one before. */
uint64_t arrivals_next(struct arrivals *a);

#endif
