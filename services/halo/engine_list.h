/* SPDX-License-Identifier: MIT */
/* The router's table of engines, as it is asked for and shown. */
#ifndef HALO_HALO_ENGINE_LIST_H
#define HALO_HALO_ENGINE_LIST_H

#include <jansson.h>

#include "common/buf.h"

/* An array of objects (services/router/control.c says of what); empty when the router does not answer.
 * The caller releases it. */
json_t *engine_list_ask(const char *run);

/* The same, and under "remote" where engines of other machines may call, if they may: an object with both;
 * NULL when the router does not answer. */
json_t *engine_list_ask_all(const char *run);

/* "10.77.0.2:45122" of an engine on another machine, else "". Lent. */
const char *engine_list_address(const json_t *engine);

/* As a table, after an empty line; nothing when it is empty. */
void engine_list_print(const json_t *engines);

/* A line for each on another machine, after an empty one. */
void engine_list_add_remote(const json_t *engines, struct buf *out);

#endif
