/* SPDX-License-Identifier: MIT */
#include "services/gateway/stages.h"

/* Per token, or whatever n counts. */
static void observe_share(struct metrics_model *mm, enum metric_histogram which,
                          const struct rec_span *s)
{
    uint64_t ns = s->busy_ns > 0 ? s->busy_ns : s->ns;
    if (s->n > 0)
        metrics_observe(mm, which, (double)ns * 1e-9 / s->n);
}

void stages_observe(struct metrics_model *mm, const struct rec_span *spans, size_t n)
{
    uint64_t waited_ns = 0;
    bool has_started = false;
    for (size_t i = 0; i < n && mm != NULL; i++) {
        const struct rec_span *s = &spans[i];
        switch (s->kind) {
        case SPAN_route:
        case SPAN_queue:
            waited_ns += s->ns;
            break;
        case SPAN_tokenize:
            metrics_observe(mm, HISTOGRAM_tokenize, (double)s->ns * 1e-9);
            break;
        case SPAN_prefill:
            has_started = true;
            metrics_observe(mm, HISTOGRAM_prefill, (double)s->ns * 1e-9);
            break;
        case SPAN_decode:
            observe_share(mm, HISTOGRAM_tpot, s);
            break;
        case SPAN_detokenize:
            observe_share(mm, HISTOGRAM_detokenize, s);
            break;
        case SPAN_write:
            observe_share(mm, HISTOGRAM_write, s);
            break;
        default:
            break;
        }
    }
    if (has_started)
        metrics_observe(mm, HISTOGRAM_queue, (double)waited_ns * 1e-9);
}
