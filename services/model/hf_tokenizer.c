/* SPDX-License-Identifier: MIT */
#include "services/model/hf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/hf_pretokenizer.h"
#include "services/model/printable.h"
#include "services/model/spm_text.h"

static const char FILE_NAME[] = "tokenizer.json";
static const char SPACE_MARK[] = SPM_TEXT_SPACE;

enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

/* A token as the file spells it. */
struct entry {
    const char *text; /* NULL: no token has this id */
    uint8_t type;
};

struct reader {
    const json_t *root;
    const json_t *vocab;
    const json_t *merges;
    const char *rule; /* the user's, or NULL */
    struct source *source;
    struct why *why;
    struct entry *entries; /* by id */
    size_t n_entries;
    size_t cap_entries;
    bool is_spm;
};

/* ---- what the tokenizer does to text before it looks tokens up ---- */

static const char *type_of(const json_t *step)
{
    const char *type = json_string_value(json_object_get(step, "type"));
    return type != NULL ? type : "";
}

static enum err refuse_step(const struct reader *r, const char *what, const char *text)
{
    return why_set(r->why, ERR_UNSUPPORTED,
                   "%s: %s: expected one that Halo's tokenizer knows, found %.400s", FILE_NAME,
                   what, text);
}

static enum err check_normalizer_step(struct reader *r, const json_t *step, bool *has_prefix)
{
    const char *type = type_of(step);
    const char *prefix = json_string_value(json_object_get(step, "prepend"));
    const char *content = json_string_value(json_object_get(step, "content"));
    if (!r->is_spm && strcmp(type, "NFC") == 0) {
        source_note(r->source,
                    "%s: text is not normalised to NFC as the model's own tokenizer does",
                    FILE_NAME);
        return ERR_OK;
    }
    if (r->is_spm && strcmp(type, "Prepend") == 0 && prefix && strcmp(prefix, SPACE_MARK) == 0) {
        *has_prefix = true;
        return ERR_OK;
    }
    if (r->is_spm && strcmp(type, "Replace") == 0 && content && strcmp(content, SPACE_MARK) == 0)
        return ERR_OK;
    return refuse_step(r, "normalizer", *type != '\0' ? type : "none");
}

static enum err check_normalizer(struct reader *r, bool *has_prefix)
{
    const json_t *v = json_object_get(r->root, "normalizer");
    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (strcmp(type_of(v), "Sequence") != 0)
        return check_normalizer_step(r, v, has_prefix);
    const json_t *steps = json_object_get(v, "normalizers");
    enum err e = ERR_OK;
    for (size_t i = 0; i < json_array_size(steps) && !e; i++)
        e = check_normalizer_step(r, json_array_get(steps, i), has_prefix);
    return e;
}

/* SentencePiece has no rule; newer files mark spaces in a "Metaspace" step. */
static enum err check_metaspace(struct reader *r, const json_t *v, bool *has_prefix)
{
    if (v == NULL || json_is_null(v))
        return ERR_OK;
    const char *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    if (strcmp(type_of(v), "Metaspace") != 0)
        return refuse_step(r, "pre_tokenizer", type_of(v));
    if (json_is_true(json_object_get(v, "split")) && scheme != NULL)
        return refuse_step(r, "pre_tokenizer", "Metaspace that splits");
    *has_prefix = scheme != NULL ? strcmp(scheme, "never") != 0
                                 : !json_is_false(json_object_get(v, "add_prefix_space"));
    return ERR_OK;
}

/* Llama 3's rule takes a piece that is a token whole, the others merge it; so do the published files. */
static void note_ignored_merges(struct reader *r, const char *rule)
{
    const json_t *v = json_object_get(json_object_get(r->root, "model"), "ignore_merges");
    if (json_is_boolean(v) && json_is_true(v) != (strcmp(rule, "llama-3") == 0))
        source_note(
            r->source,
            "%s: ignore_merges is %s, which the rule %s does not follow: some words may get "
            "other tokens",
            FILE_NAME, json_is_true(v) ? "true" : "false", rule);
}

static enum err check_text_steps(struct reader *r)
{
    struct source_config *c = &r->source->config;
    bool has_prefix = false;
    enum err e = check_normalizer(r, &has_prefix);
    if (e)
        return e;
    const json_t *pre = json_object_get(r->root, "pre_tokenizer");
    (void)snprintf(c->tokenizer_model, sizeof c->tokenizer_model, r->is_spm ? "spm" : "bpe");
    if (r->is_spm) {
        e = check_metaspace(r, pre, &has_prefix);
        (void)json_object_set_new(c->extra, "add_space_prefix", json_boolean(has_prefix));
        return e;
    }
    struct buf line = {0};
    hf_pretokenizer_describe(pre, &line);
    const char *rule = hf_pretokenizer_rule(line.ptr);
    rule = rule != NULL ? rule : r->rule;
    if (rule == NULL)
        e = why_set(r->why, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: expected one that Halo's tokenizer knows, found %.400s; "
                    "--pre-tokenizer names a rule that cuts text in the same way",
                    FILE_NAME, line.ptr);
    else
        (void)snprintf(c->pre_tokenizer, sizeof c->pre_tokenizer, "%s", rule);
    if (rule != NULL)
        note_ignored_merges(r, rule);
    buf_fini(&line);
    return e;
}

/* ---- tokens ---- */

static void reserve_entry(struct reader *r, size_t id)
{
    size_t cap = r->cap_entries;
    if (id < cap)
        return;
    while (cap <= id)
        cap = cap == 0 ? 1024 : 2 * cap;
    r->entries = mem_resize(r->entries, cap, sizeof *r->entries);
    memset(r->entries + r->cap_entries, 0, (cap - r->cap_entries) * sizeof *r->entries);
    r->cap_entries = cap;
}

static enum err place(struct reader *r, const char *text, const json_t *id, uint8_t type)
{
    json_int_t n = json_integer_value(id);
    if (!json_is_integer(id) || n < 0 || n >= SOURCE_VOCAB_MAX)
        return why_set(r->why, ERR_MODEL_FORMAT, "%s: token \"%.100s\": expected an id in 0..%d",
                       FILE_NAME, text, SOURCE_VOCAB_MAX - 1);
    reserve_entry(r, (size_t)n);
    struct entry *x = &r->entries[n];
    if (x->text != NULL && strcmp(x->text, text) != 0)
        return why_set(r->why, ERR_MODEL_FORMAT,
                       "%s: id %lld: expected one token, found \"%.100s\" and \"%.100s\"",
                       FILE_NAME, (long long)n, x->text, text);
    *x = (struct entry){text, type};
    if ((size_t)n >= r->n_entries)
        r->n_entries = (size_t)n + 1;
    return ERR_OK;
}

static enum err place_added(struct reader *r)
{
    const json_t *added = json_object_get(r->root, "added_tokens");
    const char *unknown =
        json_string_value(json_object_get(json_object_get(r->root, "model"), "unk_token"));
    enum err e = ERR_OK;
    for (size_t i = 0; i < json_array_size(added) && !e; i++) {
        const json_t *v = json_array_get(added, i);
        const char *text = json_string_value(json_object_get(v, "content"));
        bool is_special = json_is_true(json_object_get(v, "special"));
        uint8_t type = is_special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        if (text == NULL)
            return why_set(r->why, ERR_MODEL_FORMAT,
                           "%s: added_tokens: entry %zu: expected a \"content\"", FILE_NAME, i);
        if (r->is_spm && unknown != NULL && strcmp(text, unknown) == 0)
            type = TOKEN_UNKNOWN;
        e = place(r, text, json_object_get(v, "id"), type);
    }
    return e;
}

/* The raw bytes of a token; may change its type to that of a byte. */
static void decode_token(const struct reader *r, struct entry *x, struct buf *bytes)
{
    buf_reset(bytes);
    if (x->text == NULL)
        return;
    int byte = r->is_spm && x->type == TOKEN_NORMAL ? spm_text_byte(str_from(x->text)) : -1;
    if (byte >= 0) {
        x->type = TOKEN_BYTE;
        buf_add_char(bytes, (char)byte);
    } else if (x->type == TOKEN_NORMAL && r->is_spm) {
        spm_text_add(bytes, str_from(x->text));
    } else if (x->type != TOKEN_NORMAL || !printable_add_bytes(bytes, str_from(x->text))) {
        /* Written as it is; a normal one is a token that no text becomes, of another alphabet. */
        buf_add_cstr(bytes, x->text);
    }
}

static enum err read_tokens(struct reader *r)
{
    const char *text;
    json_t *id;
    enum err e = ERR_OK;
    json_object_foreach((json_t *)(uintptr_t)r->vocab, text, id)
    {
        e = place(r, text, id, TOKEN_NORMAL);
        if (e)
            return e;
    }
    e = place_added(r);
    struct buf bytes = {0};
    for (size_t i = 0; i < r->n_entries && !e; i++) {
        decode_token(r, &r->entries[i], &bytes);
        uint8_t type = r->entries[i].text != NULL ? r->entries[i].type : TOKEN_UNUSED;
        e = source_add_token(&r->source->tokenizer, buf_str(&bytes), type, r->why);
    }
    buf_fini(&bytes);
    if (!e && r->n_entries == 0)
        e = why_set(r->why, ERR_MODEL_FORMAT, "%s: expected a vocabulary", FILE_NAME);
    return e;
}

/* ---- merges ---- */

/* The two parts of a merge: a pair of strings, or one with a space between. */
static bool split_merge(const json_t *v, struct buf *left, struct buf *right)
{
    const char *text = json_string_value(v);
    const char *space = text != NULL ? strchr(text, ' ') : NULL;
    const char *a = json_string_value(json_array_get(v, 0));
    const char *b = json_string_value(json_array_get(v, 1));
    buf_reset(left);
    buf_reset(right);
    if (space != NULL && strchr(space + 1, ' ') == NULL) {
        buf_add(left, text, (size_t)(space - text));
        buf_add_cstr(right, space + 1);
    } else if (a != NULL && b != NULL && json_array_size(v) == 2) {
        buf_add_cstr(left, a);
        buf_add_cstr(right, b);
    }
    return left->len > 0 && right->len > 0;
}

struct merge {
    json_int_t left, right, result;
};

static bool find_merge(const struct reader *r, const json_t *v, struct buf *left, struct buf *right,
                       struct merge *m)
{
    if (!split_merge(v, left, right))
        return false;
    const json_t *a = json_object_get(r->vocab, left->ptr);
    const json_t *b = json_object_get(r->vocab, right->ptr);
    buf_add(left, right->ptr, right->len);
    const json_t *c = json_object_get(r->vocab, left->ptr);
    *m = (struct merge){json_integer_value(a), json_integer_value(b), json_integer_value(c)};
    return a != NULL && b != NULL && c != NULL;
}

static void take_merge(struct reader *r, size_t rank, const struct merge *m)
{
    struct source_tokenizer *t = &r->source->tokenizer;
    if (!r->is_spm) {
        t->merges[2 * t->n_merges] = (uint32_t)m->left;
        t->merges[2 * t->n_merges + 1] = (uint32_t)m->right;
    } else if (t->scores[m->result] < -(float)rank) {
        t->scores[m->result] = -(float)rank;
    }
    t->n_merges += !r->is_spm;
}

static enum err read_merges(struct reader *r)
{
    struct source_tokenizer *t = &r->source->tokenizer;
    size_t n = json_array_size(r->merges);
    struct buf left = {0};
    struct buf right = {0};
    enum err e = ERR_OK;
    if (r->is_spm) {
        t->scores = mem_resize(NULL, t->n_tokens, sizeof *t->scores);
        for (uint32_t i = 0; i < t->n_tokens; i++)
            t->scores[i] = -1e9F; /* below every rank: made by no merge */
    } else {
        t->merges = mem_resize(NULL, 2 * n, sizeof *t->merges);
    }
    for (size_t i = 0; i < n && !e; i++) {
        struct merge m;
        if (find_merge(r, json_array_get(r->merges, i), &left, &right, &m))
            take_merge(r, i, &m);
        else
            e = why_set(r->why, ERR_MODEL_FORMAT,
                        "%s: merges: entry %zu: expected two tokens whose concatenation is a token",
                        FILE_NAME, i);
    }
    buf_fini(&left);
    buf_fini(&right);
    return e;
}

/* ---- all ---- */

static enum err check_model(struct reader *r)
{
    const json_t *model = json_object_get(r->root, "model");
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model) || (type != NULL && strcmp(type_of(model), "BPE") != 0))
        return why_set(r->why, ERR_UNSUPPORTED, "%s: model: expected type \"BPE\", found \"%.60s\"",
                       FILE_NAME, type_of(model));
    static const char *const AFFIXES[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < ARRAY_LEN(AFFIXES); i++) {
        if (json_string_length(json_object_get(model, AFFIXES[i])) > 0)
            return why_set(r->why, ERR_UNSUPPORTED, "%s: model: expected no %s", FILE_NAME,
                           AFFIXES[i]);
    }
    r->vocab = json_object_get(model, "vocab");
    r->merges = json_object_get(model, "merges");
    r->is_spm = json_is_true(json_object_get(model, "byte_fallback"));
    if (!json_is_object(r->vocab) || !json_is_array(r->merges))
        return why_set(r->why, ERR_MODEL_FORMAT, "%s: model: expected \"vocab\" and \"merges\"",
                       FILE_NAME);
    return ERR_OK;
}

enum err hf_tokenizer_read(const json_t *tokenizer, const char *rule, struct source *s,
                           struct why *why)
{
    struct reader r = {.root = tokenizer, .rule = rule, .source = s, .why = why};
    if (s->config.extra == NULL)
        s->config.extra = json_object();
    enum err e = check_model(&r);
    if (!e)
        e = check_text_steps(&r);
    if (!e)
        e = read_tokens(&r);
    if (!e)
        e = read_merges(&r);
    free(r.entries);
    return e;
}
