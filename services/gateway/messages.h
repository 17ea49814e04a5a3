/* SPDX-License-Identifier: MIT */
/* Messages: the conversation of a chat request, made plain for the tokenizer: roles it knows, and
 * every content a string. */
#ifndef HALO_GATEWAY_MESSAGES_H
#define HALO_GATEWAY_MESSAGES_H

#include <jansson.h>

#include "services/gateway/request.h"

/* Sets r->prompts to one chat prompt. v is an array of at most REQUEST_MESSAGES_MAX. */
bool messages_set(struct request *r, json_t *v, struct api_error *e);

#endif
