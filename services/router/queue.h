/* SPDX-License-Identifier: MIT */
/* queue: the tokenizers, all their requests, and which waiting request is next.
 *
 * Requests that lost their engine come first, in the order in which they lost it. The others stand in
 * the order of their tags, as in start-time fair queueing: a share (an API key; without one a tokenizer)
 * whose turn it was pays the cost of the request, and its next one stands that far behind. What a share
 * did long ago does not count: a newcomer's tag is the virtual time, which goes on by the cost of what is
 * placed, divided by the shares that wait. So a share with one request is next, however many another one
 * has waiting, and none starves. Costs are in QUEUE_COST_TOKEN for each token of the reply, and an eighth
 * of that for each of the prompt; a reply's length is guessed and settled when it ends.
 *
 * Only new requests count towards the limit, and the last quarter of the queue is kept for shares that
 * have less than their part of it. What was accepted is never refused later. */
#ifndef HALO_ROUTER_QUEUE_H
#define HALO_ROUTER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/map.h"
#include "proto/link.h"
#include "services/router/peer.h"
#include "services/router/request.h"

enum { QUEUE_COST_TOKEN = 64 };

/* Whose turn it is. It lives as long as it has requests, a tokenizer's own as long as that. */
struct share {
    uint64_t id; /* 0: a tokenizer's */
    uint64_t finish; /* the tag of its next request, unless virtual time is further */
    uint64_t last_tag; /* of those that wait, the greatest */
    uint32_t n_requests; /* with those in flight */
    uint32_t n_waiting;
};

struct known;

struct tokenizer {
    struct peer peer; /* first */
    TAILQ_ENTRY(tokenizer) entry;
    SLIST_ENTRY(tokenizer) flush; /* among those with events to send */
    struct map by_req; /* its requests by its ids */
    struct request_list owned; /* the same, in the order in which they came */
    struct share share; /* of its requests that name none */
    struct rec_token *events; /* of the step at hand, sent as one frame */
    size_t n_events;
    size_t cap_events;
    uint64_t since_ns; /* when its link came up, or it last said which models it knows */
    bool asks_vocabularies; /* vocabularies.h, as the next two */
    struct known *known;
    size_t n_known;
};

TAILQ_HEAD(tokenizer_list, tokenizer);
SLIST_HEAD(tokenizer_stack, tokenizer);

struct queue {
    struct tokenizer_list tokenizers;
    struct request_list replays;
    struct request_list waiting; /* in the order of their tags */
    struct map shares; /* by id; without those of tokenizers */
    uint64_t virtual_time;
    uint32_t n_shares_waiting; /* shares of which something waits */
    uint32_t n_waiting; /* without the replays */
    uint32_t n_replays;
    uint32_t limit; /* of n_waiting */
    uint64_t n_replays_ever;
};

void queue_init(struct queue *s, uint32_t limit);

/* It has no requests any more. */
void queue_fini(struct queue *s);

struct tokenizer *queue_add_tokenizer(struct queue *s, struct link *l);

/* It has no requests any more. */
void queue_remove_tokenizer(struct queue *s, struct tokenizer *take_tokenizer);

/* Makes the request its tokenizer's. */
void tokenizer_own(struct tokenizer *t, struct request *q);
void tokenizer_disown(struct request *q);

/* Keeps an event for the tokenizer until the end of the step. */
void tokenizer_add_event(struct tokenizer *t, const struct rec_token *event);

/* Gives a new request its share and its tag; reply_tokens is how long its reply may become. Ends it, when
 * it was answered or is not wanted any more. */
void queue_join(struct queue *s, struct request *q, uint32_t reply_tokens);
void queue_quit(struct queue *s, struct request *q);

/* Puts a request that has joined, or that lost its engine, among those that wait. */
void queue_add(struct queue *s, struct request *q);
void queue_add_replay(struct queue *s, struct request *q);

/* Takes out a request that waits: it is placed, or not wanted any more. */
void queue_take(struct queue *s, struct request *q);
void queue_remove(struct queue *s, struct request *q);

/* Whether there is room for one more of the share of a request that has joined. */
bool queue_has_room(const struct queue *s, const struct request *q);

/* Whether one of them comes before the other. */
bool queue_is_before(const struct request *a, const struct request *b);

static inline bool queue_is_empty(const struct queue *s)
{
    return s->n_waiting == 0 && s->n_replays == 0;
}

/* Calls f for each waiting request; f may take out the one it gets. */
void queue_each(struct queue *s, void (*f)(void *ctx, struct request *q), void *ctx);

/* Takes the request out and gives it to an engine (or ends it), and says true; or leaves it. */
typedef bool queue_place_fn(void *ctx, struct request *q);

/* Offers each replay once. */
void queue_offer_replays(struct queue *s, queue_place_fn *place, void *ctx);

/* Offers new requests in order of their tags until one was taken. False if none was. */
bool queue_offer_next(struct queue *s, queue_place_fn *place, void *ctx);

#endif
