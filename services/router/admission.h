/* SPDX-License-Identifier: MIT */
/* admission: whether a request that cannot start at once may wait, and when it shall come again if not.
 *
 * It looks at the request's place in the queue, the rate at which the engines of its group were seen to
 * take requests while all their places were taken, and how long replies took. A request may wait unless
 * - the queue is full for its share (queue_has_room),
 * - it would wait longer than longest_wait_ms,
 * - its deadline would pass before its end, even if one more share came and took every other turn, or
 * - it would come before another one in the queue, and that one would miss its deadline for it.
 * As long as nothing was measured, only the first holds. */
#ifndef HALO_ROUTER_ADMISSION_H
#define HALO_ROUTER_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/outflow.h"
#include "services/router/engines.h"
#include "services/router/queue.h"
#include "services/router/request.h"

enum admit {
    ADMIT_YES,
    ADMIT_FULL, /* no room for its share */
    ADMIT_TOO_SLOW, /* beyond longest_wait_ms */
    ADMIT_TOO_LATE, /* beyond its deadline */
    ADMIT_OTHERS_LATE, /* beyond another's deadline */
};

struct admission {
    struct outflow outflows[LANES];
    uint32_t longest_wait_ms;
    double service_ns; /* mean, from an engine's taking it to the end; 0: not known */
    double reply_tokens; /* mean */
};

struct answer {
    enum admit admit;
    uint32_t position; /* 1 is next */
    uint64_t wait_ns; /* until an engine takes it; 0: not known */
    uint32_t retry_ms; /* unless it is ADMIT_YES */
};

void admission_init(struct admission *a, uint32_t longest_wait_ms);

/* How long the request's reply may be expected to become, for its tag. */
uint32_t admission_guess_tokens(const struct admission *a, const struct request *q);

/* Asks for a request that has joined the queue and does not stand in it. */
struct answer admission_ask(struct admission *a, const struct queue *s, const struct request *q,
                            uint64_t now_ns);

/* A request is about to leave its engine. */
void admission_note_end(struct admission *a, const struct request *q, uint64_t now_ns);

/* Whether all places of a group are taken. */
void admission_note_full(struct admission *a, uint32_t group, bool is_full, uint64_t now_ns);

/* How long the request at a position of a group's queue waits; 0: not known. */
uint64_t admission_wait_ns(const struct admission *a, uint32_t group, uint32_t position,
                           uint64_t now_ns);

#endif
