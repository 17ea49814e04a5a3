/* SPDX-License-Identifier: MIT */
#include "services/router/trace.h"

#include "common/clock.h"
#include "services/router/engines.h"

void trace_placed(struct request *q)
{
    struct rec_span s = span_of(SPAN_route, q->waiting_ns, clock_now_ns());
    span_list_add(&q->spans, &s);
    q->engine_ns = s.start_ns + s.ns;
    q->n_ids_placed = q->n_ids;
}

void trace_left(struct request *q, const char *at, enum span_end how)
{
    struct rec_span s = span_of(SPAN_engine, q->engine_ns, clock_now_ns());
    s.how = (uint32_t)how;
    s.n = (uint32_t)(q->n_ids - q->n_ids_placed);
    const char *name = arena_strdup(&q->arena, str_from(at)); /* the engine's goes with it */
    s.at = str_from(name != NULL ? name : "");
    span_list_add(&q->spans, &s);
    q->waiting_ns = s.start_ns + s.ns;
}

void trace_fill(struct request *q, struct arena *arena, struct rec_token *event)
{
    const char *at = q->engine != NULL ? q->engine->peer.name : "";
    size_t n_came = event->n_spans;
    if (q->engine != NULL && event->finish != FINISH_NONE)
        trace_left(q, at, event->finish == FINISH_ERROR ? SPAN_FAILED : SPAN_DONE);
    size_t n;
    struct rec_span *all = span_list_join(&q->spans, event->spans, n_came, arena, &n);
    for (size_t i = 0; i < n && i < n_came; i++) {
        all[i].at = str_from(at);
        if (q->engine != NULL)
            all[i].start_ns += (uint64_t)link_peer_clock_ns(q->engine->peer.link);
    }
    event->spans = all;
    event->n_spans = n;
}
