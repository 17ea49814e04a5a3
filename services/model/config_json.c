/* SPDX-License-Identifier: MIT */
#include "services/model/config_json.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/model_config.h"

enum field_type {
    FIELD_TEXT,
    FIELD_U32,
    FIELD_REAL,
    FIELD_BOOL,
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset;
    size_t size;
};

static const struct field FIELDS[] = {
#define FIELD(key, type, member)                                                                   \
    {key, FIELD_##type, offsetof(struct source_config, member),                                    \
     sizeof(((struct source_config *)NULL)->member)},
#include "services/model/config_fields.def"
#undef FIELD
};

static json_t *field_get(const struct source_config *c, const struct field *f)
{
    const char *at = (const char *)c + f->offset;
    uint32_t u;
    double d;
    bool b;
    switch (f->type) {
    case FIELD_TEXT:
        return json_string(at);
    case FIELD_U32:
        memcpy(&u, at, sizeof u);
        return json_integer(u);
    case FIELD_REAL:
        memcpy(&d, at, sizeof d);
        return json_real(d);
    case FIELD_BOOL:
        memcpy(&b, at, sizeof b);
        return json_boolean(b);
    }
    return NULL;
}

/* The value was accepted by model_config_parse, so it has the right type and range. */
static void field_put(struct source_config *c, const struct field *f, const json_t *value)
{
    char *at = (char *)c + f->offset;
    uint32_t u = (uint32_t)json_integer_value(value);
    double d = json_number_value(value);
    bool b = json_is_true(value);
    const char *text = json_string_value(value);
    switch (f->type) {
    case FIELD_TEXT:
        if (text != NULL)
            (void)snprintf(at, f->size, "%s", text);
        break;
    case FIELD_U32:
        memcpy(at, &u, sizeof u);
        break;
    case FIELD_REAL:
        memcpy(at, &d, sizeof d);
        break;
    case FIELD_BOOL:
        memcpy(at, &b, sizeof b);
        break;
    }
}

static json_t *to_json(const struct source_config *c)
{
    json_t *root = json_object();
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++)
        (void)json_object_set_new(root, FIELDS[i].key, field_get(c, &FIELDS[i]));
    if (strcmp(c->tokenizer_model, "spm") == 0) {
        (void)json_object_set_new(root, "tokenizer_model", json_string("spm"));
        (void)json_object_del(root, "pre_tokenizer");
    }
    if (c->has_bos)
        (void)json_object_set_new(root, "bos_token_id", json_integer(c->bos_id));
    json_t *eos = json_array();
    for (uint32_t i = 0; i < c->n_eos; i++)
        (void)json_array_append_new(eos, json_integer(c->eos_ids[i]));
    (void)json_object_set_new(root, "eos_token_ids", eos);
    const char *key;
    json_t *value;
    json_object_foreach(c->extra, key, value)
    {
        if (json_object_get(root, key) == NULL)
            (void)json_object_set(root, key, value);
    }
    return root;
}

enum err config_json_write(const struct source_config *c, struct why *why, char **ret_text)
{
    json_t *root = to_json(c);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (text == NULL)
        return why_nomem(why, "config");
    struct model_config checked;
    char line[300];
    enum err e = model_config_parse(text, strlen(text), line, sizeof line, &checked);
    if (e) {
        free(text);
        return why_set(why, e, "%s", line);
    }
    *ret_text = text;
    return ERR_OK;
}

static void read_tokens(struct source_config *c, const json_t *root)
{
    const json_t *bos = json_object_get(root, "bos_token_id");
    c->has_bos = json_is_integer(bos);
    c->bos_id = (uint32_t)json_integer_value(bos);
    const json_t *eos = json_object_get(root, "eos_token_ids");
    for (size_t i = 0; i < json_array_size(eos) && i < SOURCE_EOS_MAX; i++)
        c->eos_ids[c->n_eos++] = (uint32_t)json_integer_value(json_array_get(eos, i));
    const char *model = json_string_value(json_object_get(root, "tokenizer_model"));
    (void)snprintf(c->tokenizer_model, sizeof c->tokenizer_model, "%s",
                   model != NULL ? model : "bpe");
}

enum err config_json_read(const char *text, size_t n, struct source_config *c, struct why *why)
{
    struct model_config checked;
    char line[300];
    enum err e = model_config_parse(text, n, line, sizeof line, &checked);
    if (e)
        return why_set(why, e, "%s", line);
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return why_nomem(why, "config");
    read_tokens(c, root);
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        field_put(c, &FIELDS[i], json_object_get(root, FIELDS[i].key));
        (void)json_object_del(root, FIELDS[i].key);
    }
    (void)json_object_del(root, "bos_token_id");
    (void)json_object_del(root, "eos_token_ids");
    (void)json_object_del(root, "tokenizer_model");
    json_decref(c->extra);
    c->extra = root;
    return ERR_OK;
}
