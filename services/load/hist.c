/* SPDX-License-Identifier: MIT */
#include "services/load/hist.h"

#include <math.h>

enum { FINE = 1 << HIST_BITS };

size_t hist_bucket(uint64_t value)
{
    if (value < FINE)
        return (size_t)value;
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - HIST_BITS;
    return ((size_t)shift << HIST_BITS) + (size_t)(value >> shift);
}

uint64_t hist_floor(size_t bucket)
{
    if (bucket < 2 * FINE)
        return bucket;
    if (bucket >= HIST_BUCKETS)
        return UINT64_MAX;
    size_t shift = (bucket >> HIST_BITS) - 1;
    return (uint64_t)(FINE + (bucket & (FINE - 1))) << shift;
}

void hist_add(struct hist *h, uint64_t value)
{
    h->counts[hist_bucket(value)]++;
    if (h->n == 0 || value < h->least)
        h->least = value;
    if (value > h->most)
        h->most = value;
    h->n++;
    h->sum += (double)value;
}

void hist_merge(struct hist *h, const struct hist *from)
{
    if (from->n == 0)
        return;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        h->counts[i] += from->counts[i];
    if (h->n == 0 || from->least < h->least)
        h->least = from->least;
    if (from->most > h->most)
        h->most = from->most;
    h->n += from->n;
    h->sum += from->sum;
}

double hist_quantile(const struct hist *h, double q)
{
    if (h->n == 0)
        return 0;
    double want = ceil(q * (double)h->n);
    uint64_t rank = want < 1 ? 1 : (uint64_t)want;
    if (rank <= 1)
        return (double)h->least;
    if (rank >= h->n)
        return (double)h->most;
    uint64_t seen = 0;
    size_t i = 0;
    while ((seen += h->counts[i]) < rank)
        i++;
    double low = (double)hist_floor(i);
    double high = (double)hist_floor(i + 1) - 1;
    double value = (low + high) / 2;
    if (value < (double)h->least)
        return (double)h->least;
    return value > (double)h->most ? (double)h->most : value;
}

double hist_mean(const struct hist *h)
{
    return h->n > 0 ? h->sum / (double)h->n : 0;
}
