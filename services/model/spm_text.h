/* SPDX-License-Identifier: MIT */
/* spm_text: how SentencePiece writes tokens: U+2581 for a space, "<0x0A>" for a byte. */
#ifndef HALO_MODEL_SPM_TEXT_H
#define HALO_MODEL_SPM_TEXT_H

#include "common/buf.h"
#include "common/str.h"

/* U+2581 in UTF-8. */
#define SPM_TEXT_SPACE "\xe2\x96\x81"

/* The byte of "<0x0A>", or -1. */
int spm_text_byte(struct str text);

/* Appends the text with a space for each U+2581. */
void spm_text_add(struct buf *b, struct str text);

#endif
