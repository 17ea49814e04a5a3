/* SPDX-License-Identifier: MIT */
/* A reply in flight: who wants it, the request that makes it, the tokens so far. Everything that is needed
 * to ask for it again, with the tokens so far as `resume`, is here.
 *
 * Replies live in a table. Ids are never used twice, so a late frame about an old reply finds nothing. */
#ifndef HALO_TOKENIZER_REPLY_H
#define HALO_TOKENIZER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proto/frames.h"
#include "proto/span.h"
#include "services/tokenizer/stream.h"

enum {
    REPLY_MAX = 65536,
    TRACE_CAP = 64, /* a traceparent has 55 characters */
};

/* A gateway; see services/tokenizer/service.c. */
struct peer;
struct served;
struct worker_job;

struct reply {
    uint64_t id; /* towards the router */
    struct peer *gateway; /* borrowed; the peer ends its replies before it goes */
    uint64_t gateway_req; /* towards the gateway */
    struct served *served; /* its model */
    struct worker_job *job; /* NULL unless the prompt is being encoded elsewhere */
    struct ids prompt;
    struct stream stream;
    struct rec_sampling sampling; /* its lists are owned */
    uint64_t deadline_ms; /* on clock_now_ms; 0 is none */
    uint64_t tenant;
    uint64_t share;
    uint64_t numbers; /* that gave the tokens so far; 0: not known */
    uint32_t lane;
    bool was_sent; /* a router has had it, perhaps another one than now */
    char trace[TRACE_CAP]; /* W3C traceparent, or "" */
    struct span_list spans; /* for trace.h, as the rest up to n_texts */
    uint64_t arrived_ns;
    uint64_t submitted_ns; /* to the router at hand; 0 while there is none */
    uint64_t text_from_ns;
    uint64_t text_until_ns;
    uint64_t text_busy_ns;
    uint32_t n_texts;
    struct loop_timer timer; /* fires when the deadline has passed */
    struct reply_table *table;
    struct reply *next_of_gateway; /* in the same bucket */
};

struct reply_table;

struct reply_table *reply_table_new(void);

/* Frees all replies in it. */
void reply_table_free(struct reply_table *t);

size_t reply_table_count(const struct reply_table *t);

/* A new reply with copies of what the frame asks for; stop strings are checked (errors of stops_new, a
 * line for the client in `why`). ERR_FULL: there are REPLY_MAX. The prompt is left empty. */
MUST_CHECK enum err reply_new(struct reply_table *t, const struct vocab *vocab,
                              const struct frame_generate *f, char *why, size_t cap_why,
                              struct reply **ret_reply);
void reply_free(struct reply *r);

/* NULL when there is none. */
struct reply *reply_find(const struct reply_table *t, uint64_t id);
struct reply *reply_find_of(const struct reply_table *t, const struct peer *gateway,
                            uint64_t gateway_req);

/* The first reply at or behind place *at of the table, whose place is written to *at; NULL at the end. */
struct reply *reply_next(const struct reply_table *t, size_t *at);

#endif
