/* SPDX-License-Identifier: MIT */
/* gguf_tokenizer: the tokenizer and the chat template of a GGUF file, from its tokenizer.* keys.
 *
 * tokenizer.ggml.model "gpt2" is byte-level BPE (tokens in printable form, merges as two texts with a
 * space between), "llama" is SentencePiece (spaces as U+2581, a score per token); others are refused by
 * name. Control, user defined and unused tokens are written literally in both. */
#ifndef HALO_MODEL_GGUF_TOKENIZER_H
#define HALO_MODEL_GGUF_TOKENIZER_H

#include "services/model/gguf.h"
#include "services/model/source.h"

/* `rule` is the pre-tokenizer that the user names, which goes before the file's, or NULL.
 * Fills s->tokenizer, s->chat_template and the tokenizer's fields of s->config. Where the file leaves
 * something open or has it wrong, what was done instead goes to the notes:
 *   - no tokenizer.ggml.pre: known by the number of merges (the published BitNet b1.58 2B-4T has none);
 *   - its chat template, known by the word BITNETAssistant, is not the one that the model was trained
 *     with: it is replaced by that one;
 *   - no token types: bos, eos and eot are control tokens, the rest normal ones. */
MUST_CHECK enum err gguf_tokenizer_read(const struct gguf *g, const char *rule, struct source *s,
                                        struct why *why);

#endif
