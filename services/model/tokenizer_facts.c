/* SPDX-License-Identifier: MIT */
#include "services/model/tokenizer_facts.h"

#include "common/check.h"

enum {
    TYPE_CONTROL = 3,
};

static const struct {
    size_t n_merges;
    const char *pre_tokenizer;
} MERGES[] = {{280147, "llama-3"}, {151387, "qwen2"}, {50000, "gpt-2"}};

static const char *const TURN_ENDS[] = {
    "<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>",
};

const char TOKENIZER_FACTS_BITNET_TEMPLATE[] =
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | "
    "trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif "
    "%}";

const char *tokenizer_facts_pre(size_t n_merges)
{
    for (size_t i = 0; i < ARRAY_LEN(MERGES); i++) {
        if (MERGES[i].n_merges == n_merges)
            return MERGES[i].pre_tokenizer;
    }
    return NULL;
}

void tokenizer_facts_add_end(struct source *s, uint32_t id)
{
    struct source_config *c = &s->config;
    for (uint32_t i = 0; i < c->n_eos; i++) {
        if (c->eos_ids[i] == id)
            return;
    }
    if (c->n_eos < SOURCE_EOS_MAX)
        c->eos_ids[c->n_eos++] = id;
}

void tokenizer_facts_add_turn_ends(struct source *s)
{
    const struct source_tokenizer *t = &s->tokenizer;
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        for (size_t i = 0; i < ARRAY_LEN(TURN_ENDS) && t->types[id] == TYPE_CONTROL; i++) {
            if (str_is(source_token(t, id), TURN_ENDS[i]))
                tokenizer_facts_add_end(s, id);
        }
    }
}
