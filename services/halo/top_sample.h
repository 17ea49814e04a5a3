/* SPDX-License-Identifier: MIT */
/* What `halo top` shows, from two readings of GET /metrics: rates and percentiles of the time between. */
#ifndef HALO_HALO_TOP_SAMPLE_H
#define HALO_HALO_TOP_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/str.h"

enum { TOP_BUCKETS = 32 };

/* The parts of a request's way, in their order. */
enum top_stage {
    TOP_QUEUE,
    TOP_TOKENIZE,
    TOP_PREFILL,
    TOP_DECODE, /* this and the next two per token or write */
    TOP_DETOKENIZE,
    TOP_WRITE,
    TOP_STAGES
};

/* A Prometheus histogram, summed over models: counts up to and including each bound. */
struct top_histogram {
    double bound[TOP_BUCKETS]; /* the last one is infinite */
    double count[TOP_BUCKETS];
    size_t n;
};

struct top_reading {
    uint64_t at_ns;
    double generated, prompts; /* tokens so far */
    double finished; /* choices so far */
    double refused, cut; /* requests so far: refused, ended before their last token */
    double in_flight, running, waiting;
    double kv_share; /* 0 to 1 */
    double prefix_queries, prefix_hits; /* tokens so far */
    double drafted, accepted; /* tokens so far */
    double engines;
    struct top_histogram ttft, itl; /* seconds */
    struct top_histogram stages[TOP_STAGES];
};

/* What happened between two readings. A share or time of nothing is -1. */
struct top_rates {
    double generated, prompts, finished, refused, cut; /* a second */
    double prefix_share, draft_share; /* 0 to 1 */
    double ttft_p50, ttft_p99, itl_p50, itl_p99; /* seconds */
    double stage_p50[TOP_STAGES], stage_p95[TOP_STAGES];
};

/* Takes Prometheus' text format apart; what is not there is 0. */
void top_read(struct str metrics, uint64_t at_ns, struct top_reading *ret_reading);

/* A counter that is smaller than before was started anew and counts from 0. */
void top_compare(const struct top_reading *from, const struct top_reading *to,
                 struct top_rates *ret_rates);

/* "queue", "tokenize" */
const char *top_stage_name(enum top_stage stage);

#endif
