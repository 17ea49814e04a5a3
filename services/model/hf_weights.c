/* SPDX-License-Identifier: MIT */
#include "services/model/hf_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/file.h"
#include "services/model/half.h"
#include "services/model/safetensors.h"

enum {
    FILES_MAX = 1024,
    PART_BYTES = 1 << 20, /* read at a time */
};

struct weights_file {
    char *path;
    int fd;
    struct safetensors content;
};

struct entry {
    const struct weights_file *file;
    const struct safetensors_tensor *tensor;
    const struct entry *scale; /* of packed codes */
    char *name; /* as Halo calls it */
    bool is_used; /* a scale that belongs to a tensor */
};

struct hf_weights {
    struct weights_file *files;
    size_t n_files;
    struct entry *entries; /* sorted by name */
    size_t n_entries;
    enum hf_scale scale;
};

/* ---- reading ---- */

/* Bytes [from, from + n) of a tensor, which has them. */
static enum err read_part(const struct entry *x, uint64_t from, void *dst, size_t n,
                          struct why *why)
{
    return file_read_at(x->file->fd, x->file->path, x->tensor->offset + from, dst, n, why);
}

static bool is_type(const struct entry *x, const char *name)
{
    return strcmp(x->tensor->type->name, name) == 0;
}

/* n values of the tensor's type at `bytes`. */
static void to_floats(const struct entry *x, const uint8_t *bytes, size_t n, float *dst)
{
    uint16_t half;
    if (is_type(x, "F32")) {
        memcpy(dst, bytes, n * sizeof *dst);
    } else if (is_type(x, "BF16")) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + i * sizeof half, sizeof half);
            dst[i] = half_from_bf16(half);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + i * sizeof half, sizeof half);
            dst[i] = half_from_f16(half);
        }
    }
}

static enum err read_floats(const struct entry *x, uint64_t first, uint64_t n, float *dst,
                            struct why *why)
{
    size_t width = x->tensor->type->n_bytes;
    uint8_t *part = malloc(PART_BYTES);
    if (part == NULL)
        return why_nomem(why, x->name);
    enum err e = ERR_OK;
    for (uint64_t done = 0; done < n && !e;) {
        uint64_t some = n - done < PART_BYTES / width ? n - done : PART_BYTES / width;
        e = read_part(x, (first + done) * width, part, (size_t)some * width, why);
        if (!e)
            to_floats(x, part, (size_t)some, dst + done);
        done += some;
    }
    free(part);
    return e;
}

enum err hf_weights_floats(const struct hf_weights *w, const struct source_tensor *t,
                           uint64_t first, uint64_t n, float *dst, struct why *why)
{
    return read_floats(&w->entries[t->handle], first * t->cols, n * t->cols, dst, why);
}

enum err hf_weights_codes(const struct hf_weights *w, const struct source_tensor *t, uint64_t first,
                          uint64_t n, int8_t *dst, struct why *why)
{
    const struct entry *x = &w->entries[t->handle];
    uint64_t quarter = t->rows / 4;
    uint8_t *row = malloc((size_t)t->cols);
    if (row == NULL)
        return why_nomem(why, t->name);
    enum err e = ERR_OK;
    for (uint64_t r = first; r < first + n && !e; r++) {
        uint64_t from = r % quarter * t->cols;
        unsigned shift = (unsigned)(r / quarter * 2);
        unsigned bad = 0;
        unsigned long long offset = x->tensor->offset + from;
        e = read_part(x, from, row, (size_t)t->cols, why);
        for (uint64_t c = 0; c < t->cols && !e; c++) {
            unsigned code = (unsigned)row[c] >> shift & 3;
            bad |= code & code >> 1;
            dst[(r - first) * t->cols + c] = (int8_t)((int)code - 1);
        }
        if (!e && bad != 0)
            e = why_set(why, ERR_MODEL_FORMAT,
                        "%s: %s: row %llu at offset %llu: expected codes 0, 1 and 2, found 3; the "
                        "file is damaged or packed in another way",
                        x->file->path, t->name, (unsigned long long)r, offset);
    }
    free(row);
    return e;
}

enum err hf_weights_scales(const struct hf_weights *w, const struct source_tensor *t, float *dst,
                           struct why *why)
{
    const struct entry *scale = w->entries[t->handle].scale;
    float value = NAN;
    enum err e = read_floats(scale, 0, 1, &value, why);
    if (e)
        return e;
    if (!isfinite(value) || !(value > 0.0F))
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: %s at offset %llu: expected a positive scale, found %g",
                       scale->file->path, scale->name, (unsigned long long)scale->tensor->offset,
                       (double)value);
    *dst = w->scale == HF_SCALE_DIVIDES ? 1.0F / value : value;
    return ERR_OK;
}

/* ---- opening ---- */

static enum err open_file(struct hf_weights *w, const char *folder, const char *name,
                          struct why *why)
{
    struct weights_file *f = &w->files[w->n_files];
    f->path = file_join(folder, name);
    enum err e = safetensors_open(f->path, why, &f->content, &f->fd);
    if (e) {
        free(f->path);
        f->path = NULL;
        return e;
    }
    w->n_files++;
    return ERR_OK;
}

static bool is_plain_name(const char *name)
{
    return name != NULL && *name != '\0' && *name != '.' && strchr(name, '/') == NULL;
}

static const struct weights_file *find_file(const struct hf_weights *w, const char *folder,
                                            const char *name)
{
    size_t n = strlen(folder) + 1;
    for (size_t i = 0; i < w->n_files; i++) {
        if (strcmp(w->files[i].path + n, name) == 0)
            return &w->files[i];
    }
    return NULL;
}

static enum err open_shards(struct hf_weights *w, const char *folder, const json_t *index,
                            struct why *why)
{
    static const char INDEX[] = "model.safetensors.index.json";
    json_t *map = json_object_get(index, "weight_map");
    if (json_object_size(map) == 0)
        return why_set(why, ERR_MODEL_FORMAT, "%s/%s: expected a \"weight_map\"", folder, INDEX);
    const char *tensor;
    json_t *v;
    json_object_foreach(map, tensor, v)
    {
        const char *name = json_string_value(v);
        if (!is_plain_name(name))
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s/%s: tensor %s: expected the name of a file in this directory",
                           folder, INDEX, tensor);
        if (find_file(w, folder, name) != NULL)
            continue;
        if (w->n_files == FILES_MAX)
            return why_set(why, ERR_TOO_LARGE, "%s/%s: expected at most %d files", folder, INDEX,
                           FILES_MAX);
        enum err e = open_file(w, folder, name, why);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err explain_no_weights(const char *folder, struct why *why)
{
    static const char *const OTHERS[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                         "consolidated.00.pth"};
    for (size_t i = 0; i < ARRAY_LEN(OTHERS); i++) {
        char *path = file_join(folder, OTHERS[i]);
        bool is_there = access(path, F_OK) == 0;
        free(path);
        if (is_there)
            return why_set(why, ERR_UNSUPPORTED,
                           "%s: expected model.safetensors, found %s; save the model again with "
                           "safe_serialization=True",
                           folder, OTHERS[i]);
    }
    return why_set(why, ERR_NOT_FOUND,
                   "%s: expected model.safetensors or model.safetensors.index.json in it", folder);
}

static enum err open_all(struct hf_weights *w, const char *folder, struct why *why)
{
    w->files = mem_zalloc(FILES_MAX, sizeof *w->files);
    enum err e = open_file(w, folder, "model.safetensors", why);
    if (e != ERR_NOT_FOUND)
        return e;
    json_t *index = NULL;
    e = file_load_json(folder, "model.safetensors.index.json", why, &index);
    if (e == ERR_NOT_FOUND)
        return explain_no_weights(folder, why);
    if (!e)
        e = open_shards(w, folder, index, why);
    if (e == ERR_NOT_FOUND)
        e = why_set(why, ERR_NOT_FOUND, "%s: a file that the index names is missing", folder);
    json_decref(index);
    return e;
}

/* ---- listing ---- */

/* 1bitLLM's names of the two norms that BitNet has more than Llama. */
static const char *const RENAMED[][2] = {
    {".self_attn.inner_attn_ln.weight", ".self_attn.attn_sub_norm.weight"},
    {".mlp.ffn_layernorm.weight", ".mlp.ffn_sub_norm.weight"},
};

static size_t suffix_at(const char *name, const char *suffix)
{
    size_t n = strlen(name);
    size_t k = strlen(suffix);
    return n >= k && strcmp(name + n - k, suffix) == 0 ? n - k : SIZE_MAX;
}

static char *our_name(const char *theirs)
{
    struct buf name = {0};
    for (size_t i = 0; i < ARRAY_LEN(RENAMED); i++) {
        size_t at = suffix_at(theirs, RENAMED[i][0]);
        if (at != SIZE_MAX) {
            buf_add(&name, theirs, at);
            buf_add_cstr(&name, RENAMED[i][1]);
            return buf_detach(&name);
        }
    }
    buf_add_cstr(&name, theirs);
    return buf_detach(&name);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return strcmp(x->name, y->name);
}

static enum err index_entries(struct hf_weights *w, struct why *why)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_files; i++)
        n += w->files[i].content.n_tensors;
    w->entries = mem_zalloc(n, sizeof *w->entries);
    for (size_t i = 0; i < w->n_files; i++) {
        const struct weights_file *f = &w->files[i];
        for (size_t k = 0; k < f->content.n_tensors; k++) {
            const struct safetensors_tensor *t = &f->content.tensors[k];
            w->entries[w->n_entries++] =
                (struct entry){.file = f, .tensor = t, .name = our_name(t->name)};
        }
    }
    qsort(w->entries, n, sizeof *w->entries, compare_entries);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(w->entries[i - 1].name, w->entries[i].name) == 0)
            return why_set(why, ERR_MODEL_FORMAT, "%s: tensor %s is also in %s",
                           w->entries[i].file->path, w->entries[i].name,
                           w->entries[i - 1].file->path);
    }
    return ERR_OK;
}

static uint64_t count_of(const struct entry *x)
{
    return x->tensor->n_bytes / x->tensor->type->n_bytes;
}

static bool is_float(const struct entry *x)
{
    return is_type(x, "F32") || is_type(x, "BF16") || is_type(x, "F16");
}

static enum err refuse(const struct entry *x, const char *expected, struct why *why)
{
    return why_set(why, ERR_UNSUPPORTED, "%s: tensor %s at offset %llu (%s): expected %s",
                   x->file->path, x->name, (unsigned long long)x->tensor->offset,
                   x->tensor->type->name, expected);
}

/* Finds the scale of a U8 weight and takes it off the list of tensors. */
static enum err join_scale(struct hf_weights *w, struct entry *x, struct why *why)
{
    struct buf wanted = {0};
    buf_printf(&wanted, "%s_scale", x->name);
    struct entry key = {.name = wanted.ptr};
    struct entry *scale =
        bsearch(&key, w->entries, w->n_entries, sizeof *w->entries, compare_entries);
    buf_fini(&wanted);
    if (scale == NULL)
        return refuse(x, "a weight_scale beside packed weights", why);
    if (!is_float(scale) || count_of(scale) != 1)
        return refuse(scale, "one float", why);
    if (w->scale == HF_SCALE_UNKNOWN)
        return refuse(
            x,
            "a \"quantization_config\" in config.json that says what the scales of packed "
            "weights mean",
            why);
    x->scale = scale;
    scale->is_used = true;
    return ERR_OK;
}

static enum err add_tensor(const struct hf_weights *w, struct source *s, const struct entry *x,
                           struct why *why)
{
    const struct safetensors_tensor *t = x->tensor;
    if (x->scale == NULL && !is_float(x))
        return refuse(x, "F32, F16, BF16, or U8 for packed weights", why);
    if (t->n_dims > 2 || count_of(x) == 0)
        return refuse(x, "one or two dimensions, none of them 0", why);
    struct source_tensor *out = &s->tensors[s->n_tensors++];
    *out = (struct source_tensor){
        .name = x->name,
        .kind = x->scale != NULL ? SOURCE_CODES : SOURCE_FLOATS,
        .rows = t->n_dims == 2 ? t->dims[0] : 1,
        .cols = t->n_dims > 0 ? t->dims[t->n_dims - 1] : 1,
        .n_scales = x->scale != NULL ? 1 : 0,
        .native = H1B_T2,
        .type = t->type->name,
        .offset = t->offset,
        .n_bytes = t->n_bytes,
        .handle = (size_t)(x - w->entries),
    };
    if (x->scale != NULL && (t->n_dims != 2 || t->dims[0] > UINT32_MAX))
        return refuse(x, "[rows / 4, columns] of packed weights", why);
    if (x->scale != NULL)
        out->rows *= 4;
    return ERR_OK;
}

static enum err list_tensors(struct hf_weights *w, struct source *s, struct why *why)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < w->n_entries && !e; i++) {
        if (is_type(&w->entries[i], "U8"))
            e = join_scale(w, &w->entries[i], why);
    }
    s->tensors = mem_zalloc(w->n_entries, sizeof *s->tensors);
    for (size_t i = 0; i < w->n_entries && !e; i++) {
        if (!w->entries[i].is_used)
            e = add_tensor(w, s, &w->entries[i], why);
    }
    return e;
}

enum err hf_weights_new(struct source *s, enum hf_scale scale, struct why *why,
                        struct hf_weights **ret_weights)
{
    struct hf_weights *w = mem_zalloc(1, sizeof *w);
    w->scale = scale;
    enum err e = open_all(w, s->path, why);
    if (!e)
        e = index_entries(w, why);
    if (!e)
        e = list_tensors(w, s, why);
    if (e) {
        hf_weights_free(w);
        return e;
    }
    *ret_weights = w;
    return ERR_OK;
}

void hf_weights_free(struct hf_weights *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->n_entries; i++)
        free(w->entries[i].name);
    for (size_t i = 0; i < w->n_files; i++) {
        (void)close(w->files[i].fd);
        safetensors_fini(&w->files[i].content);
        free(w->files[i].path);
    }
    free(w->entries);
    free(w->files);
    free(w);
}
