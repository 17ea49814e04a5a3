/* SPDX-License-Identifier: MIT */
/* draft: guesses at the tokens that a reply goes on with, from its own text (prompt lookup).
 *
 * Where the last two to four tokens stood before, what followed them there is proposed: the longest
 * match wins, the latest among equals. The scheduler computes the proposed tokens in the step of the
 * reply's next token and keeps those that the sampler chooses, too, so drafts cost and save time and
 * never show in a reply.
 *
 * A draft costs a row of the step. A step of R rows takes about as long as B + R, where B stands for
 * what does not depend on the rows, as reading the weights (backend.h: base_rows). So one more row
 * pays if the chance that its token is kept is at least R / (B + R). The chance is estimated for each
 * reply and length of match, so texts without repetition cost a few rows at their beginning, and full
 * steps draft little.
 *
 * Processor time of 160 tokens of the demo model, AVX-512, one thread of a shared AMD EPYC, least of 6
 * runs (HALO_RUNS=6 tests/stack/drafts_test.py): repeated text 60 -> 47, 64 -> 40, sampled 85 -> 79,
 * penalised with log probabilities 84 -> 68 ms; sampled stories 77 -> 75, 76 -> 77, 76 -> 73. With
 * drafts of up to 4, 8, 16 tokens 5632, 5802, 5945 of 20 runs' tokens were accepted, so the default of
 * 8 gets most of what there is.
 *
 * Owned by the step thread. */
#ifndef HALO_ENGINE_DRAFT_H
#define HALO_ENGINE_DRAFT_H

#include <stdint.h>

enum {
    DRAFT_MIN_MATCH = 2, /* tokens */
    DRAFT_MAX_MATCH = 4,
    DRAFT_MAX_TOKENS = 64, /* of one draft */
};

/* Of one reply. */
struct draft {
    float rates[DRAFT_MAX_MATCH + 1]; /* chance that a token is kept, by length of match */
    uint32_t n_match; /* of the draft that is out */
    uint32_t n_tokens; /* in it; 0: none is out */
};

void draft_init(struct draft *d);

/* Writes at most `most` (up to DRAFT_MAX_TOKENS) tokens behind tokens[0..n_tokens), for a step that
 * has n_rows rows so far, this reply's own among them, on a backend of base_rows. Returns how many; if any, draft_settle is due.
 */
uint32_t draft_propose(struct draft *d, uint32_t *tokens, uint32_t n_tokens, uint32_t most,
                       uint32_t n_rows, uint32_t base_rows);

/* The first n_kept tokens of the draft were right. */
void draft_settle(struct draft *d, uint32_t n_kept);

#endif
