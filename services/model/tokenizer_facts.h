/* SPDX-License-Identifier: MIT */
/* tokenizer_facts: what is known about published tokenizers and what some files do not say. */
#ifndef HALO_MODEL_TOKENIZER_FACTS_H
#define HALO_MODEL_TOKENIZER_FACTS_H

#include <stddef.h>

#include "services/model/source.h"

/* The pre-tokenizer of the published vocabulary that has so many merges, or NULL: Llama 3 has 280147,
 * Qwen 2 and 3 have 151387, GPT-2 has 50000. */
const char *tokenizer_facts_pre(size_t n_merges);

/* Appends an id to s->config.eos_ids unless it is there or they are full. */
void tokenizer_facts_add_end(struct source *s, uint32_t id);

/* Appends the control tokens that end a turn in published chat formats, such as <|eot_id|>: a file's own
 * eos token often is another one, and replies would go on. */
void tokenizer_facts_add_turn_ends(struct source *s);

/* The chat template of BitNet b1.58 2B-4T, as its tokenizer_config.json has it. */
extern const char TOKENIZER_FACTS_BITNET_TEMPLATE[];

#endif
