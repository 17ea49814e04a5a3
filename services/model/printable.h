/* SPDX-License-Identifier: MIT */
/* printable: GPT-2's way to write any bytes as visible characters, which vocabularies of byte-level BPE
 * use: the bytes 33..126, 161..172 and 174..255 stand for themselves as code points, the others are
 * written as U+0100, U+0101, ... in rising order (so a space is U+0120). */
#ifndef HALO_MODEL_PRINTABLE_H
#define HALO_MODEL_PRINTABLE_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/str.h"

/* Appends the bytes that `text` (UTF-8) stands for. False, with nothing appended, when a character
 * stands for no byte. */
bool printable_add_bytes(struct buf *b, struct str text);

#endif
