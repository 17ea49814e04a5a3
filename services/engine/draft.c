/* SPDX-License-Identifier: MIT */
#include "services/engine/draft.h"

#include "common/check.h"

/* Each token that is checked moves the estimate by an eighth of what it was off; each match that is
 * not worth a draft lifts it a little, so that it is tried again, some fifty matches later. */
#define PACE (1.0F / 8.0F)
#define LIFT (1.0F / 1024.0F)

void draft_init(struct draft *d)
{
    *d = (struct draft){.rates = {[2] = 0.5F, [3] = 0.65F, [4] = 0.8F}};
}

/* Tokens before `a` that equal those before `b` > a, up to DRAFT_MAX_MATCH. */
static uint32_t match_length(const uint32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t n = 0;
    while (n < DRAFT_MAX_MATCH && n < a && tokens[a - 1 - n] == tokens[b - 1 - n])
        n++;
    return n;
}

/* Where the last tokens stood before; returns how many of them, and what follows them in *ret_at. */
static uint32_t find_match(const uint32_t *tokens, uint32_t n_tokens, uint32_t *ret_at)
{
    uint32_t longest = 0;
    for (uint32_t at = n_tokens; at-- > DRAFT_MIN_MATCH && longest < DRAFT_MAX_MATCH;) {
        if (tokens[at - 1] != tokens[n_tokens - 1])
            continue;
        uint32_t n = match_length(tokens, at, n_tokens);
        if (n > longest) {
            longest = n;
            *ret_at = at;
        }
    }
    return longest;
}

uint32_t draft_propose(struct draft *d, uint32_t *tokens, uint32_t n_tokens, uint32_t most,
                       uint32_t n_rows, uint32_t base_rows)
{
    ASSERT(d->n_tokens == 0 && most <= DRAFT_MAX_TOKENS);
    uint32_t at = 0;
    uint32_t n_match = most > 0 ? find_match(tokens, n_tokens, &at) : 0;
    if (n_match < DRAFT_MIN_MATCH)
        return 0;
    float rate = d->rates[n_match];
    uint32_t n = 0;
    float chance = rate;
    while (n < most) {
        float rows = (float)(n_rows + n);
        if (chance * (rows + (float)base_rows) < rows)
            break;
        tokens[n_tokens + n] = tokens[at + n]; /* of the draft itself where it repeats */
        n++;
        chance *= rate;
    }
    if (n == 0)
        d->rates[n_match] += (1.0F - rate) * LIFT;
    d->n_match = n_match;
    d->n_tokens = n;
    return n;
}

void draft_settle(struct draft *d, uint32_t n_kept)
{
    ASSERT(d->n_tokens > 0 && n_kept <= d->n_tokens);
    float *rate = &d->rates[d->n_match];
    for (uint32_t i = 0; i < n_kept; i++)
        *rate += (1.0F - *rate) * PACE;
    if (n_kept < d->n_tokens)
        *rate -= *rate * PACE;
    d->n_tokens = 0;
}
