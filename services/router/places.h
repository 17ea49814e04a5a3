/* SPDX-License-Identifier: MIT */
/* places: tells the tokenizers where their requests stand in the queue. */
#ifndef HALO_ROUTER_PLACES_H
#define HALO_ROUTER_PLACES_H

#include <stdint.h>

#include "services/router/admission.h"
#include "services/router/queue.h"

/* Sends each tokenizer the places that have changed since it was last told: each change of one of the
 * first 32 places of a group, further back only changes of a sixteenth. */
void places_tell(struct queue *s, const struct admission *a, uint64_t now_ns);

#endif
