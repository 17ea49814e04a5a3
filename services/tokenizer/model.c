/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/model.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

/* The official GGUF files of BitNet b1.58 2B4T carry a template that drops the system message and ends the
 * prompt with an end token: replies never end. This is the one the model was trained with. */
static const char WRONG_BITNET_MARK[] = "BITNETAssistant";
static const char BITNET_TEMPLATE[] =
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | "
    "trim"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

static struct str text_of(const struct h1b_section *s)
{
    return s ? (struct str){s->data, s->size} : (struct str){"", 0};
}

static const struct h1b_section *find(const struct model *m, const char *name)
{
    if (m->file)
        return h1b_find(m->file, name);
    for (size_t i = 0; i < m->n_sections; i++) {
        if (strcmp(m->sections[i].name, name) == 0)
            return &m->sections[i];
    }
    return NULL;
}

/* A section of the wanted shape, or NULL with a line in `why`. */
static const struct h1b_section *need(const struct model *m, const char *name, enum h1b_dtype dtype,
                                      uint32_t n_dims, char *why, size_t cap_why)
{
    const struct h1b_section *s = find(m, name);
    if (s && s->dtype == dtype && s->n_dims == n_dims)
        return s;
    (void)snprintf(why, cap_why, "section %s is %s", name, s ? "of another type" : "missing");
    return NULL;
}

static enum err open_config(struct model *m, char *why, size_t cap_why)
{
    const struct h1b_section *s = need(m, "config", H1B_U8, 1, why, cap_why);
    if (!s)
        return ERR_MODEL_FORMAT;
    enum err e = model_config_parse(s->data, s->size, why, cap_why, &m->config);
    if (e != ERR_OK)
        return e;
    json_t *json = json_loadb(s->data, s->size, 0, NULL);
    const char *license = json_string_value(json_object_get(json, "license"));
    const char *description = json_string_value(json_object_get(json, "description"));
    json_int_t created = json_integer_value(json_object_get(json, "created"));
    m->license = mem_strndup(license ? license : "", license ? strlen(license) : 0);
    m->description =
        mem_strndup(description ? description : "", description ? strlen(description) : 0);
    m->created = created > 0 ? (uint64_t)created : 0;
    json_decref(json);
    return ERR_OK;
}

static enum err open_merges(const struct model *m, struct vocab_data *data, char *why,
                            size_t cap_why)
{
    const struct h1b_section *s = need(m, "tokenizer.merges", H1B_U32, 2, why, cap_why);
    if (!s)
        return ERR_MODEL_FORMAT;
    if (s->dims[1] != 2) {
        (void)snprintf(why, cap_why, "section tokenizer.merges has no pairs");
        return ERR_MODEL_FORMAT;
    }
    data->merges = s->data;
    data->n_merges = s->dims[0];
    return ERR_OK;
}

static enum err open_scores(const struct model *m, struct vocab_data *data, char *why,
                            size_t cap_why)
{
    const struct h1b_section *s = need(m, "tokenizer.scores", H1B_F32, 1, why, cap_why);
    if (!s)
        return ERR_MODEL_FORMAT;
    if (s->dims[0] != data->n_tokens) {
        (void)snprintf(why, cap_why, "section tokenizer.scores has %llu scores for %zu tokens",
                       (unsigned long long)s->dims[0], data->n_tokens);
        return ERR_MODEL_FORMAT;
    }
    data->scores = s->data;
    return ERR_OK;
}

static enum err open_vocab(struct model *m, char *why, size_t cap_why)
{
    const struct h1b_section *offsets = need(m, "tokenizer.offsets", H1B_U32, 1, why, cap_why);
    const struct h1b_section *bytes =
        offsets ? need(m, "tokenizer.bytes", H1B_U8, 1, why, cap_why) : NULL;
    const struct h1b_section *types =
        bytes ? need(m, "tokenizer.types", H1B_U8, 1, why, cap_why) : NULL;
    if (!types)
        return ERR_MODEL_FORMAT;
    uint64_t n = types->dims[0];
    if (offsets->dims[0] != n + 1 || n > m->config.n_vocab) {
        (void)snprintf(
            why, cap_why, "tokenizer: %llu types, %llu offsets and a vocabulary of %u do not agree",
            (unsigned long long)n, (unsigned long long)offsets->dims[0], m->config.n_vocab);
        return ERR_MODEL_FORMAT;
    }
    struct vocab_data data = {
        .offsets = offsets->data,
        .bytes = bytes->data,
        .n_bytes = bytes->size,
        .types = types->data,
        .n_tokens = n,
    };
    enum err e = m->config.is_spm ? open_scores(m, &data, why, cap_why)
                                  : open_merges(m, &data, why, cap_why);
    return e == ERR_OK ? vocab_new(&data, why, cap_why, &m->vocab) : e;
}

static struct str token_text(const struct model *m, uint32_t id)
{
    return vocab_has(m->vocab, id) ? vocab_bytes(m->vocab, id) : (struct str){"", 0};
}

static enum err open_template(struct model *m, char *why, size_t cap_why)
{
    const struct h1b_section *s = find(m, "chat_template");
    if (!s || s->size == 0)
        return ERR_OK;
    struct str source = text_of(s);
    m->has_other_template =
        memmem(source.ptr, source.len, WRONG_BITNET_MARK, strlen(WRONG_BITNET_MARK)) != NULL;
    if (m->has_other_template)
        source = str_from(BITNET_TEMPLATE);
    struct str bos = m->config.has_bos ? token_text(m, m->config.bos_id) : (struct str){"", 0};
    struct str eos = token_text(m, m->config.eos_ids[0]);
    char line[256];
    enum err e = template_new(source, bos, eos, line, sizeof line, &m->template);
    if (e != ERR_OK)
        (void)snprintf(why, cap_why, "chat_template: %s", line);
    return e;
}

static enum err open_parts(struct model *m, char *line, size_t cap_line)
{
    line[0] = '\0';
    enum err e = open_config(m, line, cap_line);
    if (e == ERR_OK)
        e = open_vocab(m, line, cap_line);
    if (e == ERR_OK)
        e = encode_new(m->vocab, m->config.pre_tokenizer, m->config.does_add_space, line, cap_line,
                       &m->encoder);
    if (e == ERR_OK)
        e = open_template(m, line, cap_line);
    return e;
}

enum err model_open(const char *path, char *why, size_t cap_why, struct model **ret_model)
{
    char line[300];
    struct model *m = mem_zalloc(1, sizeof *m);
    enum err e = h1b_open(path, H1B_VERIFY_TABLE, why, cap_why, &m->file);
    if (e != ERR_OK)
        goto fail;
    (void)snprintf(m->hash, sizeof m->hash, "%s", h1b_hash(m->file));
    e = open_parts(m, line, sizeof line);
    if (e != ERR_OK) {
        (void)snprintf(why, cap_why, "%s: %s", path, line[0] ? line : err_text(e));
        goto fail;
    }
    *ret_model = m;
    return ERR_OK;
fail:
    model_close(m);
    return e;
}

static uint64_t size_of_item(enum h1b_dtype dtype)
{
    return dtype == H1B_U8 ? 1 : 4;
}

/* Copies a section; false if it is not what it says. */
static bool copy_section(struct h1b_section *to, const struct rec_section *s)
{
    const uint64_t columns = s->columns > 0 ? s->columns : 1;
    const uint64_t cap = FRAME_MAX_BYTES;
    if (s->dtype > H1B_F32 || s->rows > cap || columns > cap ||
        s->data.len != s->rows * columns * size_of_item((enum h1b_dtype)s->dtype))
        return false;
    void *data = mem_zalloc(s->data.len + 1, 1);
    if (s->data.len > 0)
        memcpy(data, s->data.ptr, s->data.len);
    *to = (struct h1b_section){.name = mem_strndup(s->name.ptr, s->name.len),
                               .dtype = (enum h1b_dtype)s->dtype,
                               .n_dims = s->columns > 0 ? 2 : 1,
                               .dims = {s->rows, columns, 1, 1},
                               .data = data,
                               .size = s->data.len};
    return true;
}

enum err model_receive(const struct frame_vocabulary *f, char *why, size_t cap_why,
                       struct model **ret_model)
{
    char line[300] = "a section's size is not that of its items";
    struct model *m = mem_zalloc(1, sizeof *m);
    enum err e = ERR_OK;
    (void)snprintf(m->hash, sizeof m->hash, "%.*s", (int)f->model_hash.len, f->model_hash.ptr);
    m->sections = mem_zalloc(f->n_sections + 1, sizeof *m->sections);
    while (e == ERR_OK && m->n_sections < f->n_sections) {
        if (copy_section(&m->sections[m->n_sections], &f->sections[m->n_sections]))
            m->n_sections++;
        else
            e = ERR_MODEL_FORMAT;
    }
    if (e == ERR_OK)
        e = open_parts(m, line, sizeof line);
    if (e != ERR_OK) {
        (void)snprintf(why, cap_why, "%s", line[0] ? line : err_text(e));
        goto fail;
    }
    *ret_model = m;
    return ERR_OK;
fail:
    model_close(m);
    return e;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_sections; i++) {
        mem_free_const(m->sections[i].name);
        mem_free_const(m->sections[i].data);
    }
    free(m->sections);
    template_free(m->template);
    encode_free(m->encoder);
    vocab_free(m->vocab);
    h1b_close(m->file);
    free(m->license);
    free(m->description);
    free(m);
}
