/* SPDX-License-Identifier: MIT */
#include "services/gateway/traces.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"

enum { LIST_MAX = 200 };

struct traces {
    struct trace *ring;
    uint32_t n;
    uint32_t next; /* where the next one may go */
    uint64_t serial;
};

struct traces *traces_new(uint32_t n_kept)
{
    struct traces *t = mem_zalloc(1, sizeof *t);
    t->n = n_kept;
    t->ring = mem_zalloc(n_kept, sizeof *t->ring); /* a page is taken when it is first used */
    return t;
}

void traces_free(struct traces *t)
{
    if (t == NULL)
        return;
    free(t->ring);
    free(t);
}

static bool is_in_flight(const struct trace *trace)
{
    return trace->serial != 0 && trace->end_ns == 0;
}

struct trace *traces_begin(struct traces *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        struct trace *trace = &t->ring[t->next];
        uint32_t slot = t->next;
        t->next = t->next + 1 < t->n ? t->next + 1 : 0;
        if (is_in_flight(trace))
            continue;
        t->serial += t->n - t->serial % t->n; /* the slot can be told from the serial number */
        memset(trace, 0, offsetof(struct trace, spans));
        trace->serial = t->serial + slot;
        return trace;
    }
    return NULL;
}

struct trace *traces_get(struct traces *t, uint64_t serial)
{
    struct trace *trace = serial > 0 ? &t->ring[serial % t->n] : NULL;
    return trace != NULL && trace->serial == serial ? trace : NULL;
}

void trace_add(struct trace *trace, const struct rec_span *s, uint32_t choice)
{
    if (trace == NULL)
        return;
    if (trace->n_spans == TRACE_SPANS_MAX) {
        trace->n_dropped++;
        return;
    }
    struct trace_span *to = &trace->spans[trace->n_spans++];
    *to = (struct trace_span){
        .start_ns = s->start_ns,
        .ns = s->ns,
        .busy_ns = s->busy_ns,
        .n = s->n,
        .pid = s->pid,
        .choice = (uint16_t)choice,
        .kind = (uint8_t)(s->kind < SPAN_KINDS ? s->kind : 0),
        .how = (uint8_t)s->how,
    };
    size_t len = s->at.len < sizeof to->at ? s->at.len : sizeof to->at - 1;
    if (len > 0)
        memcpy(to->at, s->at.ptr, len);
}

/* ---- as JSON ------------------------------------------------------------------------------------- */

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

/* The object is left open. */
static void add_summary(const struct trace *trace, uint64_t now_ns, struct buf *out)
{
    bool is_over = trace->end_ns > 0;
    buf_add_cstr(out, "{\"id\":");
    buf_add_json(out, str_from(trace->id));
    buf_printf(out,
               ",\"trace_id\":\"%s\",\"span_id\":\"%s\",\"parent_id\":", trace->context.trace_id,
               trace->context.span_id);
    if (trace->context.parent_id[0] != '\0')
        buf_printf(out, "\"%s\"", trace->context.parent_id);
    else
        buf_add_cstr(out, "null");
    buf_add_cstr(out, ",\"model\":");
    buf_add_json(out, str_from(trace->model));
    buf_printf(out,
               ",\"started_ms\":%llu,\"s\":%.9f,\"ttft_s\":", (unsigned long long)trace->unix_ms,
               seconds(trace->start_ns, is_over ? trace->end_ns : now_ns));
    if (trace->first_ns > 0)
        buf_printf(out, "%.9f", seconds(trace->start_ns, trace->first_ns));
    else
        buf_add_cstr(out, "null");
    buf_printf(out,
               ",\"end\":\"%s\",\"prompt_tokens\":%u,\"cached_tokens\":%u,\"tokens\":%u,"
               "\"choices\":%u",
               is_over ? trace->end : "running", trace->n_prompt, trace->n_cached, trace->n_tokens,
               trace->n_choices);
}

static void add_span(const struct trace *trace, const struct trace_span *s, struct buf *out)
{
    static const char *const HOW[] = {"done", "lost", "cancelled", "failed"};
    buf_printf(out, "{\"name\":\"%s\",\"process\":\"%s\",\"at\":", span_name(s->kind),
               span_process(s->kind));
    buf_add_json(out, str_from(s->at));
    buf_printf(out,
               ",\"pid\":%u,\"choice\":%u,\"start_ns\":%lld,\"ns\":%llu,\"busy_ns\":%llu,"
               "\"tokens\":%u,\"how\":\"%s\"}",
               s->pid, s->choice, (long long)(s->start_ns - trace->start_ns),
               (unsigned long long)s->ns, (unsigned long long)(s->busy_ns > 0 ? s->busy_ns : s->ns),
               s->n, s->how <= SPAN_FAILED ? HOW[s->how] : "unknown");
}

/* The i-th in the order of their coming, from the latest back; NULL where none was yet. */
static const struct trace *at(const struct traces *t, uint32_t i)
{
    const struct trace *trace = &t->ring[(t->next + t->n - 1 - i) % t->n];
    return trace->serial > 0 ? trace : NULL;
}

void traces_write_list(const struct traces *t, struct buf *out)
{
    uint64_t now_ns = clock_now_ns();
    uint32_t n = 0;
    buf_printf(out, "{\"kept\":%u,\"traces\":[", t->n);
    for (uint32_t i = 0; i < t->n && n < LIST_MAX; i++) {
        const struct trace *trace = at(t, i);
        if (trace == NULL)
            continue;
        if (n++ > 0)
            buf_add_char(out, ',');
        add_summary(trace, now_ns, out);
        buf_add_char(out, '}');
    }
    buf_add_cstr(out, "]}\n");
}

/* What follows "req_" or "chatcmpl-": answers and requests share it. */
static struct str bare(struct str id)
{
    static const char *const PREFIXES[] = {"req_", "chatcmpl-", "cmpl-"};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++) {
        size_t n = strlen(PREFIXES[i]);
        if (id.len > n && memcmp(id.ptr, PREFIXES[i], n) == 0)
            return (struct str){id.ptr + n, id.len - n};
    }
    return id;
}

static const struct trace *find(const struct traces *t, struct str id)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct trace *trace = at(t, i);
        if (trace != NULL &&
            (str_eq(bare(str_from(trace->id)), bare(id)) || str_is(id, trace->context.trace_id)))
            return trace;
    }
    return NULL;
}

bool traces_write_one(const struct traces *t, struct str id, struct buf *out)
{
    const struct trace *trace = find(t, id);
    if (trace == NULL)
        return false;
    add_summary(trace, clock_now_ns(), out);
    buf_printf(out, ",\"start_ns\":%llu,\"dropped_spans\":%u,\"spans\":[",
               (unsigned long long)trace->start_ns, trace->n_dropped);
    for (uint32_t i = 0; i < trace->n_spans; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        add_span(trace, &trace->spans[i], out);
    }
    buf_add_cstr(out, "]}\n");
    return true;
}

void traces_explain(const struct traces *t, struct buf *out)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t oldest_ns = now_ns;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct trace *trace = at(t, i);
        n += trace != NULL;
        if (trace != NULL && trace->end_ns > 0 && trace->start_ns < oldest_ns)
            oldest_ns = trace->start_ns;
    }
    buf_printf(out,
               "The gateway keeps the last %u requests in memory until its end (option --traces); "
               "it has %u now, the oldest of %.0f s ago.",
               t->n, n, seconds(oldest_ns, now_ns));
}
