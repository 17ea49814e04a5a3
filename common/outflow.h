/* SPDX-License-Identifier: MIT */
/* Outflow: how fast a full house empties, and when those who were turned away shall come again.
 *
 * Only time in which every place is taken counts: the rate at which places become free is then what the
 * house can do, not what was asked of it. Sums decay by 1/OUTFLOW_WINDOW with each place, so that a batch
 * that ends at once counts as what it is.
 *
 * Everybody who is turned away gets a moment of his own, one place apart from the last one's: a crowd
 * that came together does not come back together. No moment is further away than OUTFLOW_RETRY_MAX_MS,
 * because the openai SDKs take a longer Retry-After for none and come sooner. */
#ifndef HALO_COMMON_OUTFLOW_H
#define HALO_COMMON_OUTFLOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    OUTFLOW_WINDOW = 64,
    OUTFLOW_RETRY_MIN_MS = 100,
    OUTFLOW_RETRY_UNKNOWN_MS = 1000, /* while no rate was measured */
    OUTFLOW_RETRY_MAX_MS = 60000,
};

/* Embedded; zeros know nothing. All times are clock_now_ns(). */
struct outflow {
    double full_ns; /* decaying sums: time in which every place was taken */
    double n; /* and places that became free in it */
    uint64_t since_ns; /* not counted yet; 0 while there is room */
    uint64_t promised_ns; /* the last moment given away */
};

/* Every place is taken, or there is room; the same as last time is allowed. */
void outflow_set_full(struct outflow *d, bool is_full, uint64_t now_ns);

/* A place has become free. */
void outflow_count(struct outflow *d, uint64_t now_ns);

/* Mean time between two places that become free; 0 when that is not known. */
uint64_t outflow_interval_ns(const struct outflow *d, uint64_t now_ns);

/* In how long somebody who is turned away shall come again, if before that n_ahead places have to become
 * free. */
uint32_t outflow_retry_ms(struct outflow *d, uint64_t n_ahead, uint64_t now_ns);

#endif
