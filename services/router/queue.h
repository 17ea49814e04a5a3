/* SPDX-License-Identifier: MIT */
/* queue: the tokenizers, all their requests, and which waiting request is next.
 *
 * Requests that lost their engine come first, in the order in which they lost it. Then each tokenizer
 * has its turn with the oldest of its waiting requests that an engine can take. Only new requests
 * count towards the limit: what was accepted is never refused later. */
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

struct tokenizer {
    struct peer peer; /* first */
    TAILQ_ENTRY(tokenizer) entry;
    SLIST_ENTRY(tokenizer) flush; /* among those with events to send */
    struct map by_req; /* its requests by its ids */
    struct request_list owned; /* the same, in the order in which they came */
    struct request_list waiting;
    struct rec_token *events; /* of the step at hand, sent as one frame */
    size_t n_events;
    size_t cap_events;
};

TAILQ_HEAD(tokenizer_list, tokenizer);
SLIST_HEAD(tokenizer_stack, tokenizer);

struct queue {
    struct tokenizer_list tokenizers; /* whose turn it is comes first */
    struct request_list replays;
    uint32_t n_waiting; /* without the replays */
    uint32_t n_replays;
    uint32_t limit; /* of n_waiting */
    uint64_t n_replays_ever;
};

void queue_init(struct queue *s, uint32_t limit);

struct tokenizer *queue_add_tokenizer(struct queue *s, struct link *l);

/* It has no requests any more. */
void queue_remove_tokenizer(struct queue *s, struct tokenizer *take_tokenizer);

/* Makes the request its tokenizer's. */
void tokenizer_own(struct tokenizer *t, struct request *q);
void tokenizer_disown(struct request *q);

/* Keeps an event for the tokenizer until the end of the step. */
void tokenizer_add_event(struct tokenizer *t, const struct rec_token *event);

/* Puts a request that is new, or that lost its engine, among those that wait. */
void queue_add(struct queue *s, struct request *q);
void queue_add_replay(struct queue *s, struct request *q);

/* Takes out a request that waits. */
void queue_remove(struct queue *s, struct request *q);

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

/* Offers new requests in order of their claim until one was taken. False if none was. */
bool queue_offer_next(struct queue *s, queue_place_fn *place, void *ctx);

#endif
