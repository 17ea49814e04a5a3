/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "kernels/kernels.h"
#include "services/engine/linear.h"

enum { ALIGN = 256 };

/* Walks over everything that goes to the device; without `device` it only counts. */
struct loader {
    struct hip_device *device;
    uint64_t base;
    uint64_t at; /* bytes so far */
    enum err err; /* the first; what follows is skipped */
};

/* Room for `bytes`; returns its address. */
static uint64_t place(struct loader *l, uint64_t bytes)
{
    uint64_t address = l->base + l->at;
    l->at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return address;
}

static const void *pointer(uint64_t address)
{
    return (const void *)(uintptr_t)address;
}

static const void *load(struct loader *l, const void *data, uint64_t bytes)
{
    if (data == NULL)
        return NULL;
    uint64_t address = place(l, bytes);
    if (l->device != NULL && !l->err)
        l->err = hip_device_write(l->device, address, data, bytes);
    return pointer(address);
}

/* The copy of the head in 8 bits that bounds most logits away. */
static void load_head8(struct loader *l, const struct model *m, struct hip_model *to)
{
    const struct kernels *k = kernels_get(kernels_best());
    uint32_t n = m->config.n_hidden;
    uint32_t n_vocab = m->config.n_vocab;
    if (n > PLANES_MAX_COLS)
        return;
    size_t stride = hip_head8_stride(n);
    uint64_t rows = place(l, (uint64_t)n_vocab * stride);
    uint64_t sums[3];
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        sums[i] = place(l, n_vocab * sizeof(float));
    to->head8 = pointer(rows);
    to->head8_scale = pointer(sums[0]);
    to->head8_err = pointer(sums[1]);
    to->head8_norm = pointer(sums[2]);
    if (l->device == NULL)
        return;
    float *w = mem_zalloc(n + (size_t)3 * n_vocab, sizeof *w);
    float *scale = w + n;
    float *err = scale + n_vocab;
    float *norm = err + n_vocab;
    uint32_t most = (uint32_t)(l->device->staging_bytes / stride);
    for (uint32_t row = 0; row < n_vocab && !l->err; row += most) {
        uint32_t end = n_vocab - row < most ? n_vocab : row + most;
        for (uint32_t i = row; i < end; i++) {
            int8_t *q = (int8_t *)l->device->staging + (i - row) * stride;
            k->f16_decode(m->head + (size_t)i * n, n, w);
            hip_pack_head_row(w, n, k->planes_pack, q, &scale[i], &err[i], &norm[i]);
        }
        l->err = hip_device_write_staged(l->device, rows + row * stride, (end - row) * stride);
    }
    const float *const from[] = {scale, err, norm};
    for (size_t i = 0; i < ARRAY_LEN(from) && !l->err; i++)
        l->err = hip_device_write(l->device, sums[i], from[i], n_vocab * sizeof(float));
    free(w);
}

static const float *load_floats(struct loader *l, const float *data, uint64_t n)
{
    return load(l, data, n * sizeof *data);
}

/* As many rows at a time as the staging memory holds. */
static void repack(struct loader *l, const struct ternary_weights *w, uint64_t address)
{
    size_t row_bytes = hip_row_bytes(w->n_cols);
    size_t file_row = ternary_row_bytes(w->packing, w->n_cols);
    uint32_t most = (uint32_t)(l->device->staging_bytes / row_bytes);
    for (uint32_t row = 0; row < w->n_rows && !l->err; row += most) {
        uint32_t n = w->n_rows - row < most ? w->n_rows - row : most;
        uint8_t *to = l->device->staging;
        for (uint32_t i = 0; i < n; i++)
            hip_repack_row(w->packing, w->n_cols, w->codes + (row + i) * file_row,
                           to + i * row_bytes);
        l->err = hip_device_write_staged(l->device, address + row * row_bytes, n * row_bytes);
    }
}

static struct hip_matrix load_matrix(struct loader *l, const struct ternary_weights *w)
{
    uint64_t bytes = (uint64_t)w->n_rows * hip_row_bytes(w->n_cols);
    struct hip_matrix to = {.n_rows = w->n_rows,
                            .n_cols = w->n_cols,
                            .rows_per_scale = w->rows_per_scale,
                            .group = w->group};
    if (w->packing == TERNARY_T2) {
        to.codes = load(l, w->codes, bytes);
    } else {
        uint64_t address = place(l, bytes);
        to.codes = pointer(address);
        if (l->device != NULL)
            repack(l, w, address);
    }
    to.scales = load_floats(l, w->scales, linear_scale_bytes(w) / sizeof(float));
    return to;
}

static struct hip_layer load_layer(struct loader *l, const struct model_config *c,
                                   const struct model_layer *from)
{
    return (struct hip_layer){
        .input_norm = load_floats(l, from->input_norm, c->n_hidden),
        .q_norm = load_floats(l, from->q_norm, c->head_dim),
        .k_norm = load_floats(l, from->k_norm, c->head_dim),
        .attn_sub_norm = load_floats(l, from->attn_sub_norm, (uint64_t)c->n_heads * c->head_dim),
        .post_attn_norm = load_floats(l, from->post_attn_norm, c->n_hidden),
        .ffn_sub_norm = load_floats(l, from->ffn_sub_norm, c->n_ffn),
        .q = load_matrix(l, &from->q),
        .k = load_matrix(l, &from->k),
        .v = load_matrix(l, &from->v),
        .o = load_matrix(l, &from->o),
        .gate = load_matrix(l, &from->gate),
        .up = load_matrix(l, &from->up),
        .down = load_matrix(l, &from->down),
    };
}

static void load_all(struct loader *l, const struct model *m, struct hip_model *to,
                     struct hip_layer *layers)
{
    const struct model_config *c = &m->config;
    uint64_t n_rope = (uint64_t)c->n_ctx * (c->head_dim / 2);
    uint64_t head_bytes = (uint64_t)c->n_vocab * c->n_hidden * sizeof *m->embedding;
    for (uint32_t i = 0; i < c->n_layers; i++)
        layers[i] = load_layer(l, c, &m->layers[i]);
    to->embedding = load(l, m->embedding, head_bytes);
    to->head = c->is_tied ? to->embedding : load(l, m->head, head_bytes);
    load_head8(l, m, to);
    to->final_norm = load_floats(l, m->final_norm, c->n_hidden);
    to->rope_cos = load_floats(l, m->rope_cos, n_rope);
    to->rope_sin = load_floats(l, m->rope_sin, n_rope);
    to->layers = layers;
}

/* Shapes alone, without addresses. */
static struct hip_model shape_of(const struct model *m)
{
    _Static_assert((int)MODEL_HADAMARD_QKV == 1 && (int)MODEL_HADAMARD_O == 2 &&
                       (int)MODEL_HADAMARD_GATE_UP == 4 && (int)MODEL_HADAMARD_DOWN == 8,
                   "bits of hip_model.hadamard");
    const struct model_config *c = &m->config;
    return (struct hip_model){
        .n_vocab = c->n_vocab,
        .n_hidden = c->n_hidden,
        .n_ffn = c->n_ffn,
        .n_layers = c->n_layers,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .n_ctx = c->n_ctx,
        .rms_eps = c->rms_eps,
        .act = c->act == MODEL_RELU2 ? HIP_ACT_RELU2 : HIP_ACT_SILU,
        .hadamard = c->hadamard,
        .hadamard_block = c->hadamard_block,
    };
}

static enum err check_room(struct hip_device *d, uint64_t bytes, char *why, size_t cap_why)
{
    uint64_t room = hip_device_free_bytes(d);
    if (bytes <= room)
        return ERR_OK;
    (void)snprintf(why, cap_why,
                   "the weights take %llu MB of the GPU's memory, %llu MB of %llu MB are free; end "
                   "what else uses the GPU, or use --backend cpu",
                   (unsigned long long)bytes >> 20, (unsigned long long)room >> 20,
                   (unsigned long long)d->memory_bytes >> 20);
    return ERR_NOMEM;
}

enum err hip_weights_new(struct hip_device *device, const struct model *m, char *why,
                         size_t cap_why, struct hip_weights **ret_weights)
{
    struct hip_layer *layers = mem_zalloc(m->config.n_layers, sizeof *layers);
    struct hip_weights *w = mem_zalloc(1, sizeof *w);
    *w = (struct hip_weights){.device = device, .model = shape_of(m)};
    struct loader l = {0};
    load_all(&l, m, &w->model, layers); /* counts */
    w->bytes = l.at;
    const char *refused = hip_refuses(&w->model);
    enum err e = ERR_OK;
    if (refused != NULL) {
        (void)snprintf(why, cap_why, "%s; use --backend cpu", refused);
        e = ERR_UNSUPPORTED;
    }
    if (!e)
        e = check_room(device, w->bytes, why, cap_why);
    if (!e) {
        (void)snprintf(why, cap_why, "copying the weights to the GPU failed");
        e = hip_device_alloc(device, w->bytes, &w->base);
    }
    if (!e) {
        l = (struct loader){.device = device, .base = w->base};
        load_all(&l, m, &w->model, layers);
        e = l.err;
    }
    if (e) {
        hip_weights_free(w);
        return e;
    }
    *ret_weights = w;
    return ERR_OK;
}

void hip_weights_free(struct hip_weights *w)
{
    if (w == NULL)
        return;
    hip_device_release(w->device, w->base);
    free((void *)(uintptr_t)w->model.layers);
    free(w);
}
