/* SPDX-License-Identifier: MIT */
#include "services/engine/pace.h"

#include "services/engine/kv.h"

/* Large enough to follow a growing context, small enough that chance does not show. */
static const double DECODE_FACTOR = 1.05;
static const double PROMPT_FACTOR = 1.1;

void pace_init(struct pace *p, uint32_t stretch_percent)
{
    *p = (struct pace){.stretch_percent = stretch_percent};
    for (uint32_t i = 0; i < PACE_SIZES; i++)
        p->sizes[i].n_prompt = KV_BLOCK;
}

static uint32_t size_index(uint32_t n_decode)
{
    uint32_t i = 0;
    while (i < PACE_SIZES - 1 && 1U << i < n_decode)
        i++;
    return i;
}

uint32_t pace_budget(const struct pace *p, uint32_t n_decode, uint32_t most)
{
    if (n_decode == 0 || p->stretch_percent == 0)
        return most;
    const struct pace_size *s = &p->sizes[size_index(n_decode)];
    if (s->decode_ns <= 0.0 || s->n_mixed >= PACE_PROBE_STEPS)
        return 0;
    return s->n_prompt < most ? (uint32_t)s->n_prompt : most;
}

static void follow_decode(struct pace_size *s, double ns)
{
    if (s->decode_ns <= 0.0)
        s->decode_ns = ns;
    else
        s->decode_ns *= ns > s->decode_ns ? DECODE_FACTOR : 1.0 / DECODE_FACTOR;
    s->n_mixed = 0;
}

/* A prompt's end, shorter than what was allowed, says nothing against what is allowed, and nothing
 * for more. */
static void follow_prompt(struct pace_size *s, uint32_t n_prompt, bool was_long)
{
    bool was_full = n_prompt >= (uint32_t)s->n_prompt;
    s->n_mixed++;
    if (was_long && n_prompt <= s->n_prompt)
        s->n_prompt /= PROMPT_FACTOR;
    else if (!was_long && was_full)
        s->n_prompt *= PROMPT_FACTOR;
    if (s->n_prompt < 1.0)
        s->n_prompt = 1.0;
}

void pace_note(struct pace *p, uint32_t n_decode, uint32_t n_prompt, uint64_t ns)
{
    bool is_after_prompt = p->was_mixed;
    p->was_mixed = n_prompt > 0;
    if (n_decode == 0 || p->stretch_percent == 0)
        return;
    struct pace_size *s = &p->sizes[size_index(n_decode)];
    double most_ns = s->decode_ns * (100.0 + p->stretch_percent) / 100.0;
    if (n_prompt == 0 && !is_after_prompt)
        follow_decode(s, (double)ns);
    else if (n_prompt > 0)
        follow_prompt(s, n_prompt, (double)ns > most_ns);
}
