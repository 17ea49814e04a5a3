/* SPDX-License-Identifier: MIT */
#include "services/model/gguf_tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/printable.h"
#include "services/model/token_index.h"
#include "services/model/tokenizer_facts.h"

enum {
    TYPE_NORMAL = 1,
    TYPE_CONTROL = 3,
    TYPE_BYTE = 6,
    MERGES_MAX = 1 << 22,
};

/* Names of pre-tokenizers in GGUF files and Halo's names for them. */
static const char *const PRE_TOKENIZERS[][2] = {
    {"llama-bpe", "llama-3"}, {"llama3", "llama-3"},  {"llama-v3", "llama-3"},
    {"gpt-2", "gpt-2"},       {"mpt", "gpt-2"},       {"olmo", "gpt-2"},
    {"qwen2", "qwen2"},       {"falcon3", "falcon3"}, {"falcon_e", "falcon-e"},
    {"falcon-e", "falcon-e"},
};

static const char BITNET_MARK[] = "BITNETAssistant";

struct reader {
    const struct gguf *g;
    const char *rule;
    struct source *s;
    struct why *why;
    struct str *texts; /* as the file spells them */
    size_t n;
    bool is_spm;
};

static enum err bad(const struct reader *r, const char *key, const char *expected)
{
    return why_set(r->why, ERR_MODEL_FORMAT, "%s: %s: expected %s", gguf_path(r->g), key, expected);
}

static enum err read_model(struct reader *r)
{
    struct str model;
    if (gguf_get_str(r->g, "tokenizer.ggml.model", &model))
        return bad(r, "tokenizer.ggml.model", "a string: does the file hold a tokenizer?");
    if (!str_is(model, "gpt2") && !str_is(model, "llama"))
        return why_set(r->why, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.model: expected \"gpt2\" or \"llama\", found \"%.*s\"",
                       gguf_path(r->g), (int)model.len, model.ptr);
    r->is_spm = str_is(model, "llama");
    (void)snprintf(r->s->config.tokenizer_model, sizeof r->s->config.tokenizer_model, "%s",
                   r->is_spm ? "spm" : "bpe");
    return ERR_OK;
}

static enum err read_texts(struct reader *r)
{
    struct gguf_items items;
    if (gguf_get_items(r->g, "tokenizer.ggml.tokens", &items) || items.kind != GGUF_STRING ||
        items.n_left < 1 || items.n_left > SOURCE_VOCAB_MAX)
        return bad(r, "tokenizer.ggml.tokens", "an array of 1..1048576 strings");
    r->n = (size_t)items.n_left;
    r->texts = mem_zalloc(r->n, sizeof *r->texts);
    for (size_t i = 0; i < r->n; i++) {
        bool has_one = gguf_next_str(&items, &r->texts[i]);
        ASSERT(has_one);
    }
    return ERR_OK;
}

/* "<0x0A>" */
static bool read_byte(struct str text, char *ret_byte)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    if (text.len != 6 || memcmp(text.ptr, "<0x", 3) != 0 || text.ptr[5] != '>')
        return false;
    const char *high = text.ptr[3] ? strchr(DIGITS, text.ptr[3]) : NULL;
    const char *low = text.ptr[4] ? strchr(DIGITS, text.ptr[4]) : NULL;
    if (!high || !low)
        return false;
    *ret_byte = (char)((high - DIGITS) << 4 | (low - DIGITS));
    return true;
}

static void add_spaced(struct buf *b, struct str text)
{
    static const char SPACE[] = "\xe2\x96\x81";
    while (text.len > 0) {
        size_t n = 1;
        if (text.len >= 3 && memcmp(text.ptr, SPACE, 3) == 0) {
            buf_add_char(b, ' ');
            n = 3;
        } else {
            buf_add_char(b, *text.ptr);
        }
        text.ptr += n;
        text.len -= n;
    }
}

/* The raw bytes of a token. False: a normal token that is not in printable form, taken literally. */
static bool add_token_bytes(const struct reader *r, struct str text, uint8_t type, struct buf *b)
{
    char byte = 0;
    if (type == TYPE_BYTE && read_byte(text, &byte)) {
        buf_add_char(b, byte);
        return true;
    }
    if (type != TYPE_NORMAL && type != TYPE_BYTE) {
        buf_add_str(b, text);
        return true;
    }
    if (r->is_spm) {
        add_spaced(b, text);
        return true;
    }
    if (printable_add_bytes(b, text))
        return true;
    buf_add_str(b, text);
    return false;
}

static enum err read_types(const struct reader *r, uint8_t *types)
{
    struct gguf_items items;
    enum err e = gguf_get_items(r->g, "tokenizer.ggml.token_type", &items);
    memset(types, TYPE_NORMAL, r->n);
    if (e == ERR_MISSING) {
        static const char *const SPECIAL[] = {"tokenizer.ggml.bos_token_id",
                                              "tokenizer.ggml.eos_token_id",
                                              "tokenizer.ggml.eot_token_id"};
        for (size_t i = 0; i < ARRAY_LEN(SPECIAL); i++) {
            uint64_t id = 0;
            if (gguf_get_u64(r->g, SPECIAL[i], &id) == ERR_OK && id < r->n)
                types[id] = TYPE_CONTROL;
        }
        source_note(r->s, "no tokenizer.ggml.token_type: only bos, eos and eot become control "
                          "tokens");
        return ERR_OK;
    }
    if (e || items.n_left != r->n)
        return bad(r, "tokenizer.ggml.token_type", "an array with a type per token");
    for (size_t i = 0; i < r->n; i++) {
        int64_t type = 0;
        if (!gguf_next_i64(&items, &type) || type < TYPE_NORMAL || type > TYPE_BYTE)
            return bad(r, "tokenizer.ggml.token_type", "types 1..6");
        types[i] = (uint8_t)type;
    }
    return ERR_OK;
}

static enum err read_tokens(const struct reader *r)
{
    uint8_t *types = mem_zalloc(r->n, 1);
    struct buf bytes = {0};
    size_t n_literal = 0;
    enum err e = read_types(r, types);
    for (size_t i = 0; i < r->n && !e; i++) {
        buf_reset(&bytes);
        n_literal += !add_token_bytes(r, r->texts[i], types[i], &bytes);
        e = source_add_token(&r->s->tokenizer, buf_str(&bytes), types[i], r->why);
    }
    if (!e && n_literal > 0)
        source_note(r->s, "%zu tokens are not in GPT-2's printable form and are taken literally",
                    n_literal);
    free(types);
    buf_fini(&bytes);
    return e;
}

static enum err read_scores(const struct reader *r)
{
    struct gguf_items items;
    if (gguf_get_items(r->g, "tokenizer.ggml.scores", &items) || items.n_left != r->n)
        return bad(r, "tokenizer.ggml.scores", "an array with a score per token");
    float *scores = mem_zalloc(r->n, sizeof *scores);
    r->s->tokenizer.scores = scores;
    for (size_t i = 0; i < r->n; i++) {
        double score = NAN;
        if (!gguf_next_f64(&items, &score) || !isfinite((float)score))
            return bad(r, "tokenizer.ggml.scores", "finite numbers");
        scores[i] = (float)score;
    }
    return ERR_OK;
}

static enum err read_merge(const struct reader *r, const struct token_index *index, size_t rank,
                           struct str text, uint32_t *pair)
{
    const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    if (space) {
        struct str left = {text.ptr, (size_t)(space - text.ptr)};
        struct str right = {space + 1, text.len - left.len - 1};
        pair[0] = token_index_find(index, left);
        pair[1] = token_index_find(index, right);
        if (pair[0] != TOKEN_NONE && pair[1] != TOKEN_NONE)
            return ERR_OK;
    }
    return why_set(
        r->why, ERR_MODEL_FORMAT,
        "%s: tokenizer.ggml.merges: merge %zu: expected two tokens with a space between, "
        "found \"%.*s\"",
        gguf_path(r->g), rank, (int)(text.len < 100 ? text.len : 100), text.ptr);
}

static enum err read_merges(const struct reader *r)
{
    struct gguf_items items;
    if (gguf_get_items(r->g, "tokenizer.ggml.merges", &items) ||
        (items.kind != GGUF_STRING && items.n_left > 0) || items.n_left > MERGES_MAX)
        return bad(r, "tokenizer.ggml.merges", "an array of at most 4194304 strings");
    struct source_tokenizer *t = &r->s->tokenizer;
    size_t n = (size_t)items.n_left;
    t->merges = mem_zalloc(2 * n, sizeof *t->merges);
    struct token_index index;
    enum err e = token_index_init(&index, r->texts, r->n);
    if (e)
        e = why_nomem(r->why, "tokenizer");
    struct str text;
    for (; !e && gguf_next_str(&items, &text); t->n_merges++)
        e = read_merge(r, &index, t->n_merges, text, &t->merges[2 * t->n_merges]);
    token_index_fini(&index);
    return e;
}

static enum err read_pre_tokenizer(const struct reader *r)
{
    struct source_config *c = &r->s->config;
    if (r->rule) {
        (void)snprintf(c->pre_tokenizer, sizeof c->pre_tokenizer, "%s", r->rule);
        return ERR_OK;
    }
    struct str pre;
    enum err e = gguf_get_str(r->g, "tokenizer.ggml.pre", &pre);
    for (size_t i = 0; i < ARRAY_LEN(PRE_TOKENIZERS) && !e; i++) {
        if (str_is(pre, PRE_TOKENIZERS[i][0])) {
            (void)snprintf(c->pre_tokenizer, sizeof c->pre_tokenizer, "%s", PRE_TOKENIZERS[i][1]);
            if (strcmp(PRE_TOKENIZERS[i][1], "falcon3") == 0)
                source_note(r->s, "tokenizer.ggml.pre falcon3 is read as llama.cpp does; other "
                                  "programs differ: a conversion from Hugging Face files is sure");
            return ERR_OK;
        }
    }
    const char *known = tokenizer_facts_pre(r->s->tokenizer.n_merges);
    if (e == ERR_MISSING && known) {
        (void)snprintf(c->pre_tokenizer, sizeof c->pre_tokenizer, "%s", known);
        source_note(r->s, "no tokenizer.ggml.pre: %zu merges are those of %s",
                    r->s->tokenizer.n_merges, known);
        return ERR_OK;
    }
    if (e)
        return bad(r, "tokenizer.ggml.pre",
                   "the name of a pre-tokenizer, the file has none; name one with --pre-tokenizer");
    return why_set(r->why, ERR_UNSUPPORTED,
                   "%s: tokenizer.ggml.pre: expected llama-bpe, gpt-2, qwen2, falcon3 or falcon_e, "
                   "found \"%.*s\"; --pre-tokenizer names a rule that cuts text in the same way",
                   gguf_path(r->g), (int)(pre.len < 60 ? pre.len : 60), pre.ptr);
}

/* A key that names a token; has_one is false without it. */
static enum err read_id(const struct reader *r, const char *key, bool *ret_has_one,
                        uint32_t *ret_id)
{
    uint64_t id = 0;
    enum err e = gguf_get_u64(r->g, key, &id);
    *ret_has_one = e == ERR_OK;
    if (e == ERR_MISSING)
        return ERR_OK;
    if (e || id >= r->n)
        return bad(r, key, "the id of a token");
    *ret_id = (uint32_t)id;
    return ERR_OK;
}

static enum err read_ends(const struct reader *r)
{
    static const char *const KEYS[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        bool has_one = false;
        uint32_t id = 0;
        enum err e = read_id(r, KEYS[i], &has_one, &id);
        if (e)
            return e;
        if (has_one)
            tokenizer_facts_add_end(r->s, id);
    }
    tokenizer_facts_add_turn_ends(r->s);
    return r->s->config.n_eos > 0 ? ERR_OK
                                  : bad(r, KEYS[0], "the id of the token that ends a text");
}

static enum err read_special(const struct reader *r)
{
    struct source_config *c = &r->s->config;
    enum err e = read_id(r, "tokenizer.ggml.bos_token_id", &c->has_bos, &c->bos_id);
    if (!e)
        e = read_ends(r);
    if (e)
        return e;
    /* Without the key, as llama.cpp. */
    c->does_add_bos = c->has_bos && (r->is_spm || strcmp(c->pre_tokenizer, "llama-3") == 0);
    e = gguf_get_bool(r->g, "tokenizer.ggml.add_bos_token", &c->does_add_bos);
    if (e && e != ERR_MISSING)
        return bad(r, "tokenizer.ggml.add_bos_token", "true or false");
    if (c->does_add_bos && !c->has_bos)
        return bad(r, "tokenizer.ggml.bos_token_id", "an id, because of add_bos_token");
    bool does_add_space = true;
    e = gguf_get_bool(r->g, "tokenizer.ggml.add_space_prefix", &does_add_space);
    if (e && e != ERR_MISSING)
        return bad(r, "tokenizer.ggml.add_space_prefix", "true or false");
    if (r->is_spm && !does_add_space)
        (void)json_object_set_new(c->extra, "add_space_prefix", json_false());
    return ERR_OK;
}

static enum err read_template(const struct reader *r)
{
    struct str text;
    enum err e = gguf_get_str(r->g, "tokenizer.chat_template", &text);
    if (e == ERR_MISSING)
        return ERR_OK;
    if (e || memchr(text.ptr, 0, text.len))
        return bad(r, "tokenizer.chat_template", "a string without NUL");
    if (memmem(text.ptr, text.len, BITNET_MARK, sizeof BITNET_MARK - 1)) {
        text = str_from(TOKENIZER_FACTS_BITNET_TEMPLATE);
        source_note(r->s,
                    "the file's chat template (BITNETAssistant) is not the one that the model "
                    "was trained with; BitNet b1.58 2B-4T's own takes its place");
    }
    if (text.len > 0)
        r->s->chat_template = mem_strndup(text.ptr, text.len);
    return ERR_OK;
}

enum err gguf_tokenizer_read(const struct gguf *g, const char *rule, struct source *s,
                             struct why *why)
{
    struct reader r = {.g = g, .rule = rule, .s = s, .why = why};
    if (!s->config.extra)
        s->config.extra = json_object();
    enum err e = read_model(&r);
    if (!e)
        e = read_texts(&r);
    if (!e)
        e = read_tokens(&r);
    if (!e)
        e = r.is_spm ? read_scores(&r) : read_merges(&r);
    if (!e && !r.is_spm)
        e = read_pre_tokenizer(&r);
    if (!e)
        e = read_special(&r);
    if (!e)
        e = read_template(&r);
    free(r.texts);
    return e;
}
