/* SPDX-License-Identifier: MIT */
#include "services/engine/bench_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/check.h"
#include "common/mem.h"
#include "kernels/f16/f16.h"
#include "services/engine/linear.h"
#include "services/engine/rope_tables.h"

struct shape {
    const char *name;
    uint32_t n_vocab, n_hidden, n_ffn, n_layers, n_heads, n_kv_heads, head_dim, n_ctx;
    enum model_arch arch;
    bool has_own_head;
};

/* 2b4t: microsoft/bitnet-b1.58-2B-4T; 700m: the sizes of 1bitLLM/bitnet_b1_58-large; llama3-8b:
 * HF1BitLLM/Llama3-8B-1.58-100B-tokens; falcon-e: tiiuae/Falcon-E; bonsai-1.7b: prism-ml/Bonsai-1.7B,
 * whose own packings are b1/128 and t2/128; demo: the model of deploy/models; tiny: for the test of
 * this program. */
static const struct shape SHAPES[] = {
    {"2b4t", 128256, 2560, 6912, 30, 20, 5, 128, 4096, MODEL_BITNET, false},
    {"700m", 32002, 1536, 4096, 24, 16, 16, 96, 4096, MODEL_BITNET, false},
    {"llama3-8b", 128256, 4096, 14336, 32, 32, 8, 128, 8192, MODEL_LLAMA, true},
    {"falcon-e-1b", 32768, 2048, 9216, 24, 16, 2, 128, 32768, MODEL_LLAMA, true},
    {"falcon-e-3b", 32768, 2048, 13312, 32, 16, 2, 128, 32768, MODEL_LLAMA, true},
    {"bonsai-1.7b", 151936, 2048, 6144, 28, 16, 8, 128, 32768, MODEL_QWEN3, false},
    {"demo", 12288, 512, 1536, 10, 8, 4, 64, 2048, MODEL_BITNET, false},
    {"tiny", 331, 72, 200, 2, 4, 2, 16, 512, MODEL_BITNET, false},
};

/* ---- random weights ---- */

/* Hands out parts of one mapping; with no memory it only counts. */
struct maker {
    uint64_t state;
    uint8_t *memory;
    size_t used;
    enum ternary_packing packing;
    uint32_t group;
};

static uint64_t next_random(struct maker *mk)
{
    uint64_t z = mk->state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static void *take(struct maker *mk, size_t bytes)
{
    void *p = mk->memory != NULL ? mk->memory + mk->used : NULL;
    mk->used += (bytes + 63) / 64 * 64;
    return p;
}

static const float *make_ones(struct maker *mk, size_t n)
{
    float *w = take(mk, n * sizeof *w);
    for (size_t i = 0; w != NULL && i < n; i++)
        w[i] = 1.0F;
    return w;
}

/* Values that look normal: sums of four bytes, from -2 to 2. */
static const uint16_t *make_halves(struct maker *mk, size_t n)
{
    uint16_t *w = take(mk, n * sizeof *w);
    if (w == NULL)
        return NULL;
    uint16_t table[4 * 255 + 1];
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++)
        table[i] = f16_from_f32(((float)i - 510.0F) / 255.0F);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = next_random(mk);
        w[i] = table[(r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24 & 255)];
    }
    return w;
}

/* A random byte of codes for each value of a byte; nearly even. */
static void fill_code_table(enum ternary_packing packing, uint8_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i % 81;
        if (packing == TERNARY_T2)
            v = v % 3 | v / 3 % 3 << 2 | v / 9 % 3 << 4 | v / 27 << 6;
        else
            v = packing == TERNARY_T5 ? (i % 243 * 256 + 242) / 243 : i;
        table[i] = (uint8_t)v;
    }
}

/* Scales keep the outputs near the inputs' size. */
static struct ternary_weights make_linear(struct maker *mk, uint32_t n_rows, uint32_t n_cols)
{
    struct ternary_weights w = {
        .n_rows = n_rows,
        .n_cols = n_cols,
        .rows_per_scale = n_rows,
        .packing = mk->packing,
        .group = mk->group,
    };
    size_t bytes = (size_t)linear_code_bytes(&w);
    size_t n_scales = (size_t)linear_scale_bytes(&w) / sizeof(float);
    uint8_t *codes = take(mk, (bytes + 7) / 8 * 8);
    float *scales = take(mk, n_scales * sizeof *scales);
    w.codes = codes;
    w.scales = scales;
    if (codes == NULL)
        return w;
    for (size_t i = 0; i < n_scales; i++)
        scales[i] = 1.0F / sqrtf((float)n_cols);
    uint8_t table[256];
    fill_code_table(w.packing, table);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t r = next_random(mk);
        for (size_t k = 0; k < 8; k++)
            codes[i + k] = table[r >> 8 * k & 255];
    }
    return w;
}

static void make_weights(struct maker *mk, struct model *m)
{
    const struct model_config *c = &m->config;
    uint32_t n_q = c->n_heads * c->head_dim;
    uint32_t n_kv = c->n_kv_heads * c->head_dim;
    m->embedding = make_halves(mk, (size_t)c->n_vocab * c->n_hidden);
    m->head = c->is_tied ? m->embedding : make_halves(mk, (size_t)c->n_vocab * c->n_hidden);
    m->final_norm = make_ones(mk, c->n_hidden);
    bool has_sub_norms = c->arch == MODEL_BITNET;
    bool has_head_norms = c->arch == MODEL_QWEN3;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        m->layers[i] = (struct model_layer){
            .input_norm = make_ones(mk, c->n_hidden),
            .q_norm = has_head_norms ? make_ones(mk, c->head_dim) : NULL,
            .k_norm = has_head_norms ? make_ones(mk, c->head_dim) : NULL,
            .attn_sub_norm = has_sub_norms ? make_ones(mk, n_q) : NULL,
            .post_attn_norm = make_ones(mk, c->n_hidden),
            .ffn_sub_norm = has_sub_norms ? make_ones(mk, c->n_ffn) : NULL,
            .q = make_linear(mk, n_q, c->n_hidden),
            .k = make_linear(mk, n_kv, c->n_hidden),
            .v = make_linear(mk, n_kv, c->n_hidden),
            .o = make_linear(mk, c->n_hidden, n_q),
            .gate = make_linear(mk, c->n_ffn, c->n_hidden),
            .up = make_linear(mk, c->n_ffn, c->n_hidden),
            .down = make_linear(mk, c->n_hidden, c->n_ffn),
        };
    }
}

static void set_config(struct model_config *c, const struct shape *s)
{
    (void)snprintf(c->name, sizeof c->name, "random-%s", s->name);
    c->arch = s->arch;
    c->act = s->arch == MODEL_BITNET ? MODEL_RELU2 : MODEL_SILU;
    c->n_vocab = s->n_vocab;
    c->n_hidden = s->n_hidden;
    c->n_ffn = s->n_ffn;
    c->n_layers = s->n_layers;
    c->n_heads = s->n_heads;
    c->n_kv_heads = s->n_kv_heads;
    c->head_dim = s->head_dim;
    c->n_ctx = s->n_ctx;
    c->rope_theta = 500000.0;
    c->rms_eps = 1e-5F;
    c->is_tied = !s->has_own_head;
}

enum err bench_model_make(struct bench_model *b, const char *shape, const char *packing,
                          uint32_t n_positions, char *why, size_t cap_why)
{
    static const char *const PACKINGS[TERNARY_PACKINGS] = {"t2", "t5", "s3", "b1"};
    struct maker mk = {.group = packing[2] == '/' ? (uint32_t)strtoul(packing + 3, NULL, 10) : 0};
    while (strncmp(PACKINGS[mk.packing], packing, 2) != 0)
        mk.packing++;
    const struct shape *s = SHAPES;
    while (strcmp(s->name, shape) != 0)
        s++;
    if (mk.group > 0 && (s->n_hidden % mk.group != 0 || s->n_ffn % mk.group != 0 ||
                         s->n_heads * s->head_dim % mk.group != 0)) {
        (void)snprintf(why, cap_why, "--packing %s: rows of %s are no whole groups", packing,
                       s->name);
        return ERR_MODEL_FORMAT;
    }
    struct model *m = mem_zalloc(1, sizeof *m);
    b->model = m;
    set_config(&m->config, s);
    if (n_positions > s->n_ctx)
        m->config.n_ctx = n_positions;
    m->layers = mem_zalloc(s->n_layers, sizeof *m->layers);
    size_t n_rope = (size_t)m->config.n_ctx * (s->head_dim / 2);
    m->rope_cos = mem_zalloc(n_rope, sizeof *m->rope_cos);
    m->rope_sin = mem_zalloc(n_rope, sizeof *m->rope_sin);
    bool has_tables = rope_tables_fill(&m->config, m->rope_cos, m->rope_sin);
    ASSERT(has_tables); /* no shape scales RoPE */

    struct maker count = mk;
    make_weights(&count, m);
    size_t bytes = count.used;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ERR_NOMEM;
    b->weights = p;
    b->weights_bytes = bytes;
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    mk.memory = p;
    make_weights(&mk, m);
    return ERR_OK;
}

enum err bench_model_open(struct bench_model *b, const char *path, bool does_copy, bool with_head,
                          char *why, size_t cap_why)
{
    struct stat st;
    b->weights_bytes = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    enum err e = model_open(path, H1B_VERIFY_TABLE, why, cap_why, &b->model);
    return e || !does_copy ? e : model_copy_weights(b->model, with_head);
}

void bench_model_fini(struct bench_model *b)
{
    model_close(b->model);
    if (b->weights != NULL)
        (void)munmap(b->weights, b->weights_bytes);
}

/* ---- sizes ---- */

static uint64_t linear_bytes(const struct ternary_weights *w)
{
    return linear_code_bytes(w) + linear_scale_bytes(w);
}

uint64_t bench_model_code_bytes(const struct model *m)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        bytes += linear_bytes(&l->q) + linear_bytes(&l->k) + linear_bytes(&l->v) +
                 linear_bytes(&l->o) + linear_bytes(&l->gate) + linear_bytes(&l->up) +
                 linear_bytes(&l->down);
    }
    return bytes;
}

uint64_t bench_model_n_weights(const struct model *m)
{
    const struct model_config *c = &m->config;
    uint64_t n_heads = 2 * ((uint64_t)c->n_heads + c->n_kv_heads);
    return c->n_layers * (uint64_t)c->n_hidden * (n_heads * c->head_dim + 3 * (uint64_t)c->n_ffn);
}
