/* SPDX-License-Identifier: MIT */
#include "services/gateway/logprobs.h"

#include <math.h>

#include "common/utf8.h"

void logprobs_fini(struct logprobs *l)
{
    buf_fini(&l->tokens);
    buf_fini(&l->values);
    buf_fini(&l->tops);
    buf_fini(&l->offsets);
}

void logprobs_reset(struct logprobs *l)
{
    buf_reset(&l->tokens);
    buf_reset(&l->values);
    buf_reset(&l->tops);
    buf_reset(&l->offsets);
}

/* JSON has no infinity; OpenAI writes -9999 for a token that cannot come. Nine digits bring a float
 * back exactly. */
static void add_value(struct buf *out, float logprob)
{
    buf_printf(out, "%.9g", isfinite(logprob) ? (double)logprob : -9999.0);
}

static void comma(struct buf *b)
{
    if (b->len > 0)
        buf_add_char(b, ',');
}

/* ---- chat ---------------------------------------------------------------------------------------- */

static void add_chat_token(struct buf *out, struct str text, float logprob)
{
    buf_add_cstr(out, "{\"token\":");
    buf_add_json(out, text);
    buf_add_cstr(out, ",\"logprob\":");
    add_value(out, logprob);
    buf_add_cstr(out, ",\"bytes\":[");
    for (size_t i = 0; i < text.len; i++)
        buf_printf(out, i > 0 ? ",%u" : "%u", (unsigned)(unsigned char)text.ptr[i]);
    buf_add_char(out, ']');
}

void logprobs_add_chat(struct logprobs *l, const struct rec_piece *p)
{
    comma(&l->tokens);
    add_chat_token(&l->tokens, p->token_text, p->logprob);
    buf_add_cstr(&l->tokens, ",\"top_logprobs\":[");
    for (size_t i = 0; i < p->n_top; i++) {
        if (i > 0)
            buf_add_char(&l->tokens, ',');
        add_chat_token(&l->tokens, p->top[i].text, p->top[i].logprob);
        buf_add_char(&l->tokens, '}');
    }
    buf_add_cstr(&l->tokens, "]}");
}

void logprobs_write_chat(const struct logprobs *l, struct buf *out)
{
    buf_add_cstr(out, "{\"content\":[");
    buf_add_str(out, buf_str(&l->tokens));
    buf_add_cstr(out, "],\"refusal\":null}");
}

/* ---- completions --------------------------------------------------------------------------------- */

static void add_token_name(struct buf *out, struct str text)
{
    if (utf8_is_valid(text.ptr, text.len)) {
        buf_add_json(out, text);
        return;
    }
    buf_add_cstr(out, "\"bytes:");
    for (size_t i = 0; i < text.len; i++)
        buf_printf(out, "\\\\x%02x", (unsigned)(unsigned char)text.ptr[i]);
    buf_add_char(out, '"');
}

/* Characters that begin in s; so parts of one character add up to one. */
static uint64_t count_chars(struct str s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

void logprobs_add_completion(struct logprobs *l, const struct rec_piece *p)
{
    comma(&l->tokens);
    comma(&l->values);
    comma(&l->tops);
    comma(&l->offsets);
    add_token_name(&l->tokens, p->token_text);
    add_value(&l->values, p->logprob);
    buf_printf(&l->offsets, "%llu", (unsigned long long)l->n_chars);
    l->n_chars += count_chars(p->token_text);
    l->has_tops = l->has_tops || p->n_top > 0;
    buf_add_char(&l->tops, '{');
    for (size_t i = 0; i < p->n_top; i++) {
        if (i > 0)
            buf_add_char(&l->tops, ',');
        add_token_name(&l->tops, p->top[i].text);
        buf_add_char(&l->tops, ':');
        add_value(&l->tops, p->top[i].logprob);
    }
    buf_add_char(&l->tops, '}');
}

void logprobs_write_completion(const struct logprobs *l, struct buf *out)
{
    buf_add_cstr(out, "{\"tokens\":[");
    buf_add_str(out, buf_str(&l->tokens));
    buf_add_cstr(out, "],\"token_logprobs\":[");
    buf_add_str(out, buf_str(&l->values));
    buf_add_cstr(out, "],\"top_logprobs\":");
    if (l->has_tops) {
        buf_add_char(out, '[');
        buf_add_str(out, buf_str(&l->tops));
        buf_add_char(out, ']');
    } else {
        buf_add_cstr(out, "null");
    }
    buf_add_cstr(out, ",\"text_offset\":[");
    buf_add_str(out, buf_str(&l->offsets));
    buf_add_cstr(out, "]}");
}
