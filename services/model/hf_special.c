/* SPDX-License-Identifier: MIT */
#include "services/model/hf_special.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "services/model/hf_config.h"

enum { TYPE_NORMAL = 1 };

/* A special token in tokenizer_config.json: its text, or an object with the text. */
static const char *special_text(const json_t *settings, const char *key)
{
    const json_t *v = json_object_get(settings, key);
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

/* The token of this text; one that is not normal goes first. */
static bool find_token(const struct source_tokenizer *t, const char *text, uint32_t *ret_id)
{
    bool is_found = false;
    for (uint32_t i = 0; text != NULL && i < t->n_tokens; i++) {
        if (!str_is(source_token(t, i), text))
            continue;
        bool is_special = t->types[i] != TYPE_NORMAL;
        if (!is_found || is_special)
            *ret_id = i;
        is_found = true;
        if (is_special)
            break;
    }
    return is_found;
}

/* Whether the "post_processor" puts bos in front, as Llama 3's does. */
static bool does_template_add(const json_t *processor, struct str bos)
{
    const json_t *steps = json_object_get(processor, "processors");
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    for (size_t i = 0; i < json_array_size(steps) && first == NULL; i++)
        first = json_array_get(json_object_get(json_array_get(steps, i), "single"), 0);
    const char *id =
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    return id != NULL && str_is(bos, id);
}

static void read_bos(const json_t *settings, const json_t *tokenizer, struct source *s)
{
    struct source_config *c = &s->config;
    uint32_t id = 0;
    if (find_token(&s->tokenizer, special_text(settings, "bos_token"), &id)) {
        c->has_bos = true;
        c->bos_id = id;
    } else if (json_object_get(settings, "bos_token") != NULL) {
        c->has_bos = false; /* null: the tokenizer has none, whatever config.json says */
    }
    c->does_add_bos = false;
    if (!c->has_bos || c->bos_id >= s->tokenizer.n_tokens)
        return;
    const json_t *add = json_object_get(settings, "add_bos_token");
    struct str bos = source_token(&s->tokenizer, c->bos_id);
    c->does_add_bos = json_is_boolean(add)
                          ? json_is_true(add)
                          : does_template_add(json_object_get(tokenizer, "post_processor"), bos);
}

/* The tokenizer's own comes first: templates call it eos_token. */
static void read_eos(const json_t *settings, struct source *s)
{
    struct source_config *c = &s->config;
    uint32_t id = 0;
    if (!find_token(&s->tokenizer, special_text(settings, "eos_token"), &id))
        return;
    struct source_config others = *c;
    c->n_eos = 0;
    (void)hf_config_add_eos(c, id);
    for (uint32_t i = 0; i < others.n_eos; i++)
        (void)hf_config_add_eos(c, others.eos_ids[i]);
}

static void read_template(const json_t *settings, struct source *s)
{
    const json_t *v = json_object_get(settings, "chat_template");
    const char *text = json_string_value(v);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            text = json_string_value(json_object_get(one, "template"));
    }
    if (text != NULL && *text != '\0') {
        free(s->chat_template);
        s->chat_template = mem_strndup(text, strlen(text));
    }
}

void hf_special_read(const json_t *settings, const json_t *tokenizer, struct source *s)
{
    read_bos(settings, tokenizer, s);
    read_eos(settings, s);
    read_template(settings, s);
}
