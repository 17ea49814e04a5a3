/* SPDX-License-Identifier: MIT */
/* A byte-level BPE vocabulary: what bytes a token id stands for, which id given bytes have, and which
 * pairs of tokens merge in which order.
 *
 * The token and merge arrays are borrowed (they lie in a mapped model file or in a test's memory) and
 * are used in place; this module owns only its two hash tables. Immutable after vocab_new, so any
 * thread may read it. */
#ifndef HALO_TOKENIZER_VOCAB_H
#define HALO_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

enum {
    VOCAB_MAX_TOKENS = 1 << 21,
    VOCAB_MAX_MERGES = 1 << 22,
    VOCAB_MAX_TOKEN_BYTES = 4096,
};

#define VOCAB_NONE UINT32_MAX

/* GGUF's numbers. */
enum vocab_type {
    VOCAB_NORMAL = 1,
    VOCAB_CONTROL = 3, /* steers the model; never made from a user's text, never printed */
    VOCAB_USER_DEFINED = 4, /* found in any text before the rest is split, printed */
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6,
};

/* The sections tokenizer.* of a model file, see common/h1b.h. */
struct vocab_data {
    const uint32_t *offsets; /* n_tokens + 1 */
    const uint8_t *bytes;
    size_t n_bytes;
    const uint8_t *types; /* n_tokens */
    size_t n_tokens;
    const uint32_t *merges; /* n_merges pairs (left, right), best rank first */
    size_t n_merges;
};

struct vocab;

/* Checks everything: offsets ascend and end at n_bytes, types are known, each of the 256 bytes has a
 * token, each merge names tokens whose concatenation is a token. On failure (ERR_MODEL_FORMAT,
 * ERR_TOO_LARGE, ERR_NOMEM) one line that names the place is written into `why`. Where two tokens
 * have the same bytes, the lower id is the one found. Borrows the arrays until vocab_free. */
MUST_CHECK enum err vocab_new(const struct vocab_data *data, char *why, size_t cap_why,
                              struct vocab **ret_vocab);
void vocab_free(struct vocab *v);

size_t vocab_size(const struct vocab *v);

/* Whether `id` is a token of this vocabulary. */
bool vocab_has(const struct vocab *v, uint32_t id);

/* The bytes of token `id`, which must be < vocab_size. Lends until vocab_free; may be empty. */
struct str vocab_bytes(const struct vocab *v, uint32_t id);

/* `id` must be < vocab_size. */
enum vocab_type vocab_type_of(const struct vocab *v, uint32_t id);

/* The normal token of exactly these bytes, or VOCAB_NONE. */
uint32_t vocab_find(const struct vocab *v, struct str bytes);

/* The control token of exactly these bytes, or VOCAB_NONE. */
uint32_t vocab_find_control(const struct vocab *v, struct str bytes);

/* The token of a single byte. */
uint32_t vocab_byte(const struct vocab *v, uint8_t byte);

/* Rank of the merge of two adjacent tokens and the token it makes; VOCAB_NONE when there is none. */
uint32_t vocab_rank(const struct vocab *v, uint32_t left, uint32_t right, uint32_t *ret_merged);

#endif
