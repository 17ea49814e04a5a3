/* SPDX-License-Identifier: MIT */
#include "services/router/queue.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

void queue_init(struct queue *s, uint32_t limit)
{
    *s = (struct queue){.limit = limit};
    TAILQ_INIT(&s->tokenizers);
    TAILQ_INIT(&s->replays);
    TAILQ_INIT(&s->waiting);
}

void queue_fini(struct queue *s)
{
    map_fini(&s->shares);
}

/* ---- tokenizers -------------------------------------------------------------------------------- */

struct tokenizer *queue_add_tokenizer(struct queue *s, struct link *l)
{
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    t->peer.kind = PEER_TOKENIZER;
    t->peer.link = l;
    t->since_ns = clock_now_ns();
    TAILQ_INIT(&t->owned);
    TAILQ_INSERT_TAIL(&s->tokenizers, t, entry);
    return t;
}

void queue_remove_tokenizer(struct queue *s, struct tokenizer *take_tokenizer)
{
    struct tokenizer *t = take_tokenizer;
    ASSERT(TAILQ_EMPTY(&t->owned));
    TAILQ_REMOVE(&s->tokenizers, t, entry);
    map_fini(&t->by_req);
    free(t->events);
    free(t->known);
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

/* ---- shares ------------------------------------------------------------------------------------ */

enum { PROMPT_TOKENS = 8 }; /* as dear as one of the reply: prefill is a batch */

static struct share *share_of(struct queue *s, const struct request *q)
{
    uint64_t id = q->submit.share;
    if (id == 0)
        return &q->owner->share;
    struct share *h = map_get(&s->shares, id);
    if (h != NULL)
        return h;
    h = mem_zalloc(1, sizeof *h);
    h->id = id;
    map_put(&s->shares, id, h);
    return h;
}

static uint64_t cost_of(const struct request *q, uint64_t reply_tokens)
{
    return (reply_tokens + 1) * QUEUE_COST_TOKEN +
           q->submit.n_prompt * (QUEUE_COST_TOKEN / PROMPT_TOKENS);
}

void queue_join(struct queue *s, struct request *q, uint32_t reply_tokens)
{
    struct share *h = share_of(s, q);
    q->share = h;
    q->cost = cost_of(q, reply_tokens);
    q->rank = h->n_requests++;
    q->tag = h->finish > s->virtual_time ? h->finish : s->virtual_time;
    if (h->n_waiting > 0 && q->tag < h->last_tag)
        q->tag = h->last_tag; /* in the order in which they came */
    h->finish = q->tag + q->cost;
}

/* Takes `from` and puts `to` on the share's account. */
static void settle(struct share *h, uint64_t from, uint64_t to)
{
    h->finish += to;
    h->finish = h->finish > from ? h->finish - from : 0;
}

void queue_quit(struct queue *s, struct request *q)
{
    struct share *h = q->share;
    q->share = NULL;
    settle(h, q->cost, q->placed_ns > 0 ? cost_of(q, q->n_ids) : 0);
    if (--h->n_requests > 0)
        return;
    h->finish = 0;
    if (h->id == 0)
        return;
    ASSERT(map_remove(&s->shares, h->id) == h);
    free(h);
}

bool queue_has_room(const struct queue *s, const struct request *q)
{
    if (s->n_waiting >= s->limit)
        return false;
    if (q->submit.share == 0 || s->n_waiting < s->limit - s->limit / 4)
        return true;
    uint32_t n_shares = s->n_shares_waiting + (q->share->n_waiting == 0);
    return q->share->n_waiting < s->limit / (n_shares + 1);
}

/* ---- waiting requests -------------------------------------------------------------------------- */

bool queue_is_before(const struct request *a, const struct request *b)
{
    return a->tag != b->tag ? a->tag < b->tag : a->rank < b->rank;
}

void queue_add(struct queue *s, struct request *q)
{
    struct request *at = TAILQ_LAST(&s->waiting, request_list);
    while (at != NULL && queue_is_before(q, at))
        at = TAILQ_PREV(at, request_list, place);
    if (at != NULL)
        TAILQ_INSERT_AFTER(&s->waiting, at, q, place);
    else
        TAILQ_INSERT_HEAD(&s->waiting, q, place);
    q->share->last_tag = q->tag;
    s->n_shares_waiting += q->share->n_waiting++ == 0;
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
        TAILQ_REMOVE(&s->waiting, q, place);
        s->n_waiting--;
        s->n_shares_waiting -= --q->share->n_waiting == 0;
    }
}

void queue_take(struct queue *s, struct request *q)
{
    if (!q->is_replay) {
        s->virtual_time += q->cost / s->n_shares_waiting;
        s->virtual_time = s->virtual_time > q->tag ? s->virtual_time : q->tag;
    }
    queue_remove(s, q);
}

void queue_each(struct queue *s, void (*f)(void *ctx, struct request *q), void *ctx)
{
    struct request *next;
    for (struct request *q = TAILQ_FIRST(&s->replays); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        f(ctx, q);
    }
    for (struct request *q = TAILQ_FIRST(&s->waiting); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        f(ctx, q);
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
    struct request *next;
    for (struct request *q = TAILQ_FIRST(&s->waiting); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        if (place(ctx, q))
            return true;
    }
    return false;
}
