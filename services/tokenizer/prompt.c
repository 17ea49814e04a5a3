/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/prompt.h"

#include <stdio.h>

static enum err encode_chat(const struct model *m, struct encoder *encoder,
                            const struct frame_generate *f, char *why, size_t cap_why,
                            struct ids *ids)
{
    if (!m->template) {
        (void)snprintf(why, cap_why, "model %s has no chat template; send a raw prompt",
                       m->config.name);
        return ERR_UNSUPPORTED;
    }
    const struct template_input in = {
        .messages = f->messages,
        .args = f->template_args,
        .add_generation_prompt = !f->no_generation_prompt,
        .continue_final = f->continue_final,
    };
    struct tmpl_output out = {0};
    enum err e = template_render(m->template, &in, why, cap_why, &out);
    if (e == ERR_OK)
        e = encode_text(encoder, buf_str(&out.text), (const uint8_t *)out.origins.ptr, ids);
    buf_fini(&out.text);
    buf_fini(&out.origins);
    return e;
}

static enum err copy_ids(const struct model *m, const struct frame_generate *f, char *why,
                         size_t cap_why, struct ids *ids)
{
    for (size_t i = 0; i < f->n_prompt_ids; i++) {
        if (f->prompt_ids[i] >= m->config.n_vocab) {
            (void)snprintf(why, cap_why, "prompt[%zu]: there is no token %u; ids go up to %u", i,
                           f->prompt_ids[i], m->config.n_vocab - 1);
            return ERR_RANGE;
        }
    }
    return ids_append(ids, f->prompt_ids, f->n_prompt_ids);
}

/* The begin token goes in front, unless a template has already put it there. */
static enum err add_bos(const struct model *m, bool is_chat, struct ids *ids)
{
    uint32_t bos = m->config.bos_id;
    if (!m->config.does_add_bos || (is_chat && ids->n > 0 && ids->v[0] == bos))
        return ERR_OK;
    enum err e = ids_push(ids, bos);
    if (e != ERR_OK)
        return e;
    memmove(ids->v + 1, ids->v, (ids->n - 1) * sizeof *ids->v);
    ids->v[0] = bos;
    return ERR_OK;
}

static enum err encode_kind(const struct model *m, struct encoder *encoder,
                            const struct frame_generate *f, char *why, size_t cap_why,
                            struct ids *ids)
{
    enum err e;
    switch (f->kind) {
    case PROMPT_CHAT:
        e = encode_chat(m, encoder, f, why, cap_why, ids);
        return e == ERR_OK ? add_bos(m, true, ids) : e;
    case PROMPT_TEXT:
        e = encode_text(encoder, f->prompt, NULL, ids);
        return e == ERR_OK ? add_bos(m, false, ids) : e;
    case PROMPT_IDS:
        return copy_ids(m, f, why, cap_why, ids);
    default:
        (void)snprintf(why, cap_why, "there is no prompt of kind %u", f->kind);
        return ERR_INVALID;
    }
}

enum err prompt_encode(const struct model *m, struct encoder *encoder,
                       const struct frame_generate *f, uint32_t context, char *why, size_t cap_why,
                       struct ids *ids)
{
    why[0] = '\0';
    enum err e = encode_kind(m, encoder, f, why, cap_why, ids);
    if (e != ERR_OK) {
        if (why[0] == '\0')
            (void)snprintf(why, cap_why, "%s", err_text(e));
        return e;
    }
    if (ids->n == 0) {
        (void)snprintf(why, cap_why, "the prompt is empty");
        return ERR_INVALID;
    }
    if (ids->n >= context) {
        (void)snprintf(why, cap_why,
                       "the prompt has %zu tokens and the model's context is %u tokens, prompt and "
                       "reply together",
                       ids->n, context);
        return ERR_CONTEXT;
    }
    return ERR_OK;
}
