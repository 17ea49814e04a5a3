/* SPDX-License-Identifier: MIT */
#include "services/engine/seq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

static enum err check_tokens(const struct frame_submit *f, const struct seq_limits *limits,
                             char *why, size_t cap_why)
{
    if (f->n_prompt < 1) {
        (void)snprintf(why, cap_why, "the prompt is empty");
        return ERR_RANGE;
    }
    if (f->n_prompt >= limits->n_ctx || f->n_resume > limits->n_ctx - f->n_prompt) {
        (void)snprintf(why, cap_why, "the prompt has %zu tokens, the context %u", f->n_prompt,
                       limits->n_ctx);
        return ERR_CONTEXT;
    }
    if (f->n_resume > f->sampling.max_tokens) {
        (void)snprintf(why, cap_why, "more resumed tokens than max_tokens");
        return ERR_RANGE;
    }
    uint32_t n_vocab = limits->config->n_vocab;
    for (size_t i = 0; i < f->n_prompt + f->n_resume; i++) {
        uint32_t id = i < f->n_prompt ? f->prompt[i] : f->resume[i - f->n_prompt];
        if (id >= n_vocab) {
            (void)snprintf(why, cap_why, "token id %u is beyond the vocabulary of %u", id, n_vocab);
            return ERR_RANGE;
        }
    }
    return ERR_OK;
}

enum err seq_new(const struct frame_submit *f, const struct seq_limits *limits, char *why,
                 size_t cap_why, struct seq **ret_seq)
{
    if (f->model_hash.len > 0 && !str_is(f->model_hash, limits->model_hash)) {
        (void)snprintf(why, cap_why, "this engine serves another model");
        return ERR_MODEL_UNKNOWN;
    }
    if (f->n_resume > 0 && f->numbers != 0 && f->numbers != limits->numbers) {
        (void)snprintf(why, cap_why, "this engine's numbers are not those that began the reply");
        return ERR_MODEL_UNKNOWN;
    }
    enum err e = sampler_check(&f->sampling, limits->config->n_vocab, why, cap_why);
    if (!e)
        e = check_tokens(f, limits, why, cap_why);
    if (e)
        return e;
    struct seq *s = mem_zalloc(1, sizeof *s);
    s->req = f->req;
    s->tenant = f->tenant;
    s->arrived_ns = clock_now_ns();
    s->deadline_ns = f->deadline_ms > 0 ? s->arrived_ns + f->deadline_ms * 1000000ULL : 0;
    s->max_tokens = f->sampling.max_tokens;
    s->wants_logprobs = f->sampling.logprobs;
    s->n_prompt = (uint32_t)f->n_prompt;
    s->n_tokens = (uint32_t)(f->n_prompt + f->n_resume);
    s->n_asked = s->n_tokens;
    s->cap_tokens = s->n_tokens + 64;
    s->tokens = mem_zalloc(s->cap_tokens, sizeof *s->tokens);
    memcpy(s->tokens, f->prompt, f->n_prompt * sizeof *s->tokens);
    if (f->n_resume > 0)
        memcpy(s->tokens + f->n_prompt, f->resume, f->n_resume * sizeof *s->tokens);
    s->sampler = sampler_new(&f->sampling, limits->config);
    sampler_saw(s->sampler, s->tokens, s->n_prompt, false);
    sampler_saw(s->sampler, s->tokens + s->n_prompt, f->n_resume, true);
    draft_init(&s->draft);
    *ret_seq = s;
    return ERR_OK;
}

void seq_free(struct seq *s)
{
    if (s == NULL)
        return;
    sampler_free(s->sampler);
    free(s->tokens);
    free(s);
}

void seq_reserve(struct seq *s, uint32_t n_tokens)
{
    if (n_tokens <= s->cap_tokens)
        return;
    s->cap_tokens = n_tokens > s->cap_tokens * 2 ? n_tokens : s->cap_tokens * 2;
    s->tokens = mem_resize(s->tokens, s->cap_tokens, sizeof *s->tokens);
}

void seq_add(struct seq *s, uint32_t id)
{
    seq_reserve(s, s->n_tokens + 1);
    s->tokens[s->n_tokens++] = id;
    sampler_saw(s->sampler, &id, 1, true);
}

enum finish seq_finish(const struct seq *s, uint32_t n_ctx)
{
    uint32_t n_reply = seq_n_reply(s);
    if (n_reply > 0 && sampler_is_end(s->sampler, s->tokens[s->n_tokens - 1]))
        return FINISH_STOP;
    if (n_reply >= s->max_tokens || s->n_tokens >= n_ctx)
        return FINISH_LENGTH;
    return FINISH_NONE;
}
