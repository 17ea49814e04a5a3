/* SPDX-License-Identifier: MIT */
#include "services/model/htok.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "services/model/load.h"
#include "services/model/printable.h"
#include "services/model/tokenizer_facts.h"

enum {
    HEADER_BYTES = 20,
    MERGE_BYTES = 12,
    MERGES_MAX = 1 << 22,
    TYPE_NORMAL = 1,
    TYPE_CONTROL = 3,
};

struct reader {
    const uint8_t *bytes;
    size_t n;
    size_t at;
    const char *path;
    const char *rule;
    struct source *s;
    struct why *why;
    uint32_t n_tokens, n_merges, bos, eos;
};

static enum err refuse(const struct reader *r, size_t offset, const char *expected)
{
    return why_set(r->why, ERR_MODEL_FORMAT, "%s: at offset %zu: expected %s", r->path, offset,
                   expected);
}

static enum err read_header(struct reader *r)
{
    if (r->n < HEADER_BYTES || memcmp(r->bytes, "HTOK", 4) != 0)
        return refuse(r, 0, "\"HTOK\" and a header of 20 bytes");
    r->n_tokens = load_u32(r->bytes + 4);
    r->n_merges = load_u32(r->bytes + 8);
    r->bos = load_u32(r->bytes + 12);
    r->eos = load_u32(r->bytes + 16);
    r->at = HEADER_BYTES;
    if (r->n_tokens < 1 || r->n_tokens > SOURCE_VOCAB_MAX)
        return refuse(r, 4, "1..1048576 tokens");
    if (r->n_merges > MERGES_MAX)
        return refuse(r, 8, "at most 4194304 merges");
    if (r->bos >= r->n_tokens || r->eos >= r->n_tokens)
        return refuse(r, 12, "bos and eos that are tokens");
    return ERR_OK;
}

static bool is_special(struct str text)
{
    return text.len > 4 && memcmp(text.ptr, "<|", 2) == 0 &&
           memcmp(text.ptr + text.len - 2, "|>", 2) == 0;
}

static enum err read_token(struct reader *r, uint32_t id, struct buf *scratch)
{
    if (r->n - r->at < 2)
        return refuse(r, r->at, "a token's length");
    size_t n = (size_t)r->bytes[r->at] | (size_t)r->bytes[r->at + 1] << 8;
    if (r->n - r->at - 2 < n)
        return refuse(r, r->at, "a token that ends inside the file");
    struct str text = {(const char *)r->bytes + r->at + 2, n};
    bool is_control = is_special(text) || id == r->bos || id == r->eos;
    buf_reset(scratch);
    if (is_control)
        buf_add_str(scratch, text);
    else if (!printable_add_bytes(scratch, text))
        return refuse(r, r->at, "a token in GPT-2's printable form");
    r->at += 2 + n;
    return source_add_token(&r->s->tokenizer, buf_str(scratch),
                            is_control ? TYPE_CONTROL : TYPE_NORMAL, r->why);
}

/* Whether the result is the two parts, one after the other. */
static bool is_merge(const struct source_tokenizer *t, uint32_t left, uint32_t right,
                     uint32_t result)
{
    struct str a = source_token(t, left);
    struct str b = source_token(t, right);
    struct str both = source_token(t, result);
    return both.len == a.len + b.len && memcmp(both.ptr, a.ptr, a.len) == 0 &&
           memcmp(both.ptr + a.len, b.ptr, b.len) == 0;
}

static enum err read_merges(struct reader *r)
{
    struct source_tokenizer *t = &r->s->tokenizer;
    if ((r->n - r->at) / MERGE_BYTES < r->n_merges)
        return refuse(r, r->at, "the merges that the header counts");
    if (r->n - r->at != (size_t)r->n_merges * MERGE_BYTES)
        return refuse(r, r->at + (size_t)r->n_merges * MERGE_BYTES, "the end of the file");
    t->merges = mem_zalloc((size_t)r->n_merges * 2 + 1, sizeof *t->merges);
    for (; t->n_merges < r->n_merges; t->n_merges++, r->at += MERGE_BYTES) {
        uint32_t left = load_u32(r->bytes + r->at);
        uint32_t right = load_u32(r->bytes + r->at + 4);
        uint32_t result = load_u32(r->bytes + r->at + 8);
        if (left >= t->n_tokens || right >= t->n_tokens || result >= t->n_tokens ||
            !is_merge(t, left, right, result))
            return refuse(r, r->at, "a merge of two tokens into the token that they spell");
        t->merges[2 * t->n_merges] = left;
        t->merges[2 * t->n_merges + 1] = right;
    }
    return ERR_OK;
}

static enum err fill_config(const struct reader *r)
{
    struct source_config *c = &r->s->config;
    const char *pre = r->rule ? r->rule : tokenizer_facts_pre(r->n_merges);
    if (!pre)
        return why_set(
            r->why, ERR_UNSUPPORTED,
            "%s: at offset 8: expected the merges of a published vocabulary (280147, "
            "151387 or 50000), found %u; give the model's own with --tokenizer or name a rule with "
            "--pre-tokenizer",
            r->path, r->n_merges);
    (void)snprintf(c->pre_tokenizer, sizeof c->pre_tokenizer, "%s", pre);
    (void)snprintf(c->tokenizer_model, sizeof c->tokenizer_model, "bpe");
    c->has_bos = true;
    c->does_add_bos = true;
    c->bos_id = r->bos;
    tokenizer_facts_add_end(r->s, r->eos);
    tokenizer_facts_add_turn_ends(r->s);
    return ERR_OK;
}

enum err htok_read_bytes(const void *bytes, size_t n, const char *path, const char *rule,
                         struct source *s, struct why *why)
{
    struct reader r = {.bytes = bytes, .n = n, .path = path, .rule = rule, .s = s, .why = why};
    struct buf scratch = {0};
    enum err e = read_header(&r);
    for (uint32_t id = 0; id < r.n_tokens && !e; id++)
        e = read_token(&r, id, &scratch);
    buf_fini(&scratch);
    if (!e)
        e = read_merges(&r);
    return e ? e : fill_config(&r);
}
