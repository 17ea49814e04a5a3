/* SPDX-License-Identifier: MIT */
#include "services/router/places.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "proto/link.h"

enum { NEAR = 32, PART = 16, NS_PER_MS = 1000000 };

static bool is_news(uint32_t told, uint32_t position)
{
    uint32_t moved = told > position ? told - position : position - told;
    return moved > 0 && (told == 0 || position <= NEAR || moved >= position / PART);
}

/* Gathers the news for one tokenizer; items has room for all that wait. */
static size_t gather(struct queue *s, const struct tokenizer *t, const struct admission *a,
                     uint64_t now_ns, struct rec_place *items)
{
    uint32_t n_ahead[LANES] = {0};
    size_t n = 0;
    for (struct request *q = TAILQ_FIRST(&s->waiting); q != NULL; q = TAILQ_NEXT(q, place)) {
        uint32_t group = q->group;
        uint32_t position = ++n_ahead[group];
        if (q->owner != t || !is_news(q->told_position, position))
            continue;
        q->told_position = position;
        uint64_t wait_ms = admission_wait_ns(a, q->group, position, now_ns) / NS_PER_MS;
        items[n++] = (struct rec_place){
            .req = q->req,
            .position = position,
            .wait_ms = wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX,
        };
    }
    return n;
}

void places_tell(struct queue *s, const struct admission *a, uint64_t now_ns)
{
    if (s->n_waiting == 0)
        return;
    struct rec_place *items = mem_zalloc(s->n_waiting, sizeof *items);
    for (struct tokenizer *t = TAILQ_FIRST(&s->tokenizers); t != NULL; t = TAILQ_NEXT(t, entry)) {
        if (link_peer_protocol(t->peer.link) < 2)
            continue;
        struct frame_queued f = {.items = items, .n_items = gather(s, t, a, now_ns, items)};
        enum err e = f.n_items > 0 ? link_send(t->peer.link, FRAME_queued, &f) : ERR_OK;
        if (e != ERR_OK && e != ERR_CLOSED)
            log_error("places-not-sent", S("to", t->peer.name), S("err", err_name(e)));
    }
    free(items);
}
