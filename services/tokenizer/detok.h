/* SPDX-License-Identifier: MIT */
/* Token ids to text, one at a time. Only whole characters come out: a character whose bytes are spread
 * over tokens appears with its last one. The texts put together are what decoding all bytes at once
 * gives, each malformed sequence (maximal subpart) as one U+FFFD. Control tokens, unused ones and ids
 * outside the vocabulary give no text.
 *
 * SentencePiece's models put a space in front of a text; where the reply is one (and not the rest of a
 * text that the client sent), it is dropped again. */
#ifndef HALO_TOKENIZER_DETOK_H
#define HALO_TOKENIZER_DETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "services/tokenizer/vocab.h"

struct detok {
    const struct vocab *vocab; /* borrowed */
    char tail[4]; /* the beginning of a character */
    size_t n_tail;
    bool drops_space; /* the text has not begun yet, and a space in front is dropped */
};

void detok_init(struct detok *d, const struct vocab *vocab, bool drops_space);

/* Appends the text that `id` completes to *out. */
void detok_push(struct detok *d, uint32_t id, struct buf *out);

/* There will be no more ids: appends U+FFFD for an unfinished character. */
void detok_finish(struct detok *d, struct buf *out);

#endif
