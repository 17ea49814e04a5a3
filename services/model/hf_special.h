/* SPDX-License-Identifier: MIT */
/* hf_special: which tokens begin and end texts, and the chat template, from tokenizer_config.json and
 * the "post_processor" of tokenizer.json. */
#ifndef HALO_MODEL_HF_SPECIAL_H
#define HALO_MODEL_HF_SPECIAL_H

#include <jansson.h>

#include "services/model/source.h"

/* s->tokenizer is filled, and s->config holds what config.json says about bos and eos; the tokenizer
 * goes first. Both files may be NULL. s->chat_template is set if `settings` has one. */
void hf_special_read(const json_t *settings, const json_t *tokenizer, struct source *s);

#endif
