/* SPDX-License-Identifier: MIT */
/* What SentencePiece does to a text before it merges: U+2581, which stands for a space in its files, is
 * one; a space is added in front where the model was trained so; nothing else is changed.
 *
 * SentencePiece then merges the text as a whole. Here it is cut in front of each space that follows
 * another character, unless some token of the vocabulary goes across such a place: the same ids, and the
 * time is linear for usual text.
 *
 * A scan owns the normalised text and belongs to one thread; it borrows the vocabulary. */
#ifndef HALO_TOKENIZER_SPM_H
#define HALO_TOKENIZER_SPM_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/str.h"
#include "services/tokenizer/vocab.h"

struct spm_scan {
    struct buf text;
    size_t at;
    bool does_add_space;
    bool is_cut;
};

void spm_scan_init(struct spm_scan *s, const struct vocab *vocab, bool does_add_space);
void spm_scan_fini(struct spm_scan *s);

/* Begins at the start of a text, which is copied. */
void spm_scan_start(struct spm_scan *s, struct str text);

/* The next piece; empty at the end. Lent until the next start. */
struct str spm_scan_next(struct spm_scan *s);

#endif
