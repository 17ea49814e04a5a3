/* SPDX-License-Identifier: MIT */
/* The router's table of engines, as it is asked for and shown. */
#ifndef HALO_HALO_ENGINE_LIST_H
#define HALO_HALO_ENGINE_LIST_H

#include <jansson.h>

/* An array of objects (services/router/control.c says of what); empty when the router does not answer.
 * The caller releases it. */
json_t *engine_list_ask(const char *run);

/* As a table, after an empty line; nothing when it is empty. */
void engine_list_print(const json_t *engines);

#endif
