/* SPDX-License-Identifier: MIT */
/* lanes: what the router says about the two lanes. */
#ifndef HALO_HALO_LANES_H
#define HALO_HALO_LANES_H

#include <jansson.h>
#include <stdbool.h>

/* The router's answer to a command about lanes (services/router/lane_verbs.h), an object; NULL, and a
 * line of `verb` printed, when it refuses or is not there. take_args may be NULL. */
json_t *lanes_ask(const char *verb, const char *run, const char *command, json_t *take_args);

/* Path of the burn-in log of the stack in `run`, as its router says; without a router, where one without
 * --state would write it. The caller frees it. */
char *lanes_log_path(const char *run);

/* The engines of a lane (0 is stable) among those that the router lists, in service. A new array. */
json_t *lanes_engines(const char *run, int lane);

#endif
