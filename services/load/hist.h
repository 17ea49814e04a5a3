/* SPDX-License-Identifier: MIT */
/* hist: counts of durations in logarithmic buckets.
 *
 * Values below 2^HIST_BITS have a bucket each; above, every power of two is cut into 2^HIST_BITS
 * equal buckets, so that a bucket is at most 1/128 of its value wide, whatever the value. What a
 * quantile says is off by at most half of that (0.4 %), or by nothing at the extremes. The sum is
 * kept exactly, so the mean is exact. */
#ifndef HALO_LOAD_HIST_H
#define HALO_LOAD_HIST_H

#include <stddef.h>
#include <stdint.h>

enum { HIST_BITS = 7, HIST_BUCKETS = (64 - HIST_BITS + 1) << HIST_BITS };

/* Zeros are an empty one. */
struct hist {
    uint64_t counts[HIST_BUCKETS];
    uint64_t n;
    uint64_t least;
    uint64_t most;
    double sum;
};

void hist_add(struct hist *h, uint64_t value);

/* Adds all of `from`. */
void hist_merge(struct hist *h, const struct hist *from);

/* The value at rank ceil(q * n), q in [0, 1]: q = 0 is the least one, q = 1 the greatest; 0 if empty. */
double hist_quantile(const struct hist *h, double q);

/* 0 if empty. */
double hist_mean(const struct hist *h);

/* Bucket of a value, and what a bucket covers: [hist_floor(i), hist_floor(i + 1)). */
size_t hist_bucket(uint64_t value);
uint64_t hist_floor(size_t bucket);

#endif
