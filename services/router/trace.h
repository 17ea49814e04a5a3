/* SPDX-License-Identifier: MIT */
/* trace: the router's spans of a request (proto/span.h): how long it waited for an engine, and each
 * engine that had it, the lost ones included. They go along with the engine's own. */
#ifndef HALO_ROUTER_TRACE_H
#define HALO_ROUTER_TRACE_H

#include "common/arena.h"
#include "proto/frames.h"
#include "services/router/request.h"

/* It has just been placed at q->engine. */
void trace_placed(struct request *q);

/* It leaves q->engine, whose name is `at`, and will wait again or end. */
void trace_left(struct request *q, const char *at, enum span_end how);

/* Whether an event carries spans towards the gateway. */
static inline bool trace_is_due(const struct rec_token *event)
{
    return event->n_spans > 0 || event->finish != FINISH_NONE;
}

/* Puts the spans that are due into an event, in memory of the arena. q->engine may be NULL. */
void trace_fill(struct request *q, struct arena *arena, struct rec_token *event);

#endif
