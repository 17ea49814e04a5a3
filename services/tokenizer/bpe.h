/* SPDX-License-Identifier: MIT */
/* Byte pair encoding of one piece: start from the tokens of the single bytes (spm: of the characters) and
 * merge the adjacent pair of lowest rank, the leftmost of equals first, until no pair has a rank.
 *
 * Pieces of up to BPE_SHORT bytes look for the lowest rank by walking over the few symbols left; longer
 * ones keep ranks in a heap and symbols in a linked list, O(n log n). Both give the same ids (tested).
 *
 * A bpe owns scratch memory, so it belongs to one thread; it borrows the vocabulary. */
#ifndef HALO_TOKENIZER_BPE_H
#define HALO_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"
#include "services/tokenizer/ids.h"
#include "services/tokenizer/vocab.h"

enum {
    BPE_SHORT = 32,
};

struct bpe;

/* `ignore_merges`: a piece that is itself a normal token becomes that token, whatever the merges say
 * (Llama 3). */
MUST_CHECK enum err bpe_new(const struct vocab *vocab, bool ignore_merges, struct bpe **ret_bpe);
void bpe_free(struct bpe *bpe);

/* Appends the ids of a piece to *ids. Pieces of more than 2^31 bytes give ERR_TOO_LARGE. */
MUST_CHECK enum err bpe_encode(struct bpe *bpe, struct str piece, struct ids *ids);

/* The same by heap whatever the length and without looking for the whole piece first. */
MUST_CHECK enum err bpe_encode_by_heap(struct bpe *bpe, struct str piece, struct ids *ids);

#endif
