/* SPDX-License-Identifier: MIT */
/* Test data that lies outside the repository: in $HALO_SHARED, or in ../shared beside it. */
#ifndef HALO_TESTS_TOKENIZER_SHARED_DATA_H
#define HALO_TESTS_TOKENIZER_SHARED_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "services/tokenizer/vocab.h"

struct blob {
    uint8_t *p;
    size_t n;
};

/* Whether there is such data. If not, says on stdout what is left out. */
bool shared_data_is_at_hand(void);

/* The same for a program that is of no use without: prints the TAP line that marks it as skipped. */
bool shared_data_is_here(void);

/* A whole file below the folder of shared data, unpacked if its name ends in .xz; a NUL byte follows
 * it. Fails the test when it is missing. */
struct blob shared_data_read(const char *name);

/* Numbers from 0 to INT_MAX (xorshift), the same ones after each start. */
void test_random_start(uint32_t seed);
int test_random(void);

struct test_vocab {
    struct vocab_data data;
    struct vocab *vocab;
    uint32_t *offsets;
    uint8_t *bytes;
    uint8_t *types;
    uint32_t *merges;
    float *scores; /* SentencePiece only */
};

/* tokenizers/<name>.gguf.xz. Fails the test when it cannot be read. */
void test_vocab_init(struct test_vocab *t, const char *name);
void test_vocab_fini(struct test_vocab *t);

/* A SentencePiece vocabulary: <unk> (0), <s>, </s>, the 256 byte tokens from 3 on, then `texts` (ended by
 * NULL) from 259 on, normal tokens with these scores. */
void test_vocab_init_spm(struct test_vocab *t, const char *const *texts, const float *scores);

/* A vocabulary of the 256 bytes (ids 0..255), then `texts` (ended by NULL), each a normal token that is
 * merged from its longest known prefix and the rest, then `controls` (ended by NULL). Each text must be
 * so divisible. */
void test_vocab_init_small(struct test_vocab *t, const char *const *texts,
                           const char *const *controls);

#endif
