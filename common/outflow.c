/* SPDX-License-Identifier: MIT */
#include "common/outflow.h"

enum { NS_PER_MS = 1000000 };

void outflow_set_full(struct outflow *d, bool is_full, uint64_t now_ns)
{
    if (!is_full)
        d->since_ns = 0;
    else if (d->since_ns == 0)
        d->since_ns = now_ns;
}

void outflow_count(struct outflow *d, uint64_t now_ns)
{
    const double keep = 1.0 - 1.0 / OUTFLOW_WINDOW;
    if (d->since_ns == 0)
        return;
    d->full_ns = d->full_ns * keep + (double)(now_ns - d->since_ns);
    d->n = d->n * keep + 1;
    d->since_ns = now_ns;
}

uint64_t outflow_interval_ns(const struct outflow *d, uint64_t now_ns)
{
    double waiting = d->since_ns != 0 ? (double)(now_ns - d->since_ns) : 0;
    if (d->n <= 0)
        return 0;
    double mean = d->full_ns / d->n;
    /* A stall shows before it ends. */
    double late = waiting > mean * OUTFLOW_WINDOW ? (d->full_ns + waiting) / (d->n + 1) : mean;
    return late >= 1 ? (uint64_t)late : 1;
}

uint32_t outflow_retry_ms(struct outflow *d, uint64_t n_ahead, uint64_t now_ns)
{
    const uint64_t most = (uint64_t)OUTFLOW_RETRY_MAX_MS * NS_PER_MS;
    uint64_t interval = outflow_interval_ns(d, now_ns);
    if (interval == 0)
        return OUTFLOW_RETRY_UNKNOWN_MS;
    uint64_t wait = n_ahead < most / interval ? n_ahead * interval : most;
    uint64_t at = now_ns + wait;
    if (d->promised_ns + interval > at)
        at = d->promised_ns + interval;
    if (at > now_ns + most) /* begin again, in the later half */
        at = now_ns + (wait > most / 2 ? wait : most / 2);
    d->promised_ns = at;
    uint64_t ms = (at - now_ns) / NS_PER_MS;
    return ms > OUTFLOW_RETRY_MIN_MS ? (uint32_t)ms : OUTFLOW_RETRY_MIN_MS;
}
