/* SPDX-License-Identifier: MIT */
/* Upstream: the link to the tokenizer, the models behind it, and the replies in flight.
 *
 * A job is one `generate`. Upstream keeps its frame and the token ids that came back; when the link is
 * lost it waits, at most resume_ms, and sends the frame again with those ids as `resume`, so the job
 * sees a pause and nothing else. Jobs of one turn of the loop are sent together at its end: a client
 * that resets its request in the same packet never reaches the tokenizer. */
#ifndef HALO_GATEWAY_UPSTREAM_H
#define HALO_GATEWAY_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"
#include "proto/frames.h"
#include "services/gateway/catalog.h"

struct upstream;
struct job;

struct job_events {
    void (*accepted)(struct job *j, uint32_t n_prompt_tokens);
    /* A token, an end, or both; never FINISH_ERROR. A job with an end is over. */
    void (*piece)(struct job *j, const struct rec_piece *p);
    /* The job is over without an end. retry_ms is when to ask again, if somebody knows; else 0. */
    void (*failed)(struct job *j, enum err why, struct str detail, uint32_t retry_ms);
    /* It waits for an engine, at this place: 1 is next. */
    void (*queued)(struct job *j, uint32_t position);
    /* The tokenizer that had it since j->sent_ns is gone; the job goes on with another. May be NULL. */
    void (*lost)(struct job *j);
    /* What processes did for it; comes before the token or the end that it came with. May be NULL. */
    void (*spans)(struct job *j, const struct rec_span *spans, size_t n);
};

/* Embedded in what it is about; zeros are an idle job. The events may cancel any job. */
struct job {
    const struct job_events *events;
    struct frame_generate generate; /* what it points to must live until the job is over */
    uint64_t sent_ns; /* clock_now_ns() when it was sent last */
    uint64_t order; /* of its start: what is sent again is sent in this order */
    uint64_t due_ms; /* clock_now_ms() by which the whole reply is due; 0 is never */
    uint32_t *ids; /* received so far */
    size_t n_ids;
    size_t cap_ids;
    bool is_active;
    bool is_sent; /* over the link as it is now */
    bool was_sent;
};

struct upstream_handler {
    /* The link came or went, or the models changed. */
    void (*changed)(void *ctx);
    /* Before and after the events of one frame, which may bring several for a job. */
    void (*hold)(void *ctx, bool holds);
    void *ctx;
};

MUST_CHECK enum err upstream_new(struct loop *loop, const char *run, uint32_t resume_ms,
                                 const struct upstream_handler *handler,
                                 struct upstream **ret_upstream);
/* All jobs must be over or cancelled. */
void upstream_free(struct upstream *u);

/* Starts a job: events and generate (but for req, resume and deadline_ms) and due_ms are set. */
void upstream_start(struct upstream *u, struct job *j);

/* Ends a job without an event. Idle jobs are allowed. Frees what upstream put into it. */
void upstream_cancel(struct upstream *u, struct job *j);

/* Whether the link is up. */
bool upstream_is_up(const struct upstream *u);

/* NULL when requests can be answered; else one line that says why not. With `is_patient` a loss
 * younger than resume_ms does not count. */
const char *upstream_why_not(const struct upstream *u, bool is_patient);

const struct catalog *upstream_catalog(const struct upstream *u);
const struct rec_load *upstream_load(const struct upstream *u);
size_t upstream_n_jobs(const struct upstream *u);
uint64_t upstream_n_resumes(const struct upstream *u);

#endif
