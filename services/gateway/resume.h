/* SPDX-License-Identifier: MIT */
/* Resume: what clients ask of /v1/streams/{id}. GET goes on with a stream after the event that
 * Last-Event-ID names, or else ?from=N, or else from its beginning; DELETE ends it. A stream of a
 * process that handed its sockets over to us is asked for there (relay.h). */
#ifndef HALO_GATEWAY_RESUME_H
#define HALO_GATEWAY_RESUME_H

#include <stdbool.h>
#include <stdint.h>

#include "services/gateway/gateway.h"

/* Whether it has the form of an id. */
bool resume_is_id(struct str id);

/* The event after which to go on; neither given is 0. What browsers send when they come back by
 * themselves, Last-Event-ID, counts more than the query of the URL they had. False: *ret_param is
 * what is no number, or an unknown parameter. */
bool resume_parse_from(struct str query, struct str last_event_id, uint64_t *ret_from,
                       const char **ret_param);

/* Answers GET and DELETE; `key` is whose request it is, or NULL. */
void resume_get(struct gateway *g, struct exchange *take_x, struct str id, const struct key *key);
void resume_delete(struct gateway *g, struct exchange *take_x, struct str id,
                   const struct key *key);

#endif
