/* SPDX-License-Identifier: MIT */
/* status: what the router tells every tokenizer about models and load, and the manager in words. */
#ifndef HALO_ROUTER_STATUS_H
#define HALO_ROUTER_STATUS_H

#include "services/router/engines.h"
#include "services/router/queue.h"

enum { STATUS_MODELS_MAX = 64 };

struct status {
    struct frame_status frame; /* its pointers lead into models and the engines */
    struct rec_model models[STATUS_MODELS_MAX];
    struct rec_model others[STATUS_MODELS_MAX];
};

/* Fills in the models (each once, with the least context of its engines; the stable lane's first, and in
 * it the models of the engines with the first names), those of engines that are out of service, and sums
 * of the gauges. Valid until the table of engines changes. */
void status_fill(struct status *s, const struct engines *engines, const struct queue *queue,
                 const struct lanes *lanes);

#endif
