/* SPDX-License-Identifier: MIT */
/* halo-tokenizer --encode: a text to token ids from pipe to pipe, without a stack. */
#ifndef HALO_TOKENIZER_DUMP_H
#define HALO_TOKENIZER_DUMP_H

#include <stddef.h>

#include "common/err.h"
#include "services/tokenizer/model.h"

enum { DUMP_MAX_BYTES = 1 << 30 }; /* of text */

/* Reads all of the UTF-8 text in in_fd and writes its ids to out_fd, four little-endian bytes each. No
 * begin token is added, and the names of control tokens are plain text, as in a user's message. On
 * failure a line in `why`: ERR_IO, ERR_TOO_LARGE, ERR_UTF8. */
MUST_CHECK enum err dump_ids(struct model *m, int in_fd, int out_fd, char *why, size_t cap_why);

#endif
