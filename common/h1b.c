/* SPDX-License-Identifier: MIT */
#include "common/h1b.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/pack.h"
#include "common/utf8.h"

enum {
    HEADER_SIZE = 64,
    ENTRY_SIZE = 192,
    NAME_SIZE = 96,
    HASH_SIZE = 32,
    ALIGNMENT = 64,
    VERSION = 5,
    SECTIONS_MAX = 65536,
};

struct h1b {
    const uint8_t *map;
    uint64_t size;
    size_t n_sections;
    struct h1b_section *sections; /* file order */
    const struct h1b_section **by_name; /* the same, sorted by name */
    char hash[2 * HASH_SIZE + 1];
};

/* The line for the caller: which file, where, what. */
struct report {
    const char *path;
    char *text;
    size_t cap;
};

__attribute__((format(printf, 3, 4))) static enum err bad(const struct report *rep, uint64_t offset,
                                                          const char *fmt, ...)
{
    int n = snprintf(rep->text, rep->cap, "%s: at offset %llu: ", rep->path,
                     (unsigned long long)offset);
    if (n < 0 || (size_t)n >= rep->cap)
        return ERR_MODEL_FORMAT;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(rep->text + n, rep->cap - (size_t)n, fmt, ap);
    va_end(ap);
    return ERR_MODEL_FORMAT;
}

static enum err bad_io(const struct report *rep, const char *what, int errnum)
{
    char text[128];
    (void)snprintf(rep->text, rep->cap, "%s: %s: %s", rep->path, what,
                   strerror_r(errnum, text, sizeof text));
    return ERR_IO;
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static bool does_sha256_match(const void *data, size_t n, const uint8_t want[HASH_SIZE])
{
    uint8_t got[EVP_MAX_MD_SIZE];
    unsigned n_got = 0;
    return EVP_Digest(data, n, got, &n_got, EVP_sha256(), NULL) == 1 && n_got == HASH_SIZE &&
           memcmp(got, want, HASH_SIZE) == 0;
}

/* UTF-8 without control characters, at least one byte, NUL-padded to NAME_SIZE. */
static bool is_name(const uint8_t *s)
{
    const uint8_t *end = memchr(s, 0, NAME_SIZE);
    if (!end || end == s)
        return false;
    size_t n = (size_t)(end - s);
    for (size_t i = 0; i < n; i++) {
        if (s[i] < 0x20 || s[i] == 0x7f)
            return false;
    }
    if (!utf8_is_valid((const char *)s, n))
        return false;
    return is_zero(end, NAME_SIZE - n);
}

/* The bytes that `dtype` and `dims` imply; false for an unknown dtype or on overflow. */
static bool size_of(uint32_t dtype, uint32_t n_dims, const uint64_t dims[4], uint64_t *ret_size)
{
    uint64_t last = dims[n_dims - 1];
    switch (dtype) {
    case H1B_U8:
        break;
    case H1B_U32:
    case H1B_F32:
        if (__builtin_mul_overflow(last, 4, &last))
            return false;
        break;
    case H1B_F16:
        if (__builtin_mul_overflow(last, 2, &last))
            return false;
        break;
    case H1B_T2:
    case H1B_T5:
    case H1B_S3:
    case H1B_B1:
        last = pack_row_bytes((enum h1b_dtype)dtype, last);
        break;
    default:
        return false;
    }
    for (uint32_t i = 0; i + 1 < n_dims; i++) {
        if (__builtin_mul_overflow(last, dims[i], &last))
            return false;
    }
    *ret_size = last;
    return true;
}

static enum err map_file(struct h1b *h, const struct report *rep)
{
    int fd = open(rep->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return bad_io(rep, "cannot open", errno);
    struct stat st;
    enum err e = ERR_OK;
    if (fstat(fd, &st) != 0) {
        e = bad_io(rep, "cannot stat", errno);
    } else if (!S_ISREG(st.st_mode)) {
        e = bad_io(rep, "not a regular file", EINVAL);
    } else if (st.st_size < HEADER_SIZE) {
        e = bad(rep, 0, "expected a header of %d bytes, the file has %lld", HEADER_SIZE,
                (long long)st.st_size);
    } else {
        void *map = FAULT_HITS(failed_mmap)
                        ? MAP_FAILED
                        : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            e = bad_io(rep, "cannot map", errno);
        } else {
            h->map = map;
            h->size = (uint64_t)st.st_size;
        }
    }
    (void)close(fd);
    return e;
}

static enum err check_header(struct h1b *h, const struct report *rep, uint64_t *ret_table)
{
    const uint8_t *p = h->map;
    if (memcmp(p, "H1B\0", 4) != 0)
        return bad(rep, 0, "expected the magic \"H1B\"");
    if (get_u32(p + 4) != VERSION)
        return bad(rep, 4, "expected version %d, found %u%s", VERSION, get_u32(p + 4),
                   get_u32(p + 4) - 1 < VERSION - 1 ? " (`halo convert` reads it)" : "");
    if (get_u64(p + 8) != h->size)
        return bad(rep, 8, "expected the file's size %llu, found %llu", (unsigned long long)h->size,
                   (unsigned long long)get_u64(p + 8));
    uint32_t n = get_u32(p + 0x10);
    if (n < 1 || n > SECTIONS_MAX)
        return bad(rep, 0x10, "expected 1..%d sections, found %u", SECTIONS_MAX, n);
    if (get_u32(p + 0x14) != 0)
        return bad(rep, 0x14, "expected flags 0, found %#x", get_u32(p + 0x14));
    uint64_t table = get_u64(p + 0x18);
    uint64_t table_size = (uint64_t)n * ENTRY_SIZE;
    if (table % ALIGNMENT != 0 || table < HEADER_SIZE || table > h->size ||
        table_size > h->size - table)
        return bad(rep, 0x18, "expected a table offset that leaves room for %u entries", n);
    if (!does_sha256_match(p + table, (size_t)table_size, p + 0x20))
        return bad(rep, 0x20, "expected the SHA-256 of the section table");
    for (size_t i = 0; i < HASH_SIZE; i++)
        (void)snprintf(h->hash + 2 * i, 3, "%02x", p[0x20 + i]);
    h->n_sections = n;
    *ret_table = table;
    return ERR_OK;
}

static enum err read_entry(const struct h1b *h, const struct report *rep, uint64_t at,
                           uint64_t data_start, struct h1b_section *s)
{
    const uint8_t *p = h->map + at;
    if (!is_name(p))
        return bad(rep, at, "expected a section name in UTF-8, NUL-padded");
    s->name = (const char *)p;
    uint32_t dtype = get_u32(p + 0x60);
    s->n_dims = get_u32(p + 0x64);
    if (s->n_dims < 1 || s->n_dims > 4)
        return bad(rep, at + 0x64, "%s: expected 1..4 dims, found %u", s->name, s->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        s->dims[i] = get_u64(p + 0x68 + 8 * (uint64_t)i);
        if (i >= s->n_dims && s->dims[i] != 1)
            return bad(rep, at + 0x68 + 8 * (uint64_t)i, "%s: expected 1 in an unused dim",
                       s->name);
    }
    uint64_t offset = get_u64(p + 0x88);
    s->size = get_u64(p + 0x90);
    uint64_t want = 0;
    if (!size_of(dtype, s->n_dims, s->dims, &want))
        return bad(rep, at + 0x60, "%s: expected a known dtype and dims that fit, found dtype %u",
                   s->name, dtype);
    s->dtype = (enum h1b_dtype)dtype;
    if (s->size != want)
        return bad(rep, at + 0x90, "%s: expected size %llu from dtype and dims, found %llu",
                   s->name, (unsigned long long)want, (unsigned long long)s->size);
    if (offset % ALIGNMENT != 0 || offset < data_start || offset > h->size ||
        s->size > h->size - offset)
        return bad(rep, at + 0x88, "%s: expected an aligned offset inside the file, found %llu",
                   s->name, (unsigned long long)offset);
    if (!is_zero(p + 0xb8, 8))
        return bad(rep, at + 0xb8, "%s: expected zero in the reserved bytes", s->name);
    s->data = h->map + offset;
    return ERR_OK;
}

static int compare_names(const void *a, const void *b)
{
    const struct h1b_section *const *x = a;
    const struct h1b_section *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static enum err index_names(struct h1b *h, const struct report *rep)
{
    for (size_t i = 0; i < h->n_sections; i++)
        h->by_name[i] = &h->sections[i];
    qsort(h->by_name, h->n_sections, sizeof(const struct h1b_section *), compare_names);
    for (size_t i = 1; i < h->n_sections; i++) {
        if (strcmp(h->by_name[i - 1]->name, h->by_name[i]->name) == 0)
            return bad(rep, (uint64_t)((const uint8_t *)h->by_name[i]->name - h->map),
                       "%s: expected a unique name", h->by_name[i]->name);
    }
    return ERR_OK;
}

static enum err check_contents(const struct h1b *h, const struct report *rep)
{
    for (size_t i = 0; i < h->n_sections; i++) {
        const struct h1b_section *s = &h->sections[i];
        if (!does_sha256_match(s->data, (size_t)s->size, (const uint8_t *)s->name + 0x98))
            return bad(rep, (uint64_t)((const uint8_t *)s->data - h->map),
                       "%s: expected the SHA-256 that the section table gives", s->name);
    }
    return ERR_OK;
}

static enum err load(struct h1b *h, enum h1b_verify verify, const struct report *rep)
{
    enum err e = map_file(h, rep);
    if (e)
        return e;
    uint64_t table = 0;
    e = check_header(h, rep, &table);
    if (e)
        return e;
    h->sections = calloc(h->n_sections, sizeof *h->sections);
    h->by_name = calloc(h->n_sections, sizeof(const struct h1b_section *));
    if (!h->sections || !h->by_name) {
        (void)snprintf(rep->text, rep->cap, "%s: out of memory", rep->path);
        return ERR_NOMEM;
    }
    uint64_t data_start = table + (uint64_t)h->n_sections * ENTRY_SIZE;
    for (size_t i = 0; i < h->n_sections && !e; i++)
        e = read_entry(h, rep, table + (uint64_t)i * ENTRY_SIZE, data_start, &h->sections[i]);
    if (!e)
        e = index_names(h, rep);
    if (!e && verify == H1B_VERIFY_ALL)
        e = check_contents(h, rep);
    return e;
}

enum err h1b_open(const char *path, enum h1b_verify verify, char *why, size_t cap_why,
                  struct h1b **ret_h1b)
{
    struct report rep = {.path = path, .text = why, .cap = cap_why};
    struct h1b *h = calloc(1, sizeof *h);
    if (!h) {
        (void)snprintf(why, cap_why, "%s: out of memory", path);
        return ERR_NOMEM;
    }
    enum err e = load(h, verify, &rep);
    if (e) {
        h1b_close(h);
        return e;
    }
    *ret_h1b = h;
    return ERR_OK;
}

void h1b_close(struct h1b *h)
{
    if (!h)
        return;
    if (h->map)
        (void)munmap((void *)(uintptr_t)h->map, (size_t)h->size);
    free(h->sections);
    free((void *)(uintptr_t)h->by_name);
    free(h);
}

const struct h1b_section *h1b_find(const struct h1b *h, const char *name)
{
    size_t low = 0;
    size_t high = h->n_sections;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, h->by_name[mid]->name);
        if (order == 0)
            return h->by_name[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct h1b_section *h1b_sections(const struct h1b *h, size_t *ret_n)
{
    *ret_n = h->n_sections;
    return h->sections;
}

const char *h1b_hash(const struct h1b *h)
{
    return h->hash;
}

uint64_t h1b_file_size(const struct h1b *h)
{
    return h->size;
}
