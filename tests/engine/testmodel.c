/* SPDX-License-Identifier: MIT */
#include "tests/engine/testmodel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/h1b.h"
#include "common/mem.h"
#include "common/pack.h"
#include "kernels/f16/f16.h"
#include "tests/common/h1b_write.h"

const struct testmodel TESTMODEL_TINY = {
    .seed = 1,
    .n_vocab = 331,
    .n_hidden = 72,
    .n_ffn = 200,
    .n_layers = 3,
    .n_heads = 6,
    .n_kv_heads = 2,
    .head_dim = 16,
    .n_ctx = 256,
    .n_scales = 1,
    .is_tied = true,
};

enum { ITEMS_MAX = 1024 };

struct writer {
    uint64_t state;
    struct h1b_item items[ITEMS_MAX];
    uint32_t n;
    const char *omit;
    const char *reshape;
};

uint64_t testmodel_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

uint64_t testmodel_hash(const void *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3U;
    return h;
}

/* Uniform in [-1, 1). */
static float uniform(struct writer *w)
{
    return (float)(testmodel_random(&w->state) >> 40) * 0x1p-23F - 1.0F;
}

/* Takes `data`. */
static void add(struct writer *w, const char *name, uint32_t dtype, uint64_t dim0, uint64_t dim1,
                void *data, size_t size)
{
    if (w->omit != NULL && strcmp(w->omit, name) == 0) {
        free(data);
        return;
    }
    if (w->reshape != NULL && strcmp(w->reshape, name) == 0) {
        size_t row = size / dim0;
        data = mem_resize(data, size + row, 1);
        memset((char *)data + size, 0, row);
        size += row;
        dim0++;
    }
    if (w->n == ITEMS_MAX)
        abort();
    w->items[w->n++] = (struct h1b_item){.name = mem_strndup(name, strlen(name)),
                                         .dtype = dtype,
                                         .n_dims = dim1 > 0 ? 2 : 1,
                                         .dims = {dim0, dim1 > 0 ? dim1 : 1, 1, 1},
                                         .data = data,
                                         .size = size};
}

static void add_norm(struct writer *w, const char *prefix, const char *name, uint32_t n)
{
    char full[96];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    float *data = mem_zalloc(n, sizeof *data);
    for (uint32_t i = 0; i < n; i++)
        data[i] = 1.0F + 0.5F * uniform(w);
    add(w, full, H1B_F32, n, 0, data, n * sizeof *data);
}

static void add_f16(struct writer *w, const char *name, uint32_t rows, uint32_t cols)
{
    size_t n = (size_t)rows * cols;
    uint16_t *data = mem_zalloc(n, sizeof *data);
    for (size_t i = 0; i < n; i++)
        data[i] = f16_from_f32(uniform(w));
    add(w, name, H1B_F16, rows, cols, data, n * sizeof *data);
}

/* A row of trits that the dtype can hold. */
static void fill_trits(struct writer *w, enum h1b_dtype dtype, int8_t *trits, uint32_t n)
{
    uint32_t zero = 0;
    for (uint32_t c = 0; c < n; c++) {
        uint64_t r = testmodel_random(&w->state);
        int sign = r >> 8 & 1 ? 1 : -1;
        zero = c % 4 == 0 ? (uint32_t)(r >> 9) % (n - c < 4 ? n - c : 4) : zero;
        trits[c] = (int8_t)(dtype == H1B_B1   ? sign
                            : dtype == H1B_S3 ? (c % 4 == zero ? 0 : sign)
                                              : (int)(r % 3) - 1);
    }
}

static void add_linear(struct writer *w, const char *prefix, const char *part, uint32_t n_out,
                       uint32_t n_in, const struct testmodel *t)
{
    char full[96];
    enum h1b_dtype dtype = t->dtype == H1B_U8 ? H1B_T2 : t->dtype;
    size_t row_bytes = (size_t)pack_row_bytes(dtype, n_in);
    uint8_t *codes = mem_zalloc(n_out, row_bytes);
    int8_t *trits = mem_zalloc(n_in, 1);
    for (uint32_t r = 0; r < n_out; r++) {
        fill_trits(w, dtype, trits, n_in);
        if (!pack_row(dtype, trits, n_in, codes + r * row_bytes))
            abort();
    }
    free(trits);
    (void)snprintf(full, sizeof full, "%s%s.weight", prefix, part);
    add(w, full, dtype, n_out, n_in, codes, n_out * row_bytes);
    bool has_groups = t->group > 0 && (t->no_groups == NULL || strcmp(t->no_groups, part) != 0);
    uint32_t n_groups = has_groups ? n_in / t->group : 0;
    size_t n_scales = has_groups ? (size_t)n_out * n_groups : t->n_scales;
    float *scales = mem_zalloc(n_scales, sizeof *scales);
    for (size_t i = 0; i < n_scales; i++)
        scales[i] = 0.1F + 0.05F * uniform(w);
    (void)snprintf(full, sizeof full, "%s%s.weight_scale", prefix, part);
    add(w, full, H1B_F32, has_groups ? n_out : n_scales, n_groups, scales,
        n_scales * sizeof *scales);
}

static void add_layer(struct writer *w, const struct testmodel *t, uint32_t layer)
{
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "model.layers.%u.", layer);
    uint32_t n_q = t->n_heads * t->head_dim;
    uint32_t n_kv = t->n_kv_heads * t->head_dim;
    add_norm(w, prefix, "input_layernorm.weight", t->n_hidden);
    add_norm(w, prefix, "post_attention_layernorm.weight", t->n_hidden);
    if (t->arch == MODEL_BITNET) {
        add_norm(w, prefix, "self_attn.attn_sub_norm.weight", n_q);
        add_norm(w, prefix, "mlp.ffn_sub_norm.weight", t->n_ffn);
    }
    if (t->arch == MODEL_QWEN3) {
        add_norm(w, prefix, "self_attn.q_norm.weight", t->head_dim);
        add_norm(w, prefix, "self_attn.k_norm.weight", t->head_dim);
    }
    add_linear(w, prefix, "self_attn.q_proj", n_q, t->n_hidden, t);
    add_linear(w, prefix, "self_attn.k_proj", n_kv, t->n_hidden, t);
    add_linear(w, prefix, "self_attn.v_proj", n_kv, t->n_hidden, t);
    add_linear(w, prefix, "self_attn.o_proj", t->n_hidden, n_q, t);
    add_linear(w, prefix, "mlp.gate_proj", t->n_ffn, t->n_hidden, t);
    add_linear(w, prefix, "mlp.up_proj", t->n_ffn, t->n_hidden, t);
    add_linear(w, prefix, "mlp.down_proj", t->n_hidden, t->n_ffn, t);
}

static void add_config(struct writer *w, const struct testmodel *t)
{
    char *text = mem_zalloc(1, 1024);
    int n = snprintf(
        text, 1024,
        "{\"architecture\": \"%s\", \"name\": \"test\", \"vocab_size\": %u, \"hidden_size\": "
        "%u,"
        " \"intermediate_size\": %u, \"num_hidden_layers\": %u, \"num_attention_heads\": %u,"
        " \"num_key_value_heads\": %u, \"head_dim\": %u, \"max_position_embeddings\": %u,"
        " \"rope_theta\": 10000.0, \"rms_norm_eps\": 1e-5, \"hidden_act\": \"%s\","
        " \"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_ids\": [2],"
        " \"pre_tokenizer\": \"gpt2\"%s}",
        model_config_arch_name(t->arch), t->n_vocab, t->n_hidden, t->n_ffn, t->n_layers, t->n_heads,
        t->n_kv_heads, t->head_dim, t->n_ctx, t->act == MODEL_RELU2 ? "relu2" : "silu",
        t->is_tied ? "true" : "false", t->more != NULL ? t->more : "");
    add(w, "config", H1B_U8, (uint64_t)n, 0, text, (size_t)n);
}

void testmodel_write(const struct testmodel *t, const char *path, const char *omit,
                     const char *reshape)
{
    struct writer *w = mem_zalloc(1, sizeof *w);
    w->state = t->seed;
    w->omit = omit;
    w->reshape = reshape;
    add_config(w, t);
    add_f16(w, "model.embed_tokens.weight", t->n_vocab, t->n_hidden);
    if (!t->is_tied)
        add_f16(w, "lm_head.weight", t->n_vocab, t->n_hidden);
    add_norm(w, "", "model.norm.weight", t->n_hidden);
    for (uint32_t i = 0; i < t->n_layers; i++)
        add_layer(w, t, i);
    uint8_t *bytes = NULL;
    size_t size = h1b_write_bytes(w->items, w->n, &bytes);
    h1b_write_file(path, bytes, size);
    free(bytes);
    for (uint32_t i = 0; i < w->n; i++) {
        free((void *)(uintptr_t)w->items[i].name);
        free((void *)(uintptr_t)w->items[i].data);
    }
    free(w);
}

struct model *testmodel_open(const struct testmodel *t)
{
    char path[] = "/tmp/halo-model-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        abort();
    (void)close(fd);
    testmodel_write(t, path, NULL, NULL);
    char why[256];
    struct model *m = NULL;
    if (model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m)) {
        (void)fprintf(stderr, "%s\n", why);
        abort();
    }
    (void)unlink(path);
    return m;
}
