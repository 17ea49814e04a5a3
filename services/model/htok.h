/* SPDX-License-Identifier: MIT */
/* htok: the tokenizer file beside an .h1b file of versions 1 to 4.
 *
 *   "HTOK", u32 n_tokens, u32 n_merges, u32 bos, u32 eos,
 *   n_tokens * { u16 length, bytes: GPT-2's printable form },
 *   n_merges * { u32 left id, u32 right id, u32 result id }, best rank first
 *
 * The file has no token types: tokens spelt <|...|>, bos and eos are control tokens. It names no
 * pre-tokenizer either (its own programs only cut digits into threes, and so gave other tokens than the
 * model was trained with): the number of merges tells the published vocabulary; others are refused. */
#ifndef HALO_MODEL_HTOK_H
#define HALO_MODEL_HTOK_H

#include "services/model/source.h"

/* Fills s->tokenizer and the tokenizer's fields of s->config from the bytes of a file. `rule` is the
 * pre-tokenizer that the user names, or NULL. */
MUST_CHECK enum err htok_read_bytes(const void *bytes, size_t n, const char *path, const char *rule,
                                    struct source *s, struct why *why);

#endif
