/* SPDX-License-Identifier: MIT */
/* stats: what a run has counted and timed. Times of a request are nanoseconds after the run's start;
 * latencies count from when the request was meant to be sent, not from when it could be. */
#ifndef HALO_LOAD_STATS_H
#define HALO_LOAD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "services/load/hist.h"

enum failure {
#define FAILURE(name, text) FAILURE_##name,
#include "services/load/failure.def"
#undef FAILURE
    FAILURES,
};

/* "connection refused"; and its name in JSON, "refused". */
const char *failure_text(enum failure f);
const char *failure_name(enum failure f);

/* One finished request. */
struct record {
    uint64_t intended_ns;
    uint64_t sent_ns;
    uint64_t first_ns; /* of the first token; 0: none came */
    uint64_t last_ns; /* of the last token */
    uint64_t end_ns;
    uint32_t n_in; /* tokens */
    uint32_t n_out;
    uint32_t n_cached;
    enum failure failure;
};

/* Limits that a good request keeps, in milliseconds; 0: none. */
struct goodput {
    double ttft_ms;
    double tpot_ms;
    double e2el_ms;
};

/* Which answers failed how: "HTTP status: 429 ..." 17 times. */
struct stats_detail {
    enum failure failure;
    char text[160];
    uint64_t n;
};

enum { STATS_DETAILS = 16 };

struct stats {
    struct hist ttft; /* of requests without failure, all in ns */
    struct hist tpot;
    struct hist itl;
    struct hist e2el;
    struct hist lag; /* of sending behind the intention, all requests */
    struct record *records;
    size_t n_records;
    size_t cap_records;
    uint64_t n_failed[FAILURES]; /* [FAILURE_none]: those that succeeded */
    uint64_t n_in; /* tokens of those that succeeded */
    uint64_t n_out;
    uint64_t n_cached;
    uint64_t n_chunks; /* pieces of text that came, whatever became of their requests */
    uint64_t n_good; /* requests within the limits */
    uint32_t *per_tenth; /* pieces in each tenth of a second */
    size_t n_tenths;
    uint32_t peak; /* requests in flight */
    double concurrency_s; /* request seconds */
    uint64_t duration_ns; /* to the end of the last request */
    uint64_t own_cpu_ns;
    struct stats_detail details[STATS_DETAILS];
    size_t n_details;
};

struct stats *stats_new(void);
void stats_free(struct stats *s);

/* A piece of output `at_ns` after the start; gap_ns since the one before in its reply, 0 if none. */
void stats_add_chunk(struct stats *s, uint64_t at_ns, uint64_t gap_ns);

void stats_add_record(struct stats *s, const struct record *r, const struct goodput *limits);

/* Counts how a request failed; beyond STATS_DETAILS kinds of texts the rest is one kind. */
void stats_add_detail(struct stats *s, enum failure f, const char *text);

uint64_t stats_n_failed(const struct stats *s);

/* (end to end - first token) / (tokens - 1) of a request, in ns; 0 if it has less than two tokens. */
double record_tpot(const struct record *r);

/* Pieces in the second that begins at a tenth of a second. */
uint32_t stats_in_second(const struct stats *s, size_t first_tenth);

/* Most pieces in one second, whenever it begins. */
uint32_t stats_peak_per_s(const struct stats *s);

#endif
