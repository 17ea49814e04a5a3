/* SPDX-License-Identifier: MIT */
/* hf_tokenizer: tokenizer.json of a Hugging Face directory.
 *
 * Two kinds are read: byte-level BPE (vocabulary in GPT-2's printable form, a list of merges) and
 * SentencePiece's BPE as Hugging Face writes it ("byte_fallback", U+2581 for spaces, scores given by
 * the order of the merges). Normalizers and pre-tokenizers decide which tokens a text becomes, so an
 * unknown one is refused, with its text. */
#ifndef HALO_MODEL_HF_TOKENIZER_H
#define HALO_MODEL_HF_TOKENIZER_H

#include <jansson.h>

#include "services/model/source.h"

/* Fills s->tokenizer and what s->config says of it. `rule` is for byte-level BPE with a pre-tokenizer
 * that is not known here, or NULL. Lines in `why` begin with "tokenizer.json: ". */
MUST_CHECK enum err hf_tokenizer_read(const json_t *tokenizer, const char *rule, struct source *s,
                                      struct why *why);

#endif
