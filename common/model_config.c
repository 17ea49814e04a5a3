/* SPDX-License-Identifier: MIT */
#include "common/model_config.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/check.h"

/* Where the first error is noted; later reads are skipped once `is_bad` is set. */
struct reader {
    const json_t *root;
    const char *where; /* before the names of keys */
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
        fail(r, "config: %s%s: expected an integer in %u..%u", r->where, key, low, high);
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
        fail(r, "config: %s%s: expected a number above %g and below %g", r->where, key, low, high);
        return high;
    }
    return x;
}

static bool is_given(const struct reader *r, const char *key)
{
    const json_t *v = json_object_get(r->root, key);
    return v && !json_is_null(v);
}

static double read_real_or(struct reader *r, const char *key, double low, double high,
                           double fallback)
{
    return is_given(r, key) ? read_real(r, key, low, high) : fallback;
}

static bool read_bool(struct reader *r, const char *key, bool is_required)
{
    const json_t *v = json_object_get(r->root, key);
    if (!v && !is_required)
        return false;
    if (!json_is_boolean(v))
        fail(r, "config: %s%s: expected true or false", r->where, key);
    return json_is_true(v);
}

static bool is_plain(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    }
    return true;
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
    if (!is_plain(s, n)) {
        fail(r, "config: %s: expected no control characters", key);
        return;
    }
    memcpy(dst, s, n);
    dst[n] = '\0';
}

struct choices {
    const char *all; /* for people */
    const char *names[4]; /* their places are the values of an enum */
};

static const struct choices ARCHS = {"bitnet, llama, qwen3", {"bitnet", "llama", "qwen3"}};
static const struct choices ACTS = {"relu2, silu", {"relu2", "silu"}};
static const struct choices ROPES = {"default, linear, llama3, yarn",
                                     {"default", "linear", "llama3", "yarn"}};

/* The place of the string among the names; what is not among them is refused by its name. */
static unsigned read_choice(struct reader *r, const char *key, const struct choices *c)
{
    const json_t *v = json_object_get(r->root, key);
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    for (unsigned i = 0; i < ARRAY_LEN(c->names) && c->names[i]; i++) {
        if (strcmp(s, c->names[i]) == 0)
            return i;
    }
    if (*s != '\0' && is_plain(s, strlen(s)))
        fail(r, "config: %s%s: \"%.32s\" is not supported, expected one of %s", r->where, key, s,
             c->all);
    else
        fail(r, "config: %s%s: expected one of %s", r->where, key, c->all);
    return 0;
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

/* ---- rope_scaling ---- */

static const char *const ROPE_KEYS[] = {"rope_type",        "type",
                                        "factor",           "original_max_position_embeddings",
                                        "low_freq_factor",  "high_freq_factor",
                                        "beta_fast",        "beta_slow",
                                        "attention_factor", "mscale",
                                        "mscale_all_dim",   "truncate",
                                        "rope_theta",       "finetuned"};

static void refuse_unknown_rope_keys(struct reader *r)
{
    json_t *object = json_object_get(r->root, "rope_scaling");
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(object, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < ARRAY_LEN(ROPE_KEYS); i++)
            is_known = is_known || strcmp(key, ROPE_KEYS[i]) == 0;
        if (!is_known && is_plain(key, strlen(key)))
            fail(r, "config: rope_scaling: the key \"%.40s\" is not supported", key);
        else if (!is_known)
            fail(r, "config: rope_scaling: unknown key");
    }
}

static void read_llama3(struct reader *r, struct model_rope_scaling *s)
{
    s->n_ctx_original = read_u32(r, "original_max_position_embeddings", 1, 1U << 20);
    s->low_freq_factor = read_real(r, "low_freq_factor", 0, 1e6);
    s->high_freq_factor = read_real(r, "high_freq_factor", 0, 1e6);
    if (!(s->high_freq_factor > s->low_freq_factor))
        fail(r, "config: rope_scaling.high_freq_factor: expected more than low_freq_factor");
}

static void read_yarn(struct reader *r, struct model_rope_scaling *s, uint32_t n_ctx)
{
    static const char ORIGINAL[] = "original_max_position_embeddings";
    s->n_ctx_original = is_given(r, ORIGINAL) ? read_u32(r, ORIGINAL, 1, 1U << 20) : n_ctx;
    s->beta_fast = read_real_or(r, "beta_fast", 0, 1e6, 32);
    s->beta_slow = read_real_or(r, "beta_slow", 0, 1e6, 1);
    s->attention_factor = read_real_or(r, "attention_factor", 0, 1e3, 0);
    s->mscale = read_real_or(r, "mscale", 0, 1e3, 0);
    s->mscale_all_dim = read_real_or(r, "mscale_all_dim", 0, 1e3, 0);
    s->is_truncated = !is_given(r, "truncate") || read_bool(r, "truncate", true);
}

static void read_rope_scaling(struct reader *r, struct model_config *c)
{
    struct model_rope_scaling *s = &c->rope_scaling;
    if (!is_given(r, "rope_scaling"))
        return;
    const json_t *object = json_object_get(r->root, "rope_scaling");
    if (!json_is_object(object)) {
        fail(r, "config: rope_scaling: expected an object or null");
        return;
    }
    refuse_unknown_rope_keys(r);
    struct reader inner = *r;
    inner.root = object;
    inner.where = "rope_scaling.";
    s->type = (enum model_rope)read_choice(
        &inner, is_given(&inner, "rope_type") ? "rope_type" : "type", &ROPES);
    if (s->type != MODEL_ROPE_DEFAULT)
        s->factor = read_real(&inner, "factor", 0, 1e4);
    if (s->type == MODEL_ROPE_LLAMA3)
        read_llama3(&inner, s);
    if (s->type == MODEL_ROPE_YARN)
        read_yarn(&inner, s, c->n_ctx);
    r->is_bad = inner.is_bad;
}

/* ---- hadamard_inputs ---- */

static unsigned read_projections(struct reader *r)
{
    static const char *const NAMES[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                        "gate_proj", "up_proj", "down_proj"};
    const json_t *list = json_object_get(r->root, "hadamard_inputs");
    unsigned found = 0;
    if (!json_is_array(list))
        fail(r, "config: hadamard_inputs: expected an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        unsigned bit = 0;
        for (unsigned k = 0; s && k < ARRAY_LEN(NAMES); k++)
            bit |= strcmp(s, NAMES[k]) == 0 ? 1U << k : 0;
        if (bit == 0)
            fail(r, "config: hadamard_inputs: expected names of projections, such as \"o_proj\"");
        found |= bit;
    }
    return found;
}

static void read_hadamard(struct reader *r, struct model_config *c)
{
    enum { QKV = 7, O = 8, GATE_UP = 48, DOWN = 64 };
    unsigned p = is_given(r, "hadamard_inputs") ? read_projections(r) : 0;
    if (p == 0)
        return;
    if (((p & QKV) && (p & QKV) != QKV) || ((p & GATE_UP) && (p & GATE_UP) != GATE_UP))
        fail(r, "config: hadamard_inputs: expected all or none of the projections of one input");
    uint32_t n = c->hadamard_block = read_u32(r, "hadamard_block", 2, MODEL_HADAMARD_BLOCK_MAX);
    uint64_t n_q = (uint64_t)c->n_heads * c->head_dim;
    if ((n & (n - 1)) != 0 || ((p & (QKV | GATE_UP)) && c->n_hidden % n != 0) ||
        ((p & O) && n_q % n != 0) || ((p & DOWN) && c->n_ffn % n != 0))
        fail(r, "config: hadamard_block: expected a power of two that divides the rotated inputs");
    c->hadamard = ((p & QKV) ? MODEL_HADAMARD_QKV : 0U) | ((p & O) ? MODEL_HADAMARD_O : 0U) |
                  ((p & GATE_UP) ? MODEL_HADAMARD_GATE_UP : 0U) |
                  ((p & DOWN) ? MODEL_HADAMARD_DOWN : 0U);
}

static void read_all(struct reader *r, struct model_config *c)
{
    c->arch = (enum model_arch)read_choice(r, "architecture", &ARCHS);
    c->act = (enum model_act)read_choice(r, "hidden_act", &ACTS);
    read_text(r, "name", c->name, MODEL_NAME_MAX);
    read_tokenizer(r, c);
    if (!c->is_spm || is_given(r, "pre_tokenizer"))
        read_text(r, "pre_tokenizer", c->pre_tokenizer, MODEL_PRE_TOKENIZER_MAX);
    read_shape(r, c);
    c->rope_theta = read_real(r, "rope_theta", 1.0, 1e12);
    read_rope_scaling(r, c);
    c->rms_eps = (float)read_real(r, "rms_norm_eps", 0.0, 1.0);
    if (!(c->rms_eps > 0.0F))
        fail(r, "config: rms_norm_eps: expected a positive 32-bit float");
    c->is_tied = read_bool(r, "tie_word_embeddings", true);
    read_hadamard(r, c);
    read_tokens(r, c);
}

const char *model_config_arch_name(enum model_arch arch)
{
    return ARCHS.names[arch];
}

enum err model_config_parse(const void *json, size_t size, char *why, size_t cap_why,
                            struct model_config *ret_config)
{
    json_error_t error;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    struct reader r = {.root = root, .where = "", .why = why, .cap_why = cap_why};
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
