/* SPDX-License-Identifier: MIT */
/* probe: single questions to a gateway before the load begins. They turn the loop while they wait, so
 * that a fake neighbour on the same loop can answer the gateway meanwhile. */
#ifndef HALO_LOAD_PROBE_H
#define HALO_LOAD_PROBE_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/loop.h"
#include "services/load/url.h"

enum { PROBE_BODY_MAX = 256 * 1024 };

/* GET path; the status, or 0 with errno when there was no answer within timeout_ms. */
int probe_get(struct loop *loop, const struct url *url, const char *headers, const char *path,
              uint32_t timeout_ms, struct buf *ret_body);

/* Asks /readyz until it says yes. False if it does not within timeout_ms. */
bool probe_wait_ready(struct loop *loop, const struct url *url, uint32_t timeout_ms);

/* Name of the first model served. False, and a line in `why`, if there is none. */
bool probe_model(struct loop *loop, const struct url *url, const char *headers, char *ret_name,
                 size_t cap_name, char *why, size_t cap_why);

#endif
