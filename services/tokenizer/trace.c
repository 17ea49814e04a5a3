/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/trace.h"

#include "common/clock.h"

void trace_encoded(struct reply *r)
{
    struct rec_span s = span_of(SPAN_tokenize, r->arrived_ns, clock_now_ns());
    s.n = (uint32_t)r->prompt.n;
    span_list_add(&r->spans, &s);
}

void trace_submitted(struct reply *r)
{
    r->submitted_ns = clock_now_ns();
}

static void end_router(struct reply *r, enum span_end how)
{
    if (r->submitted_ns == 0)
        return;
    struct rec_span s = span_of(SPAN_router, r->submitted_ns, clock_now_ns());
    s.how = (uint32_t)how;
    span_list_add(&r->spans, &s);
    r->submitted_ns = 0;
}

void trace_lost(struct reply *r)
{
    end_router(r, SPAN_LOST);
}

uint64_t trace_text(struct reply *r, uint64_t start_ns)
{
    uint64_t now = clock_now_ns();
    if (r->text_from_ns == 0)
        r->text_from_ns = start_ns;
    r->text_until_ns = now;
    r->text_busy_ns += now - start_ns;
    r->n_texts++;
    return now;
}

void trace_fill(struct reply *r, const struct rec_token *t, struct arena *arena,
                struct rec_piece *p)
{
    bool is_over = p->finish != FINISH_NONE;
    if (t->n_spans == 0 && !is_over)
        return;
    if (is_over) {
        end_router(r, p->finish == FINISH_ERROR ? SPAN_FAILED : SPAN_DONE);
        struct rec_span s = span_of(SPAN_detokenize, r->text_from_ns, r->text_until_ns);
        s.busy_ns = r->text_busy_ns;
        s.n = r->n_texts;
        if (s.n > 0)
            span_list_add(&r->spans, &s);
    }
    p->spans = span_list_join(&r->spans, t->spans, t->n_spans, arena, &p->n_spans);
}
