/* SPDX-License-Identifier: MIT */
#include "services/halo/waterfall.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "proto/span.h"
#include "services/halo/print.h"

enum { BAR_CELLS = 40, SPANS_MAX = 256 };

/* How deep a span stands in the picture: each process's under the one that asked it. */
static const struct {
    const char *name;
    unsigned depth;
} DEPTHS[] = {
    {"tokenize", 1}, {"router", 1}, {"detokenize", 1}, {"route", 2},
    {"engine", 2},   {"queue", 3},  {"prefill", 3},    {"decode", 3},
};

struct span {
    const char *name;
    const char *process;
    const char *at;
    const char *how;
    double start_ms;
    double ms;
    double busy_ms;
    json_int_t pid;
    json_int_t choice;
    json_int_t tokens;
};

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

static json_int_t integer(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static double number(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

static int compare(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;
    if (x->choice != y->choice)
        return x->choice < y->choice ? -1 : 1;
    if (x->start_ms < y->start_ms || x->start_ms > y->start_ms)
        return x->start_ms < y->start_ms ? -1 : 1;
    return (x->ms < y->ms) - (x->ms > y->ms);
}

/* The spans by choice and beginning; they borrow from the trace. */
static size_t read_spans(const json_t *trace, struct span *spans)
{
    const json_t *list = json_object_get(trace, "spans");
    size_t n = json_array_size(list) < SPANS_MAX ? json_array_size(list) : SPANS_MAX;
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(list, i);
        spans[i] = (struct span){
            .name = text(s, "name"),
            .process = text(s, "process"),
            .at = text(s, "at"),
            .how = text(s, "how"),
            .start_ms = number(s, "start_ns") * 1e-6,
            .ms = number(s, "ns") * 1e-6,
            .busy_ms = number(s, "busy_ns") * 1e-6,
            .pid = integer(s, "pid"),
            .choice = integer(s, "choice"),
            .tokens = integer(s, "tokens"),
        };
    }
    qsort(spans, n, sizeof *spans, compare);
    return n;
}

/* ---- for a terminal ------------------------------------------------------------------------------ */

static unsigned depth_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(DEPTHS); i++) {
        if (strcmp(DEPTHS[i].name, name) == 0)
            return DEPTHS[i].depth;
    }
    return 0;
}

/* The end of the last span, or of the request if that is later. */
static double end_of(const json_t *trace, const struct span *spans, size_t n)
{
    double end = number(trace, "s") * 1e3;
    for (size_t i = 0; i < n; i++) {
        if (spans[i].start_ms + spans[i].ms > end)
            end = spans[i].start_ms + spans[i].ms;
    }
    return end > 0 ? end : 1;
}

static void add_bar(const struct span *s, double end_ms, struct buf *out)
{
    bool is_whole = s->busy_ms >= s->ms;
    size_t from = (size_t)(s->start_ms / end_ms * BAR_CELLS);
    size_t until = (size_t)((s->start_ms + s->ms) / end_ms * BAR_CELLS);
    if (from >= BAR_CELLS)
        from = BAR_CELLS - 1;
    if (until <= from)
        until = from + 1;
    for (size_t i = 0; i < BAR_CELLS; i++) {
        bool is_inside = i >= from && i < until;
        buf_add_cstr(out, !is_inside ? " " : is_whole ? "█" : "░");
    }
}

static void add_line(const struct span *s, double end_ms, struct buf *out)
{
    bool is_good = strcmp(s->how, "done") == 0;
    unsigned indent = 2 * depth_of(s->name);
    const char *who = s->at[0] != '\0' ? s->at : s->process;
    buf_printf(out, "%*s%-*s %-10.19s %s", (int)indent, "", 16 - (int)indent, s->name, who,
               is_good ? "" : print_color(COLOR_BAD));
    add_bar(s, end_ms, out);
    buf_printf(out, "%s %10.3f %10.3f", is_good ? "" : print_color(COLOR_OFF), s->start_ms, s->ms);
    if (s->busy_ms < s->ms)
        buf_printf(out, "  busy %.3f", s->busy_ms);
    if (s->tokens > 0)
        buf_printf(out, "  %lld %s", (long long)s->tokens,
                   strcmp(s->name, "write") == 0 ? "writes" : "tokens");
    if (!is_good)
        buf_printf(out, "  %s%s%s", print_color(COLOR_BAD), s->how, print_color(COLOR_OFF));
    buf_add_char(out, '\n');
}

static void add_head(const json_t *trace, struct buf *out)
{
    const json_t *first = json_object_get(trace, "ttft_s");
    buf_printf(out, "%s   %s   %s after %.3f ms", text(trace, "id"), text(trace, "model"),
               text(trace, "end"), number(trace, "s") * 1e3);
    if (json_is_number(first))
        buf_printf(out, ", first token after %.3f ms", json_number_value(first) * 1e3);
    buf_printf(out, "\n%lld prompt tokens (%lld cached), %lld generated\ntrace %s",
               (long long)integer(trace, "prompt_tokens"),
               (long long)integer(trace, "cached_tokens"), (long long)integer(trace, "tokens"),
               text(trace, "trace_id"));
    if (text(trace, "parent_id")[0] != '\0')
        buf_printf(out, ", asked for by span %s", text(trace, "parent_id"));
    buf_add_char(out, '\n');
}

void waterfall_draw(const json_t *trace, struct buf *out)
{
    struct span *spans = mem_zalloc(SPANS_MAX, sizeof *spans);
    size_t n = read_spans(trace, spans);
    double end_ms = end_of(trace, spans, n);
    add_head(trace, out);
    buf_printf(out, "\n%-16s %-10s %-40s %10s %10s\n", "SPAN", "PROCESS", "", "FROM ms", "FOR ms");
    for (size_t i = 0; i < n; i++) {
        if (integer(trace, "choices") > 1 && (i == 0 || spans[i].choice != spans[i - 1].choice))
            buf_printf(out, "choice %lld\n", (long long)spans[i].choice);
        add_line(&spans[i], end_ms, out);
    }
    if (integer(trace, "dropped_spans") > 0)
        buf_printf(out, "%lld more spans were not kept\n",
                   (long long)integer(trace, "dropped_spans"));
    free(spans);
}

/* ---- for Chrome ---------------------------------------------------------------------------------- */

static unsigned kind_of(const char *name)
{
    unsigned kind = SPAN_KINDS - 1;
    while (kind > 0 && strcmp(span_name(kind), name) != 0)
        kind--;
    return kind;
}

static void name_lane(json_t *events, const char *what, json_int_t pid, json_int_t tid,
                      const char *name)
{
    (void)json_array_append_new(events,
                                json_pack("{s:s, s:s, s:I, s:I, s:{s:s}}", "name", what, "ph", "M",
                                          "pid", pid, "tid", tid, "args", "name", name));
}

json_t *waterfall_chrome(const json_t *trace)
{
    struct span *spans = mem_zalloc(SPANS_MAX, sizeof *spans);
    size_t n = read_spans(trace, spans);
    json_t *events = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct span *s = &spans[i];
        /* Spans of one process may overlap without one being within the other. */
        json_int_t lane = s->choice * SPAN_KINDS + kind_of(s->name);
        bool is_own = s->at[0] != '\0' && strcmp(s->process, "engine") == 0;
        name_lane(events, "process_name", s->pid, 0, is_own ? s->at : s->process);
        name_lane(events, "thread_name", s->pid, lane, s->name);
        json_t *event =
            json_pack("{s:s, s:s, s:s, s:f, s:f, s:I, s:I, s:{s:s, s:s, s:I, s:I, s:f}}", "name",
                      s->name, "cat", "halo", "ph", "X", "ts", s->start_ms * 1e3, "dur",
                      s->ms * 1e3, "pid", s->pid, "tid", lane, "args", "how", s->how, "at", s->at,
                      "tokens", s->tokens, "choice", s->choice, "busy_ms", s->busy_ms);
        ASSERT(event != NULL);
        (void)json_array_append_new(events, event);
    }
    free(spans);
    return json_pack("{s:o, s:s, s:{s:s, s:s}}", "traceEvents", events, "displayTimeUnit", "ms",
                     "otherData", "id", text(trace, "id"), "trace_id", text(trace, "trace_id"));
}
