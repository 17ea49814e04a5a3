/* SPDX-License-Identifier: MIT */
/* chunk: what a load generator wants to know of one chunk of a streamed completion. The JSON is read
 * once from left to right, without a tree: at 100,000 chunks a second a parser would be the
 * bottleneck. Both chat and plain completions; names as in OpenAI's API, reasoning as vLLM has it. */
#ifndef HALO_LOAD_CHUNK_H
#define HALO_LOAD_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

struct chunk {
    struct str text; /* of the first choice, still escaped as in JSON */
    bool has_output; /* text, reasoning or a tool call that is not empty */
    bool has_finish; /* a finish_reason that is not null */
    bool has_usage;
    uint32_t prompt_tokens;
    uint32_t completion_tokens;
    uint32_t cached_tokens;
    bool has_error; /* a top-level "error" that is not null */
    struct str error; /* its "message" or itself, if that is a string */
};

/* False if it is no JSON object, as far as was looked. Texts point into `json`. */
bool chunk_read(struct str json, struct chunk *ret_chunk);

#endif
