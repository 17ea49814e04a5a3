/* SPDX-License-Identifier: MIT */
/* prompts: what the requests ask. Drawn from a seed, or read from a file; conversations grow by what
 * was answered. */
#ifndef HALO_LOAD_PROMPTS_H
#define HALO_LOAD_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "proto/frames.h"

struct prompts_config {
    enum prompt_kind kind; /* PROMPT_CHAT, PROMPT_TEXT or PROMPT_IDS */
    uint32_t input_len; /* words or token ids of each message */
    double range; /* lengths are drawn from input_len * [1 - range, 1 + range] */
    uint32_t prefix_len; /* words or ids before it that requests share */
    uint32_t n_prefixes; /* how many such beginnings there are; at least 1 */
    uint32_t n_turns; /* requests of a conversation; at least 1 */
    uint32_t vocab; /* PROMPT_IDS: ids are below this */
    uint32_t max_tokens;
    uint64_t seed;
    const char *file; /* JSON lines instead; NULL: none */
};

/* One request's question. */
struct prompt {
    enum prompt_kind kind;
    struct buf text; /* PROMPT_CHAT: JSON array of messages; PROMPT_TEXT: the text */
    uint32_t *ids;
    size_t n_ids;
    uint32_t max_tokens;
    uint64_t seed; /* of the reply */
    struct talk *talk; /* the conversation it belongs to; NULL if none goes on */
};

struct prompts;

/* ERR_IO, ERR_INVALID: the file; `why` is one line. */
MUST_CHECK enum err prompts_new(const struct prompts_config *config, char *why, size_t cap_why,
                                struct prompts **ret_prompts);
void prompts_free(struct prompts *p);

/* The next question: the next turn of a conversation whose reply has come, else a new one. */
void prompts_next(struct prompts *p, struct prompt *ret_prompt);

/* The reply to a prompt: text as in JSON, or ids. Needed only if it has a talk, which is then the
 * prompts' again; is_whole says whether the conversation can go on. */
void prompts_answer(struct prompts *p, struct prompt *q, struct str text, const uint32_t *ids,
                    size_t n_ids, bool is_whole);

void prompt_fini(struct prompt *q);

/* A word that fake replies are made of. */
struct str prompts_word(uint32_t i);

#endif
