/* SPDX-License-Identifier: MIT */
#include "services/model/hf_pretokenizer.h"

#include <string.h>

#include "common/check.h"

struct rule {
    const char *name;
    const char *line;
};

static const struct rule RULES[] = {
#define RULE(name, line) {name, line},
#include "services/model/pretokenizers.def"
#undef RULE
};

static const char *text_of(const json_t *step, const char *key)
{
    const char *text = json_string_value(json_object_get(step, key));
    return text != NULL ? text : "?";
}

static void describe_split(const json_t *step, struct buf *to)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    buf_printf(to, "Split(%s%s,", text_of(step, "behavior"),
               json_is_true(json_object_get(step, "invert")) ? ",inverted" : "");
    buf_add_cstr(to, regex != NULL ? regex : text_of(pattern, "String"));
    buf_add_cstr(to, regex != NULL ? ")" : ",literal)");
}

static void describe_bytes(const json_t *step, struct buf *to)
{
    const json_t *regex = json_object_get(step, "use_regex");
    buf_add_cstr(to, "ByteLevel");
    if (regex == NULL || json_is_true(regex)) /* absent in files older than the option */
        buf_add_cstr(to, "(regex)");
    if (json_is_true(json_object_get(step, "add_prefix_space")))
        buf_add_cstr(to, "(prefix space)");
}

static void describe_step(const json_t *step, struct buf *to)
{
    const char *type = text_of(step, "type");
    if (to->len > 0)
        buf_add_char(to, ' ');
    if (strcmp(type, "Split") == 0)
        describe_split(step, to);
    else if (strcmp(type, "ByteLevel") == 0)
        describe_bytes(step, to);
    else if (strcmp(type, "Digits") == 0)
        buf_add_cstr(to, json_is_true(json_object_get(step, "individual_digits")) ? "Digits(each)"
                                                                                  : "Digits");
    else if (strcmp(type, "Punctuation") == 0)
        buf_printf(to, "Punctuation(%s)", text_of(step, "behavior"));
    else
        buf_add_cstr(to, type);
}

void hf_pretokenizer_describe(const json_t *pre_tokenizer, struct buf *to)
{
    buf_add_cstr(to, ""); /* there is a line even of no steps */
    if (strcmp(text_of(pre_tokenizer, "type"), "Sequence") != 0) {
        describe_step(pre_tokenizer, to);
        return;
    }
    const json_t *steps = json_object_get(pre_tokenizer, "pretokenizers");
    for (size_t i = 0; i < json_array_size(steps); i++)
        describe_step(json_array_get(steps, i), to);
}

const char *hf_pretokenizer_rule(const char *line)
{
    for (size_t i = 0; i < ARRAY_LEN(RULES); i++) {
        if (strcmp(line, RULES[i].line) == 0)
            return RULES[i].name;
    }
    return NULL;
}
