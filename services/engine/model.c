/* SPDX-License-Identifier: MIT */
#include "services/engine/model.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/check.h"
#include "common/pack.h"
#include "kernels/attention/attention.h"
#include "services/engine/linear.h"
#include "services/engine/rope_tables.h"

/* Where the first error is noted; later look-ups are skipped once `is_bad` is set. */
struct binder {
    struct model *model;
    const char *path;
    char *why;
    size_t cap_why;
    bool is_bad;
};

static void refuse(struct binder *b, const char *name, const char *expected)
{
    if (!b->is_bad)
        (void)snprintf(b->why, b->cap_why, "%s: %s: expected %s", b->path, name, expected);
    b->is_bad = true;
}

/* The section of that name, dtype and shape; NULL and an error noted if there is none. */
static const void *find(struct binder *b, const char *name, enum h1b_dtype dtype, uint32_t n_dims,
                        uint64_t dim0, uint64_t dim1)
{
    const struct h1b_section *s = h1b_find(b->model->file, name);
    if (s != NULL && s->dtype == dtype && s->n_dims == n_dims && s->dims[0] == dim0 &&
        s->dims[1] == dim1) {
        b->model->bytes_per_token += s->size;
        return s->data;
    }
    char expected[80];
    int n = snprintf(expected, sizeof expected, "a section %s [%llu", pack_dtype_name(dtype),
                     (unsigned long long)dim0);
    if (n_dims == 2)
        (void)snprintf(expected + n, sizeof expected - (size_t)n, ", %llu]",
                       (unsigned long long)dim1);
    else
        (void)snprintf(expected + n, sizeof expected - (size_t)n, "]");
    refuse(b, name, expected);
    return NULL;
}

static const float *find_norm(struct binder *b, const char *name, uint32_t n)
{
    const float *w = find(b, name, H1B_F32, 1, n, 1);
    for (uint32_t i = 0; w != NULL && i < n; i++) {
        if (!isfinite(w[i])) {
            refuse(b, name, "finite values");
            return NULL;
        }
    }
    return w;
}

static struct ternary_weights find_linear(struct binder *b, const char *prefix, const char *part,
                                          uint32_t n_out, uint32_t n_in)
{
    struct ternary_weights w = {0};
    char name[96];
    char why[200];
    (void)snprintf(name, sizeof name, "%s.%s", prefix, part);
    if (linear_bind(b->model->file, name, n_out, n_in, why, sizeof why, &w)) {
        b->model->bytes_per_token += linear_code_bytes(&w) + linear_scale_bytes(&w);
    } else {
        if (!b->is_bad)
            (void)snprintf(b->why, b->cap_why, "%s: %s", b->path, why);
        b->is_bad = true;
    }
    return w;
}

static const float *find_layer_norm(struct binder *b, const char *prefix, const char *part,
                                    uint32_t n)
{
    char name[96];
    (void)snprintf(name, sizeof name, "%s.%s.weight", prefix, part);
    return find_norm(b, name, n);
}

static void bind_layer(struct binder *b, uint32_t i, struct model_layer *l)
{
    const struct model_config *c = &b->model->config;
    uint32_t n_q = c->n_heads * c->head_dim;
    uint32_t n_kv = c->n_kv_heads * c->head_dim;
    char prefix[48];
    (void)snprintf(prefix, sizeof prefix, "model.layers.%u", i);
    l->input_norm = find_layer_norm(b, prefix, "input_layernorm", c->n_hidden);
    l->post_attn_norm = find_layer_norm(b, prefix, "post_attention_layernorm", c->n_hidden);
    if (c->arch == MODEL_BITNET) {
        l->attn_sub_norm = find_layer_norm(b, prefix, "self_attn.attn_sub_norm", n_q);
        l->ffn_sub_norm = find_layer_norm(b, prefix, "mlp.ffn_sub_norm", c->n_ffn);
    }
    if (c->arch == MODEL_QWEN3) {
        l->q_norm = find_layer_norm(b, prefix, "self_attn.q_norm", c->head_dim);
        l->k_norm = find_layer_norm(b, prefix, "self_attn.k_norm", c->head_dim);
    }
    l->q = find_linear(b, prefix, "self_attn.q_proj", n_q, c->n_hidden);
    l->k = find_linear(b, prefix, "self_attn.k_proj", n_kv, c->n_hidden);
    l->v = find_linear(b, prefix, "self_attn.v_proj", n_kv, c->n_hidden);
    l->o = find_linear(b, prefix, "self_attn.o_proj", c->n_hidden, n_q);
    l->gate = find_linear(b, prefix, "mlp.gate_proj", c->n_ffn, c->n_hidden);
    l->up = find_linear(b, prefix, "mlp.up_proj", c->n_ffn, c->n_hidden);
    l->down = find_linear(b, prefix, "mlp.down_proj", c->n_hidden, c->n_ffn);
    if (l->q.group != l->k.group || l->q.group != l->v.group)
        refuse(b, prefix, "scales of one kind for q_proj, k_proj and v_proj");
    if (l->gate.group != l->up.group)
        refuse(b, prefix, "scales of one kind for gate_proj and up_proj");
}

static void bind_config(struct binder *b)
{
    const struct h1b_section *s = h1b_find(b->model->file, "config");
    char why[200];
    if (s == NULL || s->dtype != H1B_U8) {
        refuse(b, "config", "a section U8 [n]");
    } else if (model_config_parse(s->data, (size_t)s->size, why, sizeof why, &b->model->config)) {
        (void)snprintf(b->why, b->cap_why, "%s: %s", b->path, why);
        b->is_bad = true;
    } else if (b->model->config.head_dim % 4 != 0 ||
               b->model->config.head_dim > ATTENTION_MAX_HEAD_DIM) {
        refuse(b, "config: head_dim", "a multiple of 4 up to 256");
    }
}

static void bind_all(struct binder *b)
{
    struct model *m = b->model;
    bind_config(b);
    if (b->is_bad)
        return;
    const struct model_config *c = &m->config;
    m->embedding = find(b, "model.embed_tokens.weight", H1B_F16, 2, c->n_vocab, c->n_hidden);
    m->head = m->embedding;
    if (!c->is_tied) {
        m->bytes_per_token = 0; /* of the embedding a step reads single rows */
        m->head = find(b, "lm_head.weight", H1B_F16, 2, c->n_vocab, c->n_hidden);
    }
    m->final_norm = find_norm(b, "model.norm.weight", c->n_hidden);
    m->layers = calloc(c->n_layers, sizeof *m->layers);
    size_t n_rope = (size_t)c->n_ctx * (c->head_dim / 2);
    m->rope_cos = calloc(n_rope, sizeof *m->rope_cos);
    m->rope_sin = calloc(n_rope, sizeof *m->rope_sin);
    if (m->layers == NULL || m->rope_cos == NULL || m->rope_sin == NULL) {
        refuse(b, "config", "a model that fits into memory");
        return;
    }
    for (uint32_t i = 0; i < c->n_layers && !b->is_bad; i++)
        bind_layer(b, i, &m->layers[i]);
    if (!b->is_bad && !rope_tables_fill(c, m->rope_cos, m->rope_sin))
        refuse(b, "config: rope_scaling", "finite frequencies of at most 1");
}

enum err model_open(const char *path, enum h1b_verify verify, char *why, size_t cap_why,
                    struct model **ret_model)
{
    struct model *m = calloc(1, sizeof *m);
    if (m == NULL) {
        (void)snprintf(why, cap_why, "%s: out of memory", path);
        return ERR_NOMEM;
    }
    enum err e = h1b_open(path, verify, why, cap_why, &m->file);
    if (!e) {
        struct binder b = {.model = m, .path = path, .why = why, .cap_why = cap_why};
        bind_all(&b);
        e = b.is_bad ? ERR_MODEL_FORMAT : ERR_OK;
    }
    if (e) {
        model_close(m);
        return e;
    }
    *ret_model = m;
    return ERR_OK;
}

/* ---- all linear layers, in the order in which a step reads them ---- */

enum { N_LINEARS = 7 };

static struct ternary_weights *linear_of(struct model_layer *l, size_t k)
{
    struct ternary_weights *const linears[N_LINEARS] = {&l->q,    &l->k,  &l->v,   &l->o,
                                                        &l->gate, &l->up, &l->down};
    return linears[k];
}

const char *model_packing_name(const struct model *m)
{
    const char *name = linear_packing_name(&m->layers[0].q);
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        for (size_t k = 0; k < N_LINEARS; k++) {
            if (linear_packing_name(linear_of(&m->layers[i], k)) != name)
                return "mixed";
        }
    }
    return name;
}

/* ---- the copy ----
 *
 * One core of a Zen 5 server in a virtual machine, best of 12 in CPU time, GB/s from 4 KiB pages and
 * from huge pages: ternary_matmul 414720 x 2560 of one token 29.4 and 38.9 (AVX-512), 29.3 and 32.4
 * (AVX2); head8_bounds 64128 x 2560 23.5 and 35.3. */

/* Memory that can be had without swapping; 0 if the system does not say. The file stays open from the
 * first call, at the start, on: later the sandbox lets no file be opened. */
static uint64_t available_bytes(void)
{
    static int fd = -1;
    static const char KEY[] = "MemAvailable:";
    char text[1024]; /* it is among the first lines */
    if (fd < 0)
        fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    text[n > 0 ? n : 0] = '\0';
    const char *at = strstr(text, KEY);
    return at != NULL ? strtoull(at + sizeof KEY - 1, NULL, 10) * 1024 : 0;
}

/* About the whole pages in these bytes. */
static void advise(const void *data, size_t bytes, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)data + bytes) / page * page;
    if (from < to)
        (void)madvise((void *)from, to - from, advice);
}

/* Pages of the file's mapping that are not needed soon; they come back when read. */
static void let_go(const void *data, size_t bytes)
{
    advise(data, bytes, MADV_DONTNEED);
}

/* Moves `bytes` at *data to the end of the copy; without memory only counts them. */
static void move(struct model *m, const void **data, size_t bytes)
{
    if (m->copy != NULL) {
        void *to = (char *)m->copy + m->copy_bytes;
        memcpy(to, *data, bytes);
        let_go(*data, bytes);
        *data = to;
    }
    m->copy_bytes += (bytes + 63) / 64 * 64;
}

static void move_linear(struct model *m, struct ternary_weights *w)
{
    const void *data = w->codes;
    move(m, &data, (size_t)linear_code_bytes(w));
    w->codes = data;
    data = w->scales;
    move(m, &data, (size_t)linear_scale_bytes(w));
    w->scales = data;
}

static void move_norm(struct model *m, const float **w, uint32_t n)
{
    if (*w == NULL)
        return;
    const void *data = *w;
    move(m, &data, n * sizeof **w);
    *w = data;
}

/* Norms, too, small as they are: reading one in the file may bring the 2 MB around it to memory. */
static void move_layer(struct model *m, struct model_layer *l)
{
    const struct model_config *c = &m->config;
    move_norm(m, &l->input_norm, c->n_hidden);
    move_norm(m, &l->q_norm, c->head_dim);
    move_norm(m, &l->k_norm, c->head_dim);
    move_norm(m, &l->attn_sub_norm, c->n_heads * c->head_dim);
    move_norm(m, &l->post_attn_norm, c->n_hidden);
    move_norm(m, &l->ffn_sub_norm, c->n_ffn);
    for (size_t k = 0; k < N_LINEARS; k++)
        move_linear(m, linear_of(l, k));
}

static void move_all(struct model *m, bool with_head)
{
    m->copy_bytes = 0;
    for (uint32_t i = 0; i < m->config.n_layers; i++)
        move_layer(m, &m->layers[i]);
    move_norm(m, &m->final_norm, m->config.n_hidden);
    if (!with_head)
        return;
    const void *head = m->head;
    move(m, &head, (size_t)model_head_bytes(m));
    m->head = head;
}

static void let_go_file(const struct model *m)
{
    size_t n = 0;
    const struct h1b_section *s = h1b_sections(m->file, &n);
    const char *end = (const char *)s[n - 1].data + s[n - 1].size;
    let_go(s[0].data, (size_t)(end - (const char *)s[0].data));
}

/* Huge pages; NULL if they would leave less than a third of them. */
static void *take_pages(uint64_t bytes)
{
    void *p = MAP_FAILED;
    if (bytes < available_bytes() / 4 * 3)
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

enum err model_copy_weights(struct model *m, bool with_head)
{
    ASSERT(m->copy == NULL);
    move_all(m, with_head);
    size_t bytes = m->copy_bytes;
    void *p = take_pages(bytes);
    if (p == NULL) {
        m->copy_bytes = 0;
        return ERR_NOMEM;
    }
    m->copy = p;
    move_all(m, with_head);
    (void)mprotect(p, bytes, PROT_READ);
    let_go_file(m);
    return ERR_OK;
}

uint64_t model_head_bytes(const struct model *m)
{
    return (uint64_t)m->config.n_vocab * m->config.n_hidden * sizeof *m->head;
}

static bool is_in_file(const struct model *m, const void *data)
{
    const char *at = data;
    const char *copy = m->copy;
    return m->file != NULL && (copy == NULL || at < copy || at >= copy + m->copy_bytes);
}

bool model_has_head_in_file(const struct model *m)
{
    return is_in_file(m, m->head);
}

/* Tells the system about the whole pages of these rows, if they lie in the file. */
static void advise_rows(const struct model *m, const uint16_t *matrix, uint32_t row0, uint32_t row1,
                        int advice)
{
    size_t row = m->config.n_hidden;
    if (is_in_file(m, matrix))
        advise(matrix + row0 * row, (row1 - row0) * row * sizeof *matrix, advice);
}

/* One byte of each piece that Linux maps at once where the file is in its cache. MADV_POPULATE_READ looks
 * at page by page: of a file that was written in small pieces 13 GB/s a thread, and so 20; of one whose
 * pages lie together the same or a little more. */
void model_fetch_head(const struct model *m, uint32_t row0, uint32_t row1)
{
    enum { FAULT_AROUND_BYTES = 65536 };
    size_t row = m->config.n_hidden * sizeof *m->head;
    const volatile char *head = (const volatile char *)m->head;
    for (size_t at = row0 * row; at < row1 * row; at += FAULT_AROUND_BYTES)
        (void)head[at];
}

void model_release_head(const struct model *m, uint32_t row0, uint32_t row1)
{
    advise_rows(m, m->head, row0, row1, MADV_DONTNEED);
}

void model_release_embedding(const struct model *m)
{
    advise_rows(m, m->embedding, 0, m->config.n_vocab, MADV_DONTNEED);
}

void model_close(struct model *m)
{
    if (m == NULL)
        return;
    if (m->copy != NULL)
        (void)munmap(m->copy, m->copy_bytes);
    h1b_close(m->file);
    free(m->layers);
    free(m->rope_cos);
    free(m->rope_sin);
    free(m);
}
