/* SPDX-License-Identifier: MIT */
#include "services/model/hf_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

struct architecture {
    const char *theirs; /* a class of transformers, or a model_type */
    const char *ours;
};

static const struct architecture ARCHITECTURES[] = {
    {"BitNetForCausalLM", "bitnet"}, /* transformers, Microsoft */
    {"BitnetForCausalLM", "bitnet"}, /* 1bitLLM */
    {"LlamaForCausalLM", "llama"},
    {"Qwen3ForCausalLM", "qwen3"},
    {"bitnet", "bitnet"},
    {"llama", "llama"},
    {"qwen3", "qwen3"},
};

/* What must not be set: the graph has nothing for it. */
static const char *const MUST_BE_OFF[] = {
    "attention_bias", "mlp_bias", "use_sliding_window",
    "qkv_bias",       "use_bias", "add_cross_attention",
    "parallel_attn",  "alibi",
};

/* Where the first error is noted. */
struct reader {
    const json_t *root;
    struct why *why;
    enum err failed;
};

static void fail(struct reader *r, enum err e, const char *key, const char *expected)
{
    if (r->failed)
        return;
    const json_t *v = json_object_get(r->root, key);
    char *found = v != NULL ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    r->failed = why_set(r->why, e, "config.json: %s: expected %s, found %.200s", key, expected,
                        found != NULL ? found : "nothing");
    free(found);
}

/* An integer in 1..2^31-1, or `otherwise` where it is absent or null and that is not 0. */
static uint32_t read_u32(struct reader *r, const char *key, uint32_t otherwise)
{
    const json_t *v = json_object_get(r->root, key);
    if ((v == NULL || json_is_null(v)) && otherwise > 0)
        return otherwise;
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 1 || n > INT32_MAX) {
        fail(r, ERR_MODEL_FORMAT, key, "a positive integer");
        return 1;
    }
    return (uint32_t)n;
}

static void read_architecture(struct reader *r, struct source_config *c)
{
    const json_t *classes = json_object_get(r->root, "architectures");
    const char *name = json_string_value(json_array_get(classes, 0));
    const char *key = name != NULL ? "architectures" : "model_type";
    if (name == NULL)
        name = json_string_value(json_object_get(r->root, key));
    for (size_t i = 0; name != NULL && i < ARRAY_LEN(ARCHITECTURES); i++) {
        if (strcmp(name, ARCHITECTURES[i].theirs) == 0) {
            (void)snprintf(c->architecture, sizeof c->architecture, "%s", ARCHITECTURES[i].ours);
            return;
        }
    }
    fail(r, ERR_UNSUPPORTED, key, "one of BitNet, Llama or Qwen3 for causal language modelling");
}

static void read_act(struct reader *r, struct source_config *c)
{
    const json_t *v = json_object_get(r->root, "hidden_act");
    const char *name = json_string_value(v);
    if (v == NULL)
        name = "silu"; /* the default of all these classes but BitNet's, which writes it */
    if (v == NULL && strcmp(c->architecture, "bitnet") == 0)
        name = "relu2";
    if (name != NULL && (strcmp(name, "silu") == 0 || strcmp(name, "relu2") == 0))
        (void)snprintf(c->hidden_act, sizeof c->hidden_act, "%s", name);
    else
        fail(r, ERR_UNSUPPORTED, "hidden_act", "\"silu\" or \"relu2\"");
}

static void read_shape(struct reader *r, struct source_config *c)
{
    c->n_vocab = read_u32(r, "vocab_size", 0);
    c->n_hidden = read_u32(r, "hidden_size", 0);
    c->n_ffn = read_u32(r, "intermediate_size", 0);
    c->n_layers = read_u32(r, "num_hidden_layers", 0);
    c->n_heads = read_u32(r, "num_attention_heads", 0);
    c->n_kv_heads = read_u32(r, "num_key_value_heads", c->n_heads);
    bool is_qwen3 = strcmp(c->architecture, "qwen3") == 0;
    c->head_dim = read_u32(r, "head_dim", is_qwen3 ? 128 : c->n_hidden / c->n_heads);
    c->n_ctx = read_u32(r, "max_position_embeddings", 0);
    const json_t *eps = json_object_get(r->root, "rms_norm_eps");
    c->rms_eps = json_number_value(eps);
    if (!json_is_number(eps))
        fail(r, ERR_MODEL_FORMAT, "rms_norm_eps", "a number");
}

/* "rope_theta" and "rope_scaling", or both in "rope_parameters" (transformers from version 5). */
static void read_rope(struct reader *r, struct source_config *c)
{
    const json_t *both = json_object_get(r->root, "rope_parameters");
    const json_t *theta = json_object_get(json_is_object(both) ? both : r->root, "rope_theta");
    if (theta == NULL)
        theta = json_object_get(r->root, "rope_theta");
    c->rope_theta = theta == NULL ? 10000.0 : json_number_value(theta);
    if (theta != NULL && !json_is_number(theta))
        fail(r, ERR_MODEL_FORMAT, "rope_theta", "a number");
    json_t *scaling = json_object_get(r->root, "rope_scaling");
    if (scaling == NULL || json_is_null(scaling))
        scaling = json_object_get(r->root, "rope_parameters");
    if (scaling == NULL || json_is_null(scaling))
        return;
    if (!json_is_object(scaling)) {
        fail(r, ERR_MODEL_FORMAT, "rope_scaling", "an object");
        return;
    }
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    if (type == NULL)
        type = json_string_value(json_object_get(scaling, "type"));
    if (type == NULL || strcmp(type, "default") != 0)
        (void)json_object_set(c->extra, "rope_scaling", scaling);
}

/* Halo's own keys (common/model_config.h), which checks them: checkpoints have no common form for
 * rotated inputs, but a model loaded without the rotation would be noise. */
static void read_hadamard(const struct reader *r, struct source_config *c)
{
    static const char *const KEYS[] = {"hadamard_inputs", "hadamard_block"};
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        json_t *value = json_object_get(r->root, KEYS[i]);
        if (value != NULL)
            (void)json_object_set(c->extra, KEYS[i], value);
    }
}

/* Attention over a window, or RoPE on a part of a head. */
static void check_attention(struct reader *r)
{
    const json_t *types = json_object_get(r->root, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            fail(r, ERR_UNSUPPORTED, "layer_types", "\"full_attention\" only");
    }
    const json_t *part = json_object_get(r->root, "partial_rotary_factor");
    if (json_is_number(part) && json_number_value(part) != 1.0)
        fail(r, ERR_UNSUPPORTED, "partial_rotary_factor", "1");
}

static void read_quantization(struct reader *r, struct source_config *c, struct hf_config *hf)
{
    c->is_trained_ternary = strcmp(c->architecture, "bitnet") == 0;
    const json_t *q = json_object_get(r->root, "quantization_config");
    if (q == NULL || json_is_null(q))
        return;
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (method == NULL || strcmp(method, "bitnet") != 0) {
        fail(r, ERR_UNSUPPORTED, "quantization_config", "\"quant_method\" \"bitnet\"");
        return;
    }
    if (json_is_true(json_object_get(q, "use_rms_norm"))) {
        fail(r, ERR_UNSUPPORTED, "quantization_config", "\"use_rms_norm\" false");
        return;
    }
    c->is_trained_ternary = true;
    const char *class = json_string_value(json_object_get(q, "linear_class"));
    hf->scale =
        class == NULL || strcmp(class, "bitlinear") == 0 ? HF_SCALE_DIVIDES : HF_SCALE_MULTIPLIES;
    if (class != NULL && strcmp(class, "bitlinear") != 0 && strcmp(class, "autobitlinear") != 0)
        fail(r, ERR_UNSUPPORTED, "quantization_config",
             "\"linear_class\" \"bitlinear\" or \"autobitlinear\"");
}

bool hf_config_add_eos(struct source_config *c, json_int_t id)
{
    for (uint32_t i = 0; i < c->n_eos; i++) {
        if (c->eos_ids[i] == (uint32_t)id)
            return true;
    }
    if (c->n_eos == SOURCE_EOS_MAX || id < 0 || id > INT32_MAX)
        return false;
    c->eos_ids[c->n_eos++] = (uint32_t)id;
    return true;
}

static void add_eos_of(struct reader *r, const json_t *file, struct source_config *c)
{
    const json_t *v = json_object_get(file, "eos_token_id");
    bool is_good = v == NULL || json_is_null(v) || json_is_integer(v) || json_is_array(v);
    if (json_is_integer(v))
        is_good = hf_config_add_eos(c, json_integer_value(v));
    for (size_t i = 0; i < json_array_size(v) && is_good; i++) {
        const json_t *id = json_array_get(v, i);
        is_good = json_is_integer(id) && hf_config_add_eos(c, json_integer_value(id));
    }
    if (!is_good)
        fail(r, ERR_MODEL_FORMAT, "eos_token_id", "an id or an array of at most 8 ids");
}

static void read_tokens(struct reader *r, const json_t *generation, struct source_config *c)
{
    add_eos_of(r, generation, c);
    add_eos_of(r, r->root, c);
    const json_t *bos = json_object_get(r->root, "bos_token_id");
    json_int_t id = json_integer_value(bos);
    c->has_bos = json_is_integer(bos) && id >= 0 && id < INT32_MAX;
    c->bos_id = c->has_bos ? (uint32_t)id : 0;
}

static void read_origin(const struct reader *r, struct source_config *c)
{
    const char *name = json_string_value(json_object_get(r->root, "_name_or_path"));
    const char *slash = name != NULL ? strchr(name, '/') : NULL;
    if (slash != NULL && slash > name && slash[1] != '\0' && strchr(slash + 1, '/') == NULL &&
        *name != '.')
        (void)json_object_set_new(c->extra, "source", json_string(name));
}

enum err hf_config_read(const json_t *config, const json_t *generation, struct source *s,
                        struct why *why, struct hf_config *ret_hf)
{
    struct reader r = {.root = config, .why = why};
    struct hf_config hf = {0};
    struct source_config *c = &s->config;
    if (!json_is_object(config))
        return why_set(why, ERR_MODEL_FORMAT, "config.json: expected a JSON object");
    if (c->extra == NULL)
        c->extra = json_object();
    read_architecture(&r, c);
    for (size_t i = 0; i < ARRAY_LEN(MUST_BE_OFF); i++) {
        if (json_is_true(json_object_get(config, MUST_BE_OFF[i])))
            fail(&r, ERR_UNSUPPORTED, MUST_BE_OFF[i], "false");
    }
    check_attention(&r);
    read_act(&r, c);
    read_shape(&r, c);
    read_rope(&r, c);
    read_hadamard(&r, c);
    read_quantization(&r, c, &hf);
    read_tokens(&r, generation, c);
    read_origin(&r, c);
    const json_t *tie = json_object_get(config, "tie_word_embeddings");
    hf.has_tie = json_is_boolean(tie);
    c->is_tied = json_is_true(tie);
    if (r.failed)
        return r.failed;
    *ret_hf = hf;
    return ERR_OK;
}
