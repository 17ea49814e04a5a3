/* SPDX-License-Identifier: MIT */
#include "proto/span.h"

#include <string.h>
#include <unistd.h>

struct rec_span span_of(enum span_kind kind, uint64_t start_ns, uint64_t end_ns)
{
    return (struct rec_span){
        .kind = (uint32_t)kind,
        .start_ns = start_ns,
        .ns = end_ns > start_ns ? end_ns - start_ns : 0,
        .pid = (uint32_t)getpid(),
    };
}

void span_list_add(struct span_list *l, const struct rec_span *s)
{
    if (l->n == SPAN_LIST_MAX) {
        memmove(l->items, l->items + 1, (SPAN_LIST_MAX - 1) * sizeof *l->items);
        l->n--;
    }
    l->items[l->n++] = *s;
}

struct rec_span *span_list_join(struct span_list *l, const struct rec_span *came, size_t n,
                                struct arena *arena, size_t *ret_n)
{
    if (n > SPAN_EVENT_MAX - l->n)
        n = SPAN_EVENT_MAX - l->n;
    struct rec_span *all = arena_zalloc(arena, n + l->n, sizeof *all);
    *ret_n = 0;
    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        all[(*ret_n)++] = came[i];
    for (size_t i = 0; i < l->n; i++) {
        struct rec_span *s = &all[(*ret_n)++];
        *s = l->items[i];
        const char *at = s->at.len > 0 ? arena_strdup(arena, s->at) : NULL;
        s->at = at != NULL ? (struct str){at, s->at.len} : STR_LIT("");
    }
    l->n = 0;
    return all;
}

static const struct {
    const char *name;
    const char *process;
} NAMES[SPAN_KINDS] = {
#define SPAN(id, number, process, doc) [number] = {#id, #process},
#include "proto/span.def"
};

const char *span_name(uint32_t kind)
{
    return kind < SPAN_KINDS && NAMES[kind].name != NULL ? NAMES[kind].name : "unknown";
}

const char *span_process(uint32_t kind)
{
    return kind < SPAN_KINDS && NAMES[kind].process != NULL ? NAMES[kind].process : "unknown";
}
