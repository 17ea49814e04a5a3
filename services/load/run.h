/* SPDX-License-Identifier: MIT */
/* run: sends requests when they are due, and measures what becomes of them.
 *
 * Open loop: arrivals are drawn beforehand and do not wait for replies; where a limit of concurrency
 * makes one wait, its latency counts from when it should have been sent. Closed loop: so many requests
 * are in flight, each followed by the next. How requests travel is the target's business: it reports
 * by the functions run_sent to run_end, which it may call from within `start`. */
#ifndef HALO_LOAD_RUN_H
#define HALO_LOAD_RUN_H

#include <sys/queue.h>

#include "common/loop.h"
#include "services/load/arrivals.h"
#include "services/load/prompts.h"
#include "services/load/stats.h"

struct request {
    TAILQ_ENTRY(request) entry;
    struct run *run;
    struct prompt prompt;
    struct record record;
    struct loop_timer timeout;
    uint64_t id; /* counts from 1 */
    void *handle; /* the target's */
    uint32_t n_chunks; /* pieces of output so far */
    struct buf text; /* the reply as in JSON, if prompt.talk */
    uint32_t *ids; /* or its ids */
    size_t n_ids;
};

TAILQ_HEAD(request_list, request);

struct target {
    /* Sends q, soon. Events may come at once. */
    void (*start)(struct target *t, struct request *q);
    /* q is no longer wanted: no events of it may follow. */
    void (*cancel)(struct target *t, struct request *q);
};

struct run_config {
    struct loop *loop;
    struct target *target;
    struct prompts *prompts;
    struct stats *stats;
    double rate; /* open loop: requests per second; 0: closed loop */
    double burstiness;
    double ramp_s;
    uint64_t seed; /* of the arrivals */
    uint32_t concurrency; /* most requests in flight; 0: no limit (open loop only) */
    uint64_t n_requests; /* 0: no limit */
    uint64_t duration_ns; /* no request is sent after it; 0: no limit */
    uint64_t drain_ns; /* how long replies may still come after that */
    uint64_t timeout_ns; /* of a request */
    struct goodput goodput;
    void (*received)(void *ctx, uint32_t n); /* told of pieces of output; may be NULL */
    void *received_ctx;
};

struct run;

MUST_CHECK enum err run_new(const struct run_config *config, struct run **ret_run);
void run_free(struct run *r);

void run_start(struct run *r);
bool run_is_over(const struct run *r);

/* Sends nothing more and gives up what is in flight. */
void run_stop(struct run *r);

uint32_t run_n_in_flight(const struct run *r);
uint64_t run_age_ns(const struct run *r);

/* ---- for targets ------------------------------------------------------------------------------- */

/* The request is on its way. */
void run_sent(struct request *q);

/* A piece of output: text as in JSON or one token id (NULL: none). */
void run_output(struct request *q, struct str text, const uint32_t *id);

/* What the server says; without it pieces are counted as tokens, and the prompt's ids. */
void run_usage(struct request *q, uint32_t n_in, uint32_t n_out, uint32_t n_cached);

/* It has ended; q is gone. `detail` says more of a failure, or is "". */
void run_end(struct request *take_q, enum failure f, const char *detail);

#endif
