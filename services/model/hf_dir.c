/* SPDX-License-Identifier: MIT */
/* hf_dir: a directory as Hugging Face's transformers saves models: config.json, tokenizer.json or
 * tokenizer.model, weights in safetensors, and beside them generation_config.json, tokenizer_config.json,
 * chat_template.jinja and a README.md with a licence, where there are such. */
#include "services/model/hf_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/file.h"
#include "services/model/hf_config.h"
#include "services/model/hf_special.h"
#include "services/model/hf_tokenizer.h"
#include "services/model/hf_weights.h"
#include "services/model/sentencepiece.h"
#include "services/model/source.h"
#include "services/model/tokenizer_file.h"

enum {
    TEMPLATE_MAX_BYTES = 1 << 20,
    CARD_MAX_BYTES = 4 << 20,
    SENTENCEPIECE_MAX_BYTES = 64 << 20,
    TOKEN_CONTROL = 3,
    ADDED_MAX = 4096,
};

static enum err read_floats(struct source *s, const struct source_tensor *t, uint64_t first,
                            uint64_t n, float *dst, struct why *why)
{
    return hf_weights_floats(s->impl, t, first, n, dst, why);
}

static enum err read_codes(struct source *s, const struct source_tensor *t, uint64_t first,
                           uint64_t n, int8_t *dst, struct why *why)
{
    return hf_weights_codes(s->impl, t, first, n, dst, why);
}

static enum err read_scales(struct source *s, const struct source_tensor *t, float *dst,
                            struct why *why)
{
    return hf_weights_scales(s->impl, t, dst, why);
}

static void close_weights(struct source *s)
{
    hf_weights_free(s->impl);
}

static const struct source_ops OPS = {read_floats, read_codes, read_scales, close_weights};

bool hf_dir_is_it(const struct source_head *head)
{
    if (!head->is_dir)
        return false;
    char *path = file_join(head->path, "config.json");
    bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}

/* NULL in *ret_json when there is no such file. */
static enum err load_if_there(const char *folder, const char *name, struct why *why,
                              json_t **ret_json)
{
    enum err e = file_load_json(folder, name, why, ret_json);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The directory's own name, as a model's public name. */
static void name_after(struct source *s)
{
    char *full = realpath(s->path, NULL);
    const char *slash = full != NULL ? strrchr(full, '/') : NULL;
    const char *name = slash != NULL && slash[1] != '\0' ? slash + 1 : "model";
    (void)snprintf(s->config.name, sizeof s->config.name, "%s", name);
    free(full);
}

/* ---- the licence, from the head of README.md: lines "key: value" between two lines "---" ---- */

static void take_card_line(struct source *s, const char *line, size_t n)
{
    static const char *const KEYS[] = {"license", "license_link"};
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        size_t k = strlen(KEYS[i]);
        if (n <= k + 1 || strncmp(line, KEYS[i], k) != 0 || line[k] != ':')
            continue;
        const char *value = line + k + 1;
        size_t n_value = n - k - 1;
        while (n_value > 0 && (*value == ' ' || *value == '"' || *value == '\'')) {
            value++;
            n_value--;
        }
        while (n_value > 0 && strchr(" \"'\r", value[n_value - 1]) != NULL)
            n_value--;
        if (n_value > 0)
            (void)json_object_set_new(s->config.extra, KEYS[i], json_stringn(value, n_value));
    }
}

static void read_card(struct source *s)
{
    struct why ignored;
    struct buf text = {0};
    if (file_load(s->path, "README.md", CARD_MAX_BYTES, &ignored, &text) != ERR_OK)
        return; /* a card is welcome, not needed */
    const char *line = text.ptr;
    bool is_first = true;
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        bool is_fence = strncmp(line, "---", 3) == 0;
        if (is_fence != is_first)
            break; /* no head, or its end */
        if (!is_first)
            take_card_line(s, line, (size_t)(end - line));
        is_first = false;
    }
    buf_fini(&text);
}

/* ---- the parts ---- */

static enum err read_config(struct source *s, struct why *why, struct hf_config *ret_hf)
{
    json_t *config = NULL;
    json_t *generation = NULL;
    enum err e = file_load_json(s->path, "config.json", why, &config);
    if (!e)
        e = load_if_there(s->path, "generation_config.json", why, &generation);
    struct why line;
    if (!e) {
        e = hf_config_read(config, generation, s, &line, ret_hf);
        if (e)
            (void)why_set(why, e, "%s/%s", s->path, line.text);
    }
    json_decref(config);
    json_decref(generation);
    return e;
}

/* The file chat_template.jinja goes before what tokenizer_config.json says. */
static enum err read_template_file(struct source *s, const char *folder, struct why *why)
{
    struct buf text = {0};
    enum err e = file_load(folder, "chat_template.jinja", TEMPLATE_MAX_BYTES, why, &text);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (!e && text.len > 0) {
        free(s->chat_template);
        s->chat_template = buf_detach(&text);
    }
    buf_fini(&text);
    return e;
}

static enum err explain_no_tokenizer(const char *folder, struct why *why)
{
    return why_set(why, ERR_NOT_FOUND,
                   "%s: expected tokenizer.json or tokenizer.model in it; name another directory "
                   "with --tokenizer",
                   folder);
}

/* Tokens that a tokenizer.model lacks: added_tokens.json, text to id, going on where it ends. */
static enum err read_added(struct source *s, const char *folder, struct why *why)
{
    json_t *added = NULL;
    enum err e = load_if_there(folder, "added_tokens.json", why, &added);
    struct source_tokenizer *t = &s->tokenizer;
    size_t n = json_object_size(added);
    if (n > ADDED_MAX)
        e = why_set(why, ERR_TOO_LARGE,
                    "%s/added_tokens.json: expected at most %d tokens, found %zu", folder,
                    ADDED_MAX, n);
    for (size_t i = 0; i < n && !e; i++) {
        const char *text;
        const char *found = NULL;
        json_t *id;
        json_object_foreach(added, text, id)
        {
            if (json_is_integer(id) && json_integer_value(id) == (json_int_t)t->n_tokens)
                found = text;
        }
        if (found == NULL)
            break; /* the others have ids that the model defines */
        t->scores = mem_resize(t->scores, (size_t)t->n_tokens + 1, sizeof *t->scores);
        t->scores[t->n_tokens] = 0.0F;
        e = source_add_token(t, str_from(found), TOKEN_CONTROL, why);
    }
    json_decref(added);
    return e;
}

static enum err read_sentencepiece(struct source *s, const char *folder, struct why *why)
{
    struct buf model = {0};
    struct why line;
    enum err e = file_load(folder, "tokenizer.model", SENTENCEPIECE_MAX_BYTES, why, &model);
    if (e == ERR_NOT_FOUND)
        return explain_no_tokenizer(folder, why);
    if (e)
        return e;
    e = sentencepiece_read((const uint8_t *)model.ptr, model.len, s, &line);
    buf_fini(&model);
    if (e)
        return why_set(why, e, "%s/%s", folder, line.text);
    return read_added(s, folder, why);
}

static enum err read_vocabulary(struct source *s, const char *folder, const char *rule,
                                struct why *why, json_t **ret_json)
{
    enum err e = file_load_json(folder, "tokenizer.json", why, ret_json);
    if (e == ERR_NOT_FOUND)
        return read_sentencepiece(s, folder, why);
    struct why line;
    if (!e) {
        e = hf_tokenizer_read(*ret_json, rule, s, &line);
        if (e)
            (void)why_set(why, e, "%s/%s", folder, line.text);
    }
    return e;
}

enum err hf_dir_read_tokenizer(struct source *s, const char *folder, const char *rule,
                               struct why *why)
{
    json_t *tokenizer = NULL;
    json_t *settings = NULL;
    enum err e = read_vocabulary(s, folder, rule, why, &tokenizer);
    if (!e)
        e = load_if_there(folder, "tokenizer_config.json", why, &settings);
    if (!e)
        hf_special_read(settings, tokenizer, s);
    json_decref(tokenizer);
    json_decref(settings);
    return e ? e : read_template_file(s, folder, why);
}

static enum err check_eos(const struct source *s, struct why *why)
{
    if (s->config.n_eos > 0)
        return ERR_OK;
    return why_set(why, ERR_MODEL_FORMAT,
                   "%s: expected \"eos_token_id\" in config.json or generation_config.json, or "
                   "\"eos_token\" in tokenizer_config.json: replies would never end",
                   s->path);
}

enum err hf_dir_open(struct source *s, const struct source_options *options, struct why *why)
{
    struct hf_config hf;
    s->ops = &OPS;
    name_after(s);
    enum err e = read_config(s, why, &hf);
    if (!e)
        e = tokenizer_file_read(options->tokenizer != NULL ? options->tokenizer : s->path,
                                options->pre_tokenizer, s, why);
    if (!e)
        e = check_eos(s, why);
    if (e)
        return e;
    read_card(s);
    struct hf_weights *weights = NULL;
    e = hf_weights_new(s, hf.scale, why, &weights);
    s->impl = weights;
    if (!e && !hf.has_tie)
        s->config.is_tied = source_find(s, "lm_head.weight") == NULL;
    return e;
}
