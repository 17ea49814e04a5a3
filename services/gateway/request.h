/* SPDX-License-Identifier: MIT */
/* Request: what a client asked of /chat/completions or /completions, checked. Everything here is in
 * range; what depends on the model is checked by request_fit. */
#ifndef HALO_GATEWAY_REQUEST_H
#define HALO_GATEWAY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/str.h"
#include "proto/frames.h"
#include "services/gateway/errors.h"
#include "services/gateway/upstream.h"

enum {
    REQUEST_CHOICES_MAX = 8, /* n and best_of */
    REQUEST_PROMPTS_MAX = 32,
    REQUEST_SEQUENCES_MAX = 64, /* prompts times best_of */
    REQUEST_STOPS_MAX = 16,
    REQUEST_BIASES_MAX = 1024,
    REQUEST_MESSAGES_MAX = 4096,
};

enum endpoint { ENDPOINT_CHAT = 1, ENDPOINT_COMPLETIONS = 2 }; /* a set in field tables */

struct prompt {
    enum prompt_kind kind;
    struct str text; /* PROMPT_TEXT, and PROMPT_CHAT's JSON array */
    const uint32_t *ids;
    size_t n_ids;
};

struct request {
    enum endpoint endpoint;
    struct arena arena; /* everything below points into it */
    struct str model;
    struct prompt *prompts;
    size_t n_prompts;
    struct rec_sampling sampling;
    struct str *stops;
    size_t n_stops;
    struct str template_args; /* JSON object, or empty */
    struct str id; /* request_id, or empty */
    uint64_t tenant;
    uint32_t lane;
    uint32_t keep_s; /* how long a stream waits for a client that left; 0: it is cancelled */
    uint32_t n;
    uint32_t best_of; /* at least n */
    uint32_t max_tokens; /* 0: not given */
    uint32_t max_completion_tokens; /* 0: not given */
    bool has_seed;
    bool has_top_logprobs;
    bool has_stream_options;
    bool has_add_generation_prompt;
    bool has_service_tier;
    bool stream;
    bool include_usage;
    bool echo;
    bool logprobs;
    bool add_generation_prompt;
    bool continue_final;
    bool include_stop;
};

/* Parses a body. On failure sets *ret_error and returns false. request_fini in any case. */
bool request_parse(struct request *r, enum endpoint endpoint, struct str body, uint64_t max_body,
                   struct api_error *ret_error);
void request_fini(struct request *r);

/* Checks token ids and lengths against the model and sets the default of max_tokens. */
bool request_fit(struct request *r, const struct catalog_model *m, struct api_error *ret_error);

#endif
