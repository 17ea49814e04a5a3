/* SPDX-License-Identifier: MIT */
/* tokenizer_file: a tokenizer from whatever holds one: a Hugging Face directory, a GGUF file (also one
 * without weights), an .htok file. */
#ifndef HALO_MODEL_TOKENIZER_FILE_H
#define HALO_MODEL_TOKENIZER_FILE_H

#include "services/model/source.h"

/* Fills s->tokenizer, the tokenizer's fields of s->config and, where there is one, s->chat_template.
 * `rule` is the pre-tokenizer that the user names, or NULL. ERR_NOT_FOUND when nothing is there. */
MUST_CHECK enum err tokenizer_file_read(const char *path, const char *rule, struct source *s,
                                        struct why *why);

#endif
