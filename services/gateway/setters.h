/* SPDX-License-Identifier: MIT */
/* Setters: how each honoured field of fields.def gets into the request. Type and range have been
 * checked; what remains is checked here. On failure a setter sets *e and returns false. */
#ifndef HALO_GATEWAY_SETTERS_H
#define HALO_GATEWAY_SETTERS_H

#include <jansson.h>

#include "services/gateway/fields.h"

#define SETTER(name)                                                                               \
    bool setters_##name(struct request *r, const struct field *f, json_t *v, struct api_error *e)

/* Plain members, by f->offset. */
SETTER(f32);
SETTER(u32);
SETTER(bool);

SETTER(model);
SETTER(messages);
SETTER(prompt);
SETTER(n);
SETTER(best_of);
SETTER(stop);
SETTER(stop_token_ids);
SETTER(top_p);
SETTER(top_k);
SETTER(repeat_penalty);
SETTER(seed);
SETTER(logit_bias);
SETTER(stream_options);
SETTER(top_logprobs);
SETTER(completion_logprobs);
SETTER(add_generation_prompt);
SETTER(chat_template_kwargs);
SETTER(service_tier);
SETTER(cache_salt);
SETTER(request_id);

#endif
