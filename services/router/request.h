/* SPDX-License-Identifier: MIT */
/* request: one reply in the making, as the router remembers it: what the tokenizer asked for and the
 * journal, the ids of the reply so far. With both it can be sent to an engine at any time, and goes on
 * where it stood.
 *
 * A request is in exactly one list: a queue (engine is NULL) or its engine's `in_flight`. */
#ifndef HALO_ROUTER_REQUEST_H
#define HALO_ROUTER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/arena.h"
#include "common/loop.h"
#include "proto/frames.h"
#include "proto/span.h"

struct engine;
struct share;
struct tokenizer;
struct router;

enum {
    /* So many engines in a row died while it ran there and before it brought a token: then the
     * request is taken for the cause and ends. From the first such death on it is suspect: it gets an
     * engine where nobody else is unproven, so that others do not share its fate. Serial prefill
     * costs little, and a machine that is killed over and over rarely hits the same one again. */
    REQUEST_DEATHS_MAX = 3,
};

struct pair;

struct request {
    TAILQ_ENTRY(request) place; /* in a queue or in its engine's list */
    TAILQ_ENTRY(request) owned; /* among all of its tokenizer */
    struct router *router;
    struct tokenizer *owner; /* NULL: a shadow or a probe of burnin.h, for no client */
    struct engine *engine; /* NULL while it waits */
    uint32_t group; /* of the engines that may compute it: its lane's when it was first placed */
    struct pair *pair; /* that it is a part of, as what: pair_lane; else NULL */
    uint32_t pair_lane;
    bool is_probe;
    uint64_t check; /* not 0: a known answer that this handover asks for (handover.h) */
    uint64_t moving_id; /* equal to id: its blocks are on their way elsewhere, or were (phases.h) */
    struct share *share; /* see queue.h; NULL before it joined the queue */
    uint64_t tag; /* its claim: the least one is next */
    uint64_t cost; /* what it was taken for when it joined, see queue.h */
    uint32_t rank; /* requests of its share that were there before it */
    uint32_t told_position; /* as its tokenizer knows it; 0 is not told */
    uint64_t placed_ns; /* when it was first given to an engine */
    uint64_t req; /* the tokenizer's id */
    uint64_t id; /* ours, a new one for each placement: what an engine says of an old one is void */
    struct frame_submit submit; /* what was asked; its pointers lead into the arena */
    struct arena arena;
    uint32_t *ids; /* the journal: resumed ids, then those that engines brought */
    size_t n_ids;
    size_t cap_ids;
    uint64_t deadline_ns; /* 0 is none */
    struct loop_timer deadline;
    struct loop_timer engine_wait; /* set while no engine serves it */
    uint64_t waiting_ns; /* since when it waits for an engine; for trace.h, as the next three */
    uint64_t engine_ns; /* since when q->engine has it */
    size_t n_ids_placed;
    struct span_list spans;
    unsigned n_deaths; /* see REQUEST_DEATHS_MAX */
    bool is_replay; /* waits among the replays */
    bool was_placed; /* its model and max_tokens are fixed since */
    bool has_progress; /* it brought a token since it was placed */
    bool is_whole; /* it has all its tokens */
    bool was_reported; /* the tokenizer has had a token of it from us */
};

TAILQ_HEAD(request_list, request);

/* Copies a submit frame. ERR_NOMEM. */
MUST_CHECK enum err request_new(const struct frame_submit *f, struct request **ret_request);

/* It must be in no list and its timers unset. */
void request_free(struct request *q);

/* Appends an id to the journal. */
void request_record(struct request *q, uint32_t id);

/* Fixes what a later engine must share with the first one for the reply to go on exactly: the model,
 * and where the reply ends for want of context. Only the first call does it; but before the first token
 * each engine may bring its own numbers. */
void request_fix(struct request *q, const char *model_hash, uint64_t numbers, uint32_t context);

/* The frame to send to an engine; it borrows from the request. */
struct frame_submit request_to_submit(const struct request *q);

/* Whether the request may be what kills engines. */
static inline bool request_is_suspect(const struct request *q)
{
    return q->n_deaths > 0;
}

#endif
