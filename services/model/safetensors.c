/* SPDX-License-Identifier: MIT */
#include "services/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/file.h"

enum {
    LENGTH_SIZE = 8,
    HEADER_MAX = 100000000,
};

static const struct safetensors_type TYPES[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
    {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8},
};

/* What the messages need. */
struct place {
    const char *path;
    struct why *why;
};

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static enum err check_length(const struct place *at, const uint8_t *bytes, size_t n,
                             uint64_t file_size, uint64_t *ret_length)
{
    if (n < LENGTH_SIZE)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: at offset 0: expected the header's length in 8 bytes, the file has "
                       "%llu; download it again",
                       at->path, (unsigned long long)file_size);
    uint64_t length = get_u64(bytes);
    if (length < 2 || length > HEADER_MAX)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: at offset 0: expected a header of 2..%d bytes, found %llu; this is no "
                       "safetensors file",
                       at->path, HEADER_MAX, (unsigned long long)length);
    if (length > file_size - LENGTH_SIZE)
        return why_set(
            at->why, ERR_MODEL_FORMAT,
            "%s: at offset 8: expected a header of %llu bytes, the file ends after %llu; "
            "download it again",
            at->path, (unsigned long long)length, (unsigned long long)(file_size - LENGTH_SIZE));
    *ret_length = length;
    return ERR_OK;
}

static const struct safetensors_type *find_type(const char *name)
{
    for (size_t i = 0; name != NULL && i < ARRAY_LEN(TYPES); i++) {
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    }
    return NULL;
}

static bool get_size(const json_t *v, uint64_t *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static enum err read_shape(const struct place *at, const json_t *shape,
                           struct safetensors_tensor *t, uint64_t *ret_size)
{
    size_t n = json_array_size(shape);
    uint64_t size = t->type->n_bytes;
    bool is_good = json_is_array(shape) && n <= SAFETENSORS_DIMS_MAX;
    for (size_t i = 0; is_good && i < n; i++)
        is_good = get_size(json_array_get(shape, i), &t->dims[i]) &&
                  !__builtin_mul_overflow(size, t->dims[i], &size);
    if (!is_good)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: tensor %s: expected \"shape\" to be at most %d sizes", at->path,
                       t->name, SAFETENSORS_DIMS_MAX);
    t->n_dims = (uint32_t)n;
    *ret_size = size;
    return ERR_OK;
}

static enum err read_tensor(const struct place *at, const char *name, const json_t *v,
                            uint64_t data_start, struct safetensors_tensor *t)
{
    *t = (struct safetensors_tensor){.name = name};
    const char *type = json_string_value(json_object_get(v, "dtype"));
    t->type = find_type(type);
    if (t->type == NULL)
        return why_set(at->why, ERR_UNSUPPORTED,
                       "%s: tensor %s: expected a known \"dtype\", found %s", at->path, name,
                       type != NULL ? type : "none");
    uint64_t size = 0;
    enum err e = read_shape(at, json_object_get(v, "shape"), t, &size);
    if (e)
        return e;
    const json_t *range = json_object_get(v, "data_offsets");
    uint64_t begin = 0;
    uint64_t end = 0;
    if (json_array_size(range) != 2 || !get_size(json_array_get(range, 0), &begin) ||
        !get_size(json_array_get(range, 1), &end) || begin > end || end > INT64_MAX - data_start)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: tensor %s: expected \"data_offsets\" [begin, end]", at->path, name);
    t->offset = data_start + begin;
    t->n_bytes = end - begin;
    if (t->n_bytes != size)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: tensor %s at offset %llu: expected %llu bytes from dtype and shape, "
                       "found %llu",
                       at->path, name, (unsigned long long)t->offset, (unsigned long long)size,
                       (unsigned long long)t->n_bytes);
    return ERR_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a;
    const struct safetensors_tensor *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static enum err check_cover(const struct place *at, const struct safetensors *f,
                            uint64_t data_start, uint64_t file_size)
{
    uint64_t end = data_start;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct safetensors_tensor *t = &f->tensors[i];
        if (t->offset != end)
            return why_set(at->why, ERR_MODEL_FORMAT,
                           "%s: tensor %s begins at offset %llu; expected %llu, where the one "
                           "before ends",
                           at->path, t->name, (unsigned long long)t->offset,
                           (unsigned long long)end);
        end += t->n_bytes;
        if (end > file_size)
            return why_set(at->why, ERR_MODEL_FORMAT,
                           "%s: tensor %s at offset %llu: expected %llu bytes, the file ends after "
                           "%llu; download it again",
                           at->path, t->name, (unsigned long long)t->offset,
                           (unsigned long long)t->n_bytes,
                           (unsigned long long)(file_size - t->offset));
    }
    if (end != file_size)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: at offset %llu: expected the end of the file, found %llu more bytes",
                       at->path, (unsigned long long)end, (unsigned long long)(file_size - end));
    return ERR_OK;
}

static enum err read_header(const struct place *at, uint64_t data_start, uint64_t file_size,
                            struct safetensors *f)
{
    size_t n = json_object_size(f->header);
    if (!json_is_object(f->header) || n > SAFETENSORS_TENSORS_MAX)
        return why_set(at->why, ERR_MODEL_FORMAT,
                       "%s: at offset 8: expected a JSON object of at most %d tensors", at->path,
                       SAFETENSORS_TENSORS_MAX);
    f->tensors = mem_zalloc(n, sizeof *f->tensors);
    const char *name;
    json_t *v;
    json_object_foreach(f->header, name, v)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        enum err e = read_tensor(at, name, v, data_start, &f->tensors[f->n_tensors]);
        if (e)
            return e;
        f->n_tensors++;
    }
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, compare_places);
    return check_cover(at, f, data_start, file_size);
}

enum err safetensors_parse(const char *path, const uint8_t *bytes, size_t n, uint64_t file_size,
                           struct why *why, struct safetensors *ret_file)
{
    struct place at = {path, why};
    uint64_t length = 0;
    enum err e = check_length(&at, bytes, n, file_size, &length);
    if (e)
        return e;
    ASSERT(n - LENGTH_SIZE >= length);
    json_error_t error;
    struct safetensors f = {0};
    f.header = json_loadb((const char *)bytes + LENGTH_SIZE, (size_t)length, JSON_REJECT_DUPLICATES,
                          &error);
    if (f.header == NULL)
        return why_set(why, ERR_MODEL_FORMAT, "%s: at offset %d: expected a JSON header: %s", path,
                       LENGTH_SIZE + error.position, error.text);
    e = read_header(&at, LENGTH_SIZE + length, file_size, &f);
    if (e) {
        safetensors_fini(&f);
        return e;
    }
    *ret_file = f;
    return ERR_OK;
}

static enum err open_and_parse(const char *path, int fd, struct why *why,
                               struct safetensors *ret_file)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return why_set(why, ERR_IO, "%s: expected a regular file", path);
    struct place at = {path, why};
    uint64_t size = (uint64_t)st.st_size;
    uint8_t start[LENGTH_SIZE];
    uint64_t length = 0;
    size_t n_start = size < sizeof start ? (size_t)size : sizeof start;
    enum err e = file_read_at(fd, path, 0, start, n_start, why);
    if (!e)
        e = check_length(&at, start, n_start, size, &length);
    if (e)
        return e;
    uint8_t *header = malloc(LENGTH_SIZE + (size_t)length);
    if (header == NULL)
        return why_nomem(why, path);
    e = file_read_at(fd, path, 0, header, LENGTH_SIZE + (size_t)length, why);
    if (!e)
        e = safetensors_parse(path, header, LENGTH_SIZE + (size_t)length, size, why, ret_file);
    free(header);
    return e;
}

enum err safetensors_open(const char *path, struct why *why, struct safetensors *ret_file,
                          int *ret_fd)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return why_errno(why, path, "cannot open", errno);
    enum err e = open_and_parse(path, fd, why, ret_file);
    if (e) {
        (void)close(fd);
        return e;
    }
    *ret_fd = fd;
    return ERR_OK;
}

void safetensors_fini(struct safetensors *f)
{
    json_decref(f->header);
    free(f->tensors);
    *f = (struct safetensors){0};
}
