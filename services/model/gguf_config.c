/* SPDX-License-Identifier: MIT */
#include "services/model/gguf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "common/utf8.h"
#include "services/model/decimal.h"
#include "services/model/load.h"

struct arch {
    const char *gguf;
    const char *name;
    const char *hidden_act;
    bool is_permuted;
};

static const struct arch ARCHS[] = {
    {"bitnet", "bitnet", "silu", false},        {"bitnet-25", "bitnet", "relu2", false},
    {"bitnet-b1.58", "bitnet", "relu2", false}, {"llama", "llama", "silu", true},
    {"qwen3", "qwen3", "silu", false},
};

/* Keys below the architecture's that change the graph, with the value that leaves it alone. */
static const struct {
    const char *key;
    double harmless;
} CHANGES[] = {
    {"expert_count", 0},
    {"attention.sliding_window", 0},
    {"attention.scale", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.clamp_kqv", 0},
    {"attention.causal", 1},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"logit_scale", 0},
    {"residual_scale", 0},
    {"embedding_scale", 0},
    {"use_parallel_residual", 0},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"rope.scaling.yarn_ext_factor", 1},
};

struct reader {
    const struct gguf *g;
    struct source *s;
    struct why *why;
    const struct arch *arch;
    char key[128];
};

/* The architecture's key of this name; valid until the next call. */
static const char *key_of(struct reader *r, const char *name)
{
    (void)snprintf(r->key, sizeof r->key, "%s.%s", r->arch->gguf, name);
    return r->key;
}

static enum err bad(const struct reader *r, const char *key, const char *expected)
{
    return why_set(r->why, ERR_MODEL_FORMAT, "%s: %s: expected %s", gguf_path(r->g), key, expected);
}

static enum err read_arch(struct reader *r)
{
    struct str name;
    if (gguf_get_str(r->g, "general.architecture", &name))
        return bad(r, "general.architecture", "a string");
    for (size_t i = 0; i < ARRAY_LEN(ARCHS); i++) {
        if (str_is(name, ARCHS[i].gguf))
            r->arch = &ARCHS[i];
    }
    if (!r->arch)
        return why_set(
            r->why, ERR_UNSUPPORTED,
            "%s: general.architecture: expected bitnet, bitnet-25, bitnet-b1.58, llama or "
            "qwen3, found \"%.*s\"",
            gguf_path(r->g), (int)(name.len < 60 ? name.len : 60), name.ptr);
    struct source_config *c = &r->s->config;
    (void)snprintf(c->architecture, sizeof c->architecture, "%s", r->arch->name);
    (void)snprintf(c->hidden_act, sizeof c->hidden_act, "%s", r->arch->hidden_act);
    c->is_trained_ternary = strcmp(r->arch->name, "bitnet") == 0;
    return ERR_OK;
}

static enum err refuse_changes(struct reader *r)
{
    size_t n = 0;
    const struct gguf_value *values = gguf_values(r->g, &n);
    static const char ROTATED[] = "prism.hadamard.";
    for (size_t i = 0; i < n; i++) {
        if (values[i].key.len >= sizeof ROTATED - 1 &&
            memcmp(values[i].key.ptr, ROTATED, sizeof ROTATED - 1) == 0)
            return why_set(r->why, ERR_UNSUPPORTED,
                           "%s: %.*s: the weights are stored rotated (Bonsai 2), which is not "
                           "computed; read as they are they would give noise",
                           gguf_path(r->g), (int)values[i].key.len, values[i].key.ptr);
    }
    for (size_t i = 0; i < ARRAY_LEN(CHANGES); i++) {
        const char *key = key_of(r, CHANGES[i].key);
        double x = CHANGES[i].harmless;
        bool b = x != 0;
        enum err e = gguf_get_f64(r->g, key, &x);
        if (e == ERR_TYPE)
            e = gguf_get_bool(r->g, key, &b);
        if (e == ERR_TYPE || x != CHANGES[i].harmless || b != (CHANGES[i].harmless != 0))
            return why_set(
                r->why, ERR_UNSUPPORTED,
                "%s: %s: only %g is computed: with another value the model is another one",
                gguf_path(r->g), key, CHANGES[i].harmless);
    }
    return ERR_OK;
}

/* An integer in 1..max; without the key `otherwise`, or a refusal where that is 0. */
static enum err read_u32(struct reader *r, const char *name, uint32_t max, uint32_t otherwise,
                         uint32_t *ret)
{
    const char *key = key_of(r, name);
    uint64_t x = otherwise;
    enum err e = gguf_get_u64(r->g, key, &x);
    if ((e && e != ERR_MISSING) || x < 1 || x > max)
        return why_set(r->why, ERR_MODEL_FORMAT, "%s: %s: expected an integer in 1..%u",
                       gguf_path(r->g), key, max);
    *ret = (uint32_t)x;
    return ERR_OK;
}

/* Head counts may be arrays with a number per layer; only equal ones are one model. */
static enum err read_heads(struct reader *r, const char *name, uint32_t otherwise, uint32_t *ret)
{
    const char *key = key_of(r, name);
    struct gguf_items items;
    if (gguf_get_items(r->g, key, &items) != ERR_OK)
        return read_u32(r, name, 512, otherwise, ret);
    int64_t first = 0;
    int64_t x = 0;
    bool has_one = gguf_next_i64(&items, &first);
    while (has_one && gguf_next_i64(&items, &x))
        has_one = x == first;
    if (!has_one || items.n_left > 0 || first < 1 || first > 512)
        return bad(r, key, "one number for all layers");
    *ret = (uint32_t)first;
    return ERR_OK;
}

static enum err read_real(struct reader *r, const char *name, double otherwise, double *ret)
{
    const char *key = key_of(r, name);
    double x = otherwise;
    enum err e = gguf_get_f64(r->g, key, &x);
    if ((e && e != ERR_MISSING) || !(x > 0) || !(x < 1e12))
        return bad(r, key, "a positive number");
    *ret = decimal_of_f32((float)x);
    return ERR_OK;
}

static enum err read_shape(struct reader *r)
{
    struct source_config *c = &r->s->config;
    const struct gguf_tensor *embedding = gguf_find_tensor(r->g, "token_embd.weight");
    if (!embedding || embedding->n_dims != 2 || embedding->dims[1] > SOURCE_VOCAB_MAX)
        return bad(r, "token_embd.weight",
                   "a matrix of at most 1048576 rows: does the file hold weights?");
    c->n_vocab = (uint32_t)embedding->dims[1];
    enum err e = read_u32(r, "embedding_length", 1 << 16, 0, &c->n_hidden);
    if (!e)
        e = read_u32(r, "feed_forward_length", 1 << 18, 0, &c->n_ffn);
    if (!e)
        e = read_u32(r, "block_count", 512, 0, &c->n_layers);
    if (!e)
        e = read_u32(r, "context_length", 1 << 20, 0, &c->n_ctx);
    if (!e)
        e = read_heads(r, "attention.head_count", 0, &c->n_heads);
    if (!e)
        e = read_heads(r, "attention.head_count_kv", c->n_heads, &c->n_kv_heads);
    if (!e)
        e = read_u32(r, "attention.key_length", 512, c->n_hidden / c->n_heads, &c->head_dim);
    uint32_t other = 0;
    if (!e)
        e = read_u32(r, "attention.value_length", 512, c->head_dim, &other);
    if (!e && other != c->head_dim)
        return bad(r, r->key, "the same as attention.key_length");
    if (!e)
        e = read_u32(r, "rope.dimension_count", 512, c->head_dim, &other);
    if (!e && other != c->head_dim)
        return bad(r, r->key, "all of a head: RoPE of a part is not computed");
    if (!e)
        e = read_real(r, "rope.freq_base", 10000, &c->rope_theta);
    if (!e)
        e = read_real(r, "attention.layer_norm_rms_epsilon", 0, &c->rms_eps);
    return e;
}

/* Llama 3.1's scaling is stored as its result, one divisor per pair of elements. With the constants that
 * Llama 3.1 and 3.2 have, the divisors of this factor. */
static bool is_llama3(const struct source_config *c, const float *divisors, double factor)
{
    double n_ctx = 8192;
    for (uint32_t i = 0; i < c->head_dim / 2; i++) {
        double freq = pow(c->rope_theta, -2.0 * i / c->head_dim);
        double length = 2 * M_PI / freq;
        double want = 1;
        if (length > n_ctx) {
            want = factor;
        } else if (length > n_ctx / 4) {
            double smooth = (n_ctx / length - 1) / 3;
            want = 1 / ((1 - smooth) / factor + smooth);
        }
        if (!(fabs((double)divisors[i] - want) <= 1e-3 * want))
            return false;
    }
    return true;
}

static enum err read_rope_factors(struct reader *r, const struct gguf_tensor *t)
{
    struct source_config *c = &r->s->config;
    float divisors[256];
    float factor = 0;
    bool is_known = t->type == 0 && t->n_weights == c->head_dim / 2 &&
                    t->n_weights <= ARRAY_LEN(divisors) && t->room >= 4 * t->n_weights;
    for (uint64_t i = 0; i < t->n_weights && is_known; i++) {
        divisors[i] = load_f32(t->data + 4 * i);
        factor = divisors[i] > factor ? divisors[i] : factor;
    }
    if (!is_known || !is_llama3(c, divisors, (double)factor))
        return why_set(
            r->why, ERR_UNSUPPORTED,
            "%s: rope_freqs.weight at offset %llu: expected the frequencies of Llama 3.1's "
            "RoPE scaling; others are not computed",
            gguf_path(r->g), (unsigned long long)t->offset);
    json_t *scaling = json_pack("{s:s, s:f, s:i, s:f, s:f}", "rope_type", "llama3", "factor",
                                (double)factor, "original_max_position_embeddings", 8192,
                                "low_freq_factor", 1.0, "high_freq_factor", 4.0);
    (void)json_object_set_new(c->extra, "rope_scaling", scaling);
    return ERR_OK;
}

static enum err read_yarn(struct reader *r, json_t *scaling, double factor)
{
    struct source_config *c = &r->s->config;
    uint32_t n_ctx = 0;
    double fast = 0;
    double slow = 0;
    double attention = 0;
    enum err e = read_u32(r, "rope.scaling.original_context_length", 1 << 20, c->n_ctx, &n_ctx);
    if (!e)
        e = read_real(r, "rope.scaling.yarn_beta_fast", 32, &fast);
    if (!e)
        e = read_real(r, "rope.scaling.yarn_beta_slow", 1, &slow);
    if (!e)
        e = read_real(r, "rope.scaling.yarn_attn_factor", 1, &attention);
    if (!e && attention == 1)
        e = read_real(r, "rope.scaling.attn_factor", 1, &attention);
    (void)json_object_set_new(scaling, "original_max_position_embeddings", json_integer(n_ctx));
    if (fast != 32)
        (void)json_object_set_new(scaling, "beta_fast", json_real(fast));
    if (slow != 1)
        (void)json_object_set_new(scaling, "beta_slow", json_real(slow));
    /* llama.cpp multiplies YaRN's own factor by it, Hugging Face's key is the whole. */
    if (attention != 1)
        (void)json_object_set_new(scaling, "attention_factor",
                                  json_real(attention * (1 + 0.1 * log(factor))));
    return e;
}

/* Without a type the scaling is linear, and a factor of 0 is none, as in llama.cpp. */
static enum err read_rope_scaling(struct reader *r)
{
    const struct gguf_tensor *factors = gguf_find_tensor(r->g, "rope_freqs.weight");
    double factor = 0;
    enum err e = gguf_get_f64(r->g, key_of(r, "rope.scaling.factor"), &factor);
    if (e == ERR_MISSING)
        e = gguf_get_f64(r->g, key_of(r, "rope.scale_linear"), &factor);
    if (e == ERR_TYPE || !(factor >= 0) || !(factor < 10000))
        return bad(r, r->key, "a number of at least 0 and below 10000");
    factor = factor > 0 ? decimal_of_f32((float)factor) : 1;
    struct str type = STR_LIT("linear");
    e = gguf_get_str(r->g, key_of(r, "rope.scaling.type"), &type);
    bool is_yarn = str_is(type, "yarn");
    bool is_linear = str_is(type, "linear");
    bool is_none = str_is(type, "none") || str_is(type, "") || (is_linear && factor == 1);
    if (e == ERR_TYPE || (!is_yarn && !is_linear && !is_none))
        return bad(r, r->key, "\"none\", \"linear\" or \"yarn\"");
    if (factors && !is_none)
        return bad(r, r->key, "\"none\" beside the tensor rope_freqs.weight");
    if (factors)
        return read_rope_factors(r, factors);
    if (is_none)
        return ERR_OK;
    json_t *scaling =
        json_pack("{s:s, s:f}", "rope_type", is_yarn ? "yarn" : "linear", "factor", factor);
    (void)json_object_set_new(r->s->config.extra, "rope_scaling", scaling);
    return is_yarn ? read_yarn(r, scaling, factor) : ERR_OK;
}

static bool is_plain(struct str s, size_t max)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    }
    return s.len > 0 && s.len <= max && utf8_is_valid(s.ptr, s.len);
}

static void read_name(struct reader *r)
{
    struct source_config *c = &r->s->config;
    struct str name;
    if (gguf_get_str(r->g, "general.name", &name) != ERR_OK ||
        !is_plain(name, sizeof c->name - 1)) {
        const char *path = gguf_path(r->g);
        const char *slash = strrchr(path, '/');
        name = str_from(slash ? slash + 1 : path);
        if (name.len > 5 && memcmp(name.ptr + name.len - 5, ".gguf", 5) == 0)
            name.len -= 5;
        if (!is_plain(name, sizeof c->name - 1))
            name = STR_LIT("model");
    }
    (void)snprintf(c->name, sizeof c->name, "%.*s", (int)name.len, name.ptr);
}

/* What people want to know, first key that is there. */
static void read_informative(struct reader *r)
{
    static const char *const KEYS[][4] = {
        {"license", "general.license", "general.license.name", NULL},
        {"license_link", "general.license.link", NULL, NULL},
        {"source", "general.source.url", "general.repo_url",
         "general.source.huggingface.repository"},
        {"description", "general.description", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        for (size_t k = 1; k < ARRAY_LEN(KEYS[i]) && KEYS[i][k]; k++) {
            struct str text;
            if (gguf_get_str(r->g, KEYS[i][k], &text) != ERR_OK || !is_plain(text, 4096))
                continue;
            (void)json_object_set_new(r->s->config.extra, KEYS[i][0],
                                      json_stringn(text.ptr, text.len));
            break;
        }
    }
}

enum err gguf_config_read(const struct gguf *g, struct source *s, struct why *why,
                          bool *ret_is_permuted)
{
    struct reader r = {.g = g, .s = s, .why = why};
    if (!s->config.extra)
        s->config.extra = json_object();
    enum err e = read_arch(&r);
    if (e)
        return e;
    ASSERT(r.arch);
    e = refuse_changes(&r);
    if (!e)
        e = read_shape(&r);
    if (!e)
        e = read_rope_scaling(&r);
    if (e)
        return e;
    read_name(&r);
    read_informative(&r);
    *ret_is_permuted = r.arch->is_permuted;
    return ERR_OK;
}
