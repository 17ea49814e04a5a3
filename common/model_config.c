/* SPDX-License-Identifier: MIT */
#include "common/model_config.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the first error is noted; later reads are skipped once `is_bad` is set. */
struct reader {
    const json_t *root;
    char *why;
    size_t cap_why;
    bool is_bad;
};

__attribute__((format(printf, 2, 3))) static void fail(struct reader *r, const char *fmt, ...)
{
    if (r->is_bad)
        return;
    r->is_bad = true;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->why, r->cap_why, fmt, ap);
    va_end(ap);
}

static bool is_int_in(const json_t *v, json_int_t low, json_int_t high)
{
    return json_is_integer(v) && json_integer_value(v) >= low && json_integer_value(v) <= high;
}

static uint32_t read_u32(struct reader *r, const char *key, uint32_t low, uint32_t high)
{
    const json_t *v = json_object_get(r->root, key);
    if (!is_int_in(v, low, high)) {
        fail(r, "config: %s: expected an integer in %u..%u", key, low, high);
        return low;
    }
    return (uint32_t)json_integer_value(v);
}

/* A number with low < value < high. */
static double read_real(struct reader *r, const char *key, double low, double high)
{
    const json_t *v = json_object_get(r->root, key);
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x > low && x < high)) {
        fail(r, "config: %s: expected a number above %g and below %g", key, low, high);
        return high;
    }
    return x;
}

static bool read_bool(struct reader *r, const char *key, bool is_required)
{
    const json_t *v = json_object_get(r->root, key);
    if (!v && !is_required)
        return false;
    if (!json_is_boolean(v))
        fail(r, "config: %s: expected true or false", key);
    return json_is_true(v);
}

/* Copies a string of 1..max bytes without control characters; dst has max + 1 bytes. */
static void read_text(struct reader *r, const char *key, char *dst, size_t max)
{
    const json_t *v = json_object_get(r->root, key);
    size_t n = json_string_length(v);
    if (!json_is_string(v) || n < 1 || n > max) {
        fail(r, "config: %s: expected a string of 1..%zu bytes", key, max);
        return;
    }
    const char *s = json_string_value(v);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) {
            fail(r, "config: %s: expected no control characters", key);
            return;
        }
    }
    memcpy(dst, s, n);
    dst[n] = '\0';
}

static void expect_text(struct reader *r, const char *key, const char *want)
{
    const json_t *v = json_object_get(r->root, key);
    if (!json_is_string(v) || strcmp(json_string_value(v), want) != 0)
        fail(r, "config: %s: expected \"%s\"", key, want);
}

static void read_shape(struct reader *r, struct model_config *c)
{
    c->n_vocab = read_u32(r, "vocab_size", 2, 1U << 20);
    c->n_hidden = read_u32(r, "hidden_size", 1, 1U << 16);
    c->n_ffn = read_u32(r, "intermediate_size", 1, 1U << 18);
    c->n_layers = read_u32(r, "num_hidden_layers", 1, 512);
    c->n_heads = read_u32(r, "num_attention_heads", 1, 512);
    c->n_kv_heads = read_u32(r, "num_key_value_heads", 1, c->n_heads);
    c->head_dim = read_u32(r, "head_dim", 2, 512);
    c->n_ctx = read_u32(r, "max_position_embeddings", 1, 1U << 20);
    if (c->n_heads % c->n_kv_heads != 0)
        fail(r, "config: num_key_value_heads: expected a divisor of num_attention_heads (%u)",
             c->n_heads);
    if (c->head_dim % 2 != 0)
        fail(r, "config: head_dim: expected an even number");
}

static void read_tokenizer(struct reader *r, struct model_config *c)
{
    const json_t *model = json_object_get(r->root, "tokenizer_model");
    const char *name = model ? json_string_value(model) : "bpe";
    if (!name || (strcmp(name, "bpe") != 0 && strcmp(name, "spm") != 0)) {
        fail(r, "config: tokenizer_model: expected \"bpe\" or \"spm\"");
        return;
    }
    c->is_spm = strcmp(name, "spm") == 0;
    bool has_prefix_key = json_object_get(r->root, "add_space_prefix") != NULL;
    bool does_add_space = !has_prefix_key || read_bool(r, "add_space_prefix", true);
    c->does_add_space = c->is_spm && does_add_space;
}

static void read_tokens(struct reader *r, struct model_config *c)
{
    const json_t *bos = json_object_get(r->root, "bos_token_id");
    c->has_bos = bos && !json_is_null(bos);
    c->bos_id = c->has_bos ? read_u32(r, "bos_token_id", 0, c->n_vocab - 1) : 0;
    c->does_add_bos = read_bool(r, "add_bos", false);
    if (c->does_add_bos && !c->has_bos)
        fail(r, "config: add_bos: expected a bos_token_id beside it");

    const json_t *eos = json_object_get(r->root, "eos_token_ids");
    size_t n = json_array_size(eos);
    if (!json_is_array(eos) || n < 1 || n > MODEL_EOS_MAX) {
        fail(r, "config: eos_token_ids: expected an array of 1..%d ids", MODEL_EOS_MAX);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(eos, i);
        if (!is_int_in(id, 0, (json_int_t)c->n_vocab - 1)) {
            fail(r, "config: eos_token_ids: expected ids below vocab_size (%u)", c->n_vocab);
            return;
        }
        c->eos_ids[i] = (uint32_t)json_integer_value(id);
    }
    c->n_eos = (uint32_t)n;
}

static void read_all(struct reader *r, struct model_config *c)
{
    expect_text(r, "architecture", "bitnet");
    expect_text(r, "hidden_act", "relu2");
    const json_t *scaling = json_object_get(r->root, "rope_scaling");
    if (scaling && !json_is_null(scaling))
        fail(r, "config: rope_scaling: expected null");
    read_text(r, "name", c->name, MODEL_NAME_MAX);
    read_text(r, "pre_tokenizer", c->pre_tokenizer, MODEL_PRE_TOKENIZER_MAX);
    read_shape(r, c);
    c->rope_theta = read_real(r, "rope_theta", 1.0, 1e12);
    c->rms_eps = (float)read_real(r, "rms_norm_eps", 0.0, 1.0);
    if (!(c->rms_eps > 0.0F))
        fail(r, "config: rms_norm_eps: expected a positive 32-bit float");
    c->is_tied = read_bool(r, "tie_word_embeddings", true);
    read_tokenizer(r, c);
    read_tokens(r, c);
}

enum err model_config_parse(const void *json, size_t size, char *why, size_t cap_why,
                            struct model_config *ret_config)
{
    json_error_t error;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    struct reader r = {.root = root, .why = why, .cap_why = cap_why};
    struct model_config c = {0};
    if (!root)
        fail(&r, "config: line %d: %s", error.line, error.text);
    else if (!json_is_object(root))
        fail(&r, "config: expected a JSON object");
    else
        read_all(&r, &c);
    json_decref(root);
    if (r.is_bad)
        return ERR_MODEL_FORMAT;
    *ret_config = c;
    return ERR_OK;
}
