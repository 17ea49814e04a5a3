/* SPDX-License-Identifier: MIT */
/* Text to token ids: special tokens are found first, what lies between them is cut into pieces
 * (pretoken.h; spm.h for a vocabulary with scores) and merged (bpe.h).
 *
 * A control token is found only where the template wrote all of its bytes (see tmpl_value.h): its name in
 * what a user wrote, whole, in parts or put together across the border of a message, becomes plain text
 * tokens. User-defined tokens are no control over the model and are found in any text, as the libraries
 * do which the models were trained with. At each place the longest token wins.
 *
 * Measured (encode_bench, one thread of a Zen 3 VM, llama-bpe): English 64 MB/s = 14 M tokens/s, 105
 * languages 21 MB/s = 8 M tokens/s; with PCRE2's interpreter 29 and 18 MB/s. There is no cache of
 * pieces (not measured): most pieces of English are whole tokens, found with one look-up.
 *
 * An encoder owns scratch memory, so it belongs to one thread; it borrows the vocabulary. */
#ifndef HALO_TOKENIZER_ENCODE_H
#define HALO_TOKENIZER_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"
#include "services/tokenizer/ids.h"
#include "services/tokenizer/vocab.h"

struct encoder;

/* `pre_tokenizer` names the rule (pretoken_new, whose errors and `why` these are). A vocabulary with scores
 * has no use for it; with `does_add_space` each text between special tokens then gets a space in front. */
MUST_CHECK enum err encode_new(const struct vocab *vocab, const char *pre_tokenizer,
                               bool does_add_space, char *why, size_t cap_why,
                               struct encoder **ret_encoder);
void encode_free(struct encoder *e);

/* Appends the ids of a text. `origins` has an enum tmpl_origin for each byte; NULL: all of it came with
 * the request. */
MUST_CHECK enum err encode_text(struct encoder *e, struct str text, const uint8_t *origins,
                                struct ids *ids);

/* Whether the pieces are cut by machine code (see pretoken.h). */
bool encode_has_jit(const struct encoder *e);

#endif
