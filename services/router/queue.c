/* SPDX-License-Identifier: MIT */
#include "services/router/queue.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/mem.h"

void queue_init(struct queue *s, uint32_t limit)
{
    *s = (struct queue){.limit = limit};
    TAILQ_INIT(&s->tokenizers);
    TAILQ_INIT(&s->replays);
}

/* ---- tokenizers -------------------------------------------------------------------------------- */

struct tokenizer *queue_add_tokenizer(struct queue *s, struct link *l)
{
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    t->peer.kind = PEER_TOKENIZER;
    t->peer.link = l;
    TAILQ_INIT(&t->owned);
    TAILQ_INIT(&t->waiting);
    TAILQ_INSERT_TAIL(&s->tokenizers, t, entry);
    return t;
}

void queue_remove_tokenizer(struct queue *s, struct tokenizer *take_tokenizer)
{
    struct tokenizer *t = take_tokenizer;
    ASSERT(TAILQ_EMPTY(&t->owned) && TAILQ_EMPTY(&t->waiting));
    TAILQ_REMOVE(&s->tokenizers, t, entry);
    map_fini(&t->by_req);
    free(t->events);
    free(t);
}

void tokenizer_own(struct tokenizer *t, struct request *q)
{
    q->owner = t;
    map_put(&t->by_req, q->req, q);
    TAILQ_INSERT_TAIL(&t->owned, q, owned);
}

void tokenizer_disown(struct request *q)
{
    ASSERT(map_remove(&q->owner->by_req, q->req) == q);
    TAILQ_REMOVE(&q->owner->owned, q, owned);
    q->owner = NULL;
}

void tokenizer_add_event(struct tokenizer *t, const struct rec_token *event)
{
    if (t->n_events == t->cap_events) {
        t->cap_events = t->cap_events > 0 ? t->cap_events * 2 : 64;
        t->events = mem_resize(t->events, t->cap_events, sizeof *t->events);
    }
    t->events[t->n_events++] = *event;
}

/* ---- waiting requests -------------------------------------------------------------------------- */

void queue_add(struct queue *s, struct request *q)
{
    TAILQ_INSERT_TAIL(&q->owner->waiting, q, place);
    s->n_waiting++;
}

void queue_add_replay(struct queue *s, struct request *q)
{
    q->is_replay = true;
    TAILQ_INSERT_TAIL(&s->replays, q, place);
    s->n_replays++;
    s->n_replays_ever++;
}

void queue_remove(struct queue *s, struct request *q)
{
    ASSERT(q->engine == NULL);
    if (q->is_replay) {
        TAILQ_REMOVE(&s->replays, q, place);
        s->n_replays--;
        q->is_replay = false;
    } else {
        TAILQ_REMOVE(&q->owner->waiting, q, place);
        s->n_waiting--;
    }
}

void queue_each(struct queue *s, void (*f)(void *ctx, struct request *q), void *ctx)
{
    struct request *next;
    for (struct request *q = TAILQ_FIRST(&s->replays); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        f(ctx, q);
    }
    for (struct tokenizer *t = TAILQ_FIRST(&s->tokenizers); t != NULL; t = TAILQ_NEXT(t, entry)) {
        for (struct request *q = TAILQ_FIRST(&t->waiting); q != NULL; q = next) {
            next = TAILQ_NEXT(q, place);
            f(ctx, q);
        }
    }
}

void queue_offer_replays(struct queue *s, queue_place_fn *place, void *ctx)
{
    struct request *next;
    for (struct request *q = TAILQ_FIRST(&s->replays); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        (void)place(ctx, q);
    }
}

bool queue_offer_next(struct queue *s, queue_place_fn *place, void *ctx)
{
    for (struct tokenizer *t = TAILQ_FIRST(&s->tokenizers); t != NULL; t = TAILQ_NEXT(t, entry)) {
        struct request *next;
        for (struct request *q = TAILQ_FIRST(&t->waiting); q != NULL; q = next) {
            next = TAILQ_NEXT(q, place);
            if (!place(ctx, q))
                continue;
            TAILQ_REMOVE(&s->tokenizers, t, entry);
            TAILQ_INSERT_TAIL(&s->tokenizers, t, entry);
            return true;
        }
    }
    return false;
}
