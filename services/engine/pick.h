/* SPDX-License-Identifier: MIT */
/* pick: the token that the steps 5 to 7 of sampler.h draw with top_p or min_p, from bounds of the logits.
 *
 * The largest of logit + noise over all tokens is the draw if step 6 keeps it, which is mostly so. Let
 * before be the mass of the tokens that are likelier than it and rest that of itself and the others:
 * it is kept if before < top_p * (before + rest). Bounds of logits are bounds of masses, and one often
 * has no need of more: too much before and too little of the rest may still say "kept". If it is not
 * kept, nor are the others of the rest, and the largest of those before is looked at in its turn.
 *
 * Only what is certain counts, with room for all roundings of the sampler's sums: the token is the one
 * that it draws from all logits, or none.
 *
 *   pick_begin; then in turns  pick_look at all ranges of ids (any thread),  pick_decide,
 *   and while pick_is_asking: closer bounds of the rows that pick_wants;  until pick_is_over
 */
#ifndef HALO_ENGINE_PICK_H
#define HALO_ENGINE_PICK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* What a look at a range found. */
struct pick_part {
    float max_lower, max_upper;
    float least; /* largest lower bound of a score */
    float best_score; /* of those that are known */
    uint32_t best;
    uint32_t n_open; /* rows whose bounds matter */
    uint32_t n_far; /* others whose bounds may matter, too */
    uint32_t n_tops; /* rows not known that may be the likeliest */
    float before_low, before_high, rest_low, rest_high; /* masses */
};

struct pick {
    const struct kernels *k;
    const float *lower, *upper; /* [n] bounds of logits after their changes; equal: known */
    const float *noise; /* [n] */
    uint32_t n;
    float top_p; /* infinite: keeps all */
    float min_p;
    float scale; /* 1 / temperature */

    enum { PICK_LEAST, PICK_BEST, PICK_WEIGH, PICK_DONE, PICK_LOST } state;
    bool is_asking;
    float cut_x; /* this row, those less likely and, from cut_id on, as likely are not kept */
    uint32_t cut_id;
    float asked_x; /* likewise, of rows that are not asked for */
    uint32_t asked_id;
    float least; /* a row with a lower score is not the best */
    float max_lower, max_upper;
    uint32_t id; /* the best of what may be kept */
    float x;
};

/* Everything above `state` is set. */
void pick_begin(struct pick *p);

/* scratch[end - first]. */
void pick_look(const struct pick *p, uint32_t first, uint32_t end, float *scratch,
               struct pick_part *ret_part);

void pick_decide(struct pick *p, const struct pick_part *parts, uint32_t n_parts);

static inline bool pick_is_over(const struct pick *p)
{
    return p->state == PICK_DONE || p->state == PICK_LOST;
}

/* Whether closer bounds are needed before the next look. */
static inline bool pick_is_asking(const struct pick *p)
{
    return p->is_asking && !pick_is_over(p);
}

/* Of which rows, in that case. */
bool pick_wants(const struct pick *p, uint32_t id);

/* Closer bounds cannot be had. */
static inline void pick_give_up(struct pick *p)
{
    p->state = PICK_LOST;
}

#endif
