/* SPDX-License-Identifier: MIT */
#include "services/engine/kv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fault.h"
#include "common/mem.h"

static const char MAGIC[8] = "HALOKV1";

struct head {
    char magic[8];
    uint32_t n_rows;
    uint32_t n_bodies;
    uint32_t kv_type;
    uint32_t block_tokens;
    uint64_t block_bytes;
    uint64_t known_answer;
    char model_hash[64];
    uint64_t index_sum;
    uint64_t head_sum; /* of all before it */
};

struct row {
    uint64_t tenant;
    uint64_t sum; /* of its bytes, if it has any */
    uint32_t parent; /* row of the block before it, or KV_NONE */
    uint32_t has_body;
    uint32_t tokens[KV_BLOCK];
};

/* Four strands, so that it runs at the speed of memory. It finds damage, not malice: the file is ours. */
static uint64_t checksum(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t h[4] = {1, 2, 3, 4};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        for (size_t k = 0; k < 4; k++) {
            uint64_t x;
            memcpy(&x, p + i + 8 * k, sizeof x);
            h[k] = (h[k] ^ x) * 0x9e3779b97f4a7c15U;
            h[k] ^= h[k] >> 32;
        }
    }
    for (; i < n; i++)
        h[i % 4] = (h[i % 4] ^ p[i]) * 0x9e3779b97f4a7c15U;
    return ((h[0] * 31 + h[1]) * 31 + h[2]) * 31 + h[3] + n;
}

static struct head make_head(const struct kv_file_cache *c)
{
    struct head h;
    memset(&h, 0, sizeof h); /* its padding is in the checksum, too */
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.kv_type = c->key.kv_type;
    h.block_tokens = KV_BLOCK;
    h.block_bytes = c->backend->kv_bytes;
    h.known_answer = c->key.known_answer;
    memcpy(h.model_hash, c->key.model_hash, strnlen(c->key.model_hash, sizeof h.model_hash));
    return h;
}

static bool transfer(int fd, void *data, size_t n, bool is_write)
{
    uint8_t *p = data;
    while (n > 0) {
        if (is_write && FAULT_HITS(full_disk))
            return false;
        ssize_t k = is_write ? write(fd, p, n) : read(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------- */

struct writing {
    const struct kv_file_cache *cache;
    uint32_t *ids;
    struct row *rows;
    uint32_t n_rows;
    uint32_t n_bodies;
    int fd;
};

static uint64_t room_for(const char *directory_of, uint64_t cap_bytes)
{
    struct statvfs fs;
    struct buf dir = {0};
    buf_add_cstr(&dir, directory_of);
    char *slash = strrchr(dir.ptr, '/');
    if (slash != NULL)
        *slash = '\0';
    uint64_t room = 0;
    if (statvfs(slash != NULL ? dir.ptr : ".", &fs) == 0)
        room = (uint64_t)fs.f_bavail * fs.f_frsize / 2;
    buf_fini(&dir);
    return room < cap_bytes ? room : cap_bytes;
}

/* Chooses the blocks and makes their rows. */
static void list_rows(struct writing *w, const struct kv_file_choice *choice, uint64_t room)
{
    const struct kv *kv = w->cache->kv;
    uint32_t n_blocks = kv_stats(kv).n_blocks;
    uint64_t each = w->cache->backend->kv_bytes;
    uint32_t *row_of = mem_zalloc(n_blocks, sizeof *row_of);
    w->ids = mem_zalloc(n_blocks, sizeof *w->ids);
    w->n_rows = choice->tokens != NULL ? kv_list_prefix(kv, choice->tenant, choice->tokens,
                                                        choice->n_tokens, w->ids, n_blocks)
                                       : kv_list(kv, w->ids, n_blocks);
    w->rows = mem_zalloc((size_t)w->n_rows + 1, sizeof *w->rows);
    for (uint32_t i = 0; i < w->n_rows; i++) {
        struct kv_block b = kv_describe(kv, w->ids[i]);
        struct row *r = &w->rows[i];
        bool has_body = b.stamp > choice->after;
        if (has_body && (w->n_bodies + 1) * each > room) {
            w->n_rows = i; /* rows come after their parents: what stands is whole */
            break;
        }
        r->tenant = b.tenant;
        r->parent = b.parent == KV_NONE ? KV_NONE : row_of[b.parent];
        r->has_body = has_body;
        memcpy(r->tokens, b.tokens, sizeof r->tokens);
        row_of[w->ids[i]] = i;
        w->n_bodies += has_body;
    }
    free(row_of);
}

/* Bodies first, behind the place of head and index, because only then their sums are known. */
static enum err write_all(struct writing *w)
{
    struct head h = make_head(w->cache);
    size_t each = (size_t)w->cache->backend->kv_bytes;
    size_t index_bytes = w->n_rows * sizeof *w->rows;
    uint8_t *bytes = mem_zalloc(1, each);
    enum err e = ERR_OK;
    if (lseek(w->fd, (off_t)(sizeof h + index_bytes), SEEK_SET) < 0)
        e = ERR_IO;
    for (uint32_t i = 0; i < w->n_rows && e == ERR_OK; i++) {
        if (w->rows[i].has_body == 0)
            continue;
        e = backend_kv_read(w->cache->backend, w->ids[i], bytes);
        w->rows[i].sum = checksum(bytes, each);
        if (e == ERR_OK && !transfer(w->fd, bytes, each, true))
            e = errno == ENOSPC ? ERR_FULL : ERR_IO;
    }
    free(bytes);
    h.n_rows = w->n_rows;
    h.n_bodies = w->n_bodies;
    h.index_sum = checksum(w->rows, index_bytes);
    h.head_sum = checksum(&h, offsetof(struct head, head_sum));
    if (e == ERR_OK && (lseek(w->fd, 0, SEEK_SET) != 0 || !transfer(w->fd, &h, sizeof h, true) ||
                        !transfer(w->fd, w->rows, index_bytes, true)))
        e = errno == ENOSPC ? ERR_FULL : ERR_IO;
    return e;
}

enum err kv_file_write(const char *path, const struct kv_file_cache *c,
                       const struct kv_file_choice *choice, struct kv_file_result *ret_result)
{
    struct buf unfinished = {0};
    struct writing w = {.cache = c};
    *ret_result = (struct kv_file_result){0};
    buf_printf(&unfinished, "%s.tmp", path);
    (void)unlink(unfinished.ptr);
    w.fd = open(unfinished.ptr, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    enum err e = w.fd >= 0 ? ERR_OK : err_from_errno(errno);
    if (e == ERR_OK) {
        list_rows(&w, choice, room_for(path, choice->cap_bytes));
        e = write_all(&w);
        if (close(w.fd) != 0 && e == ERR_OK)
            e = ERR_IO;
        if (e == ERR_OK && rename(unfinished.ptr, path) != 0)
            e = err_from_errno(errno);
        if (e != ERR_OK)
            (void)unlink(unfinished.ptr);
    }
    if (e == ERR_OK) {
        ret_result->n_blocks = w.n_bodies;
        ret_result->n_bytes = w.n_bodies * c->backend->kv_bytes;
        ret_result->mark = kv_stats(c->kv).mark;
    } else {
        (void)snprintf(ret_result->why, sizeof ret_result->why, "cannot write it: %s", err_text(e));
    }
    free(w.ids);
    free(w.rows);
    buf_fini(&unfinished);
    return e;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* What differs between a file's head and ours, or NULL. */
static const char *difference(const struct head *a, const struct head *b)
{
    if (memcmp(a->model_hash, b->model_hash, sizeof a->model_hash) != 0)
        return "it is of another model";
    if (a->kv_type != b->kv_type || a->block_tokens != b->block_tokens ||
        a->block_bytes != b->block_bytes)
        return "it is of another layout";
    if (a->known_answer != b->known_answer)
        return "it is of kernels with other numbers";
    return NULL;
}

static enum err read_head(int fd, const struct kv_file_cache *c, struct head *h, const char **why)
{
    struct stat st;
    struct head ours = make_head(c);
    *why = "it is damaged";
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0) {
        *why = "others could have written it";
        return ERR_PERMISSION;
    }
    if (!transfer(fd, h, sizeof *h, false) || memcmp(h->magic, MAGIC, sizeof h->magic) != 0 ||
        h->head_sum != checksum(h, offsetof(struct head, head_sum)))
        return ERR_INVALID;
    const char *other = difference(h, &ours);
    if (other != NULL) {
        *why = other;
        return ERR_UNSUPPORTED;
    }
    uint64_t bytes = sizeof *h + h->n_rows * (uint64_t)sizeof(struct row) +
                     h->n_bodies * (uint64_t)h->block_bytes;
    return h->n_rows < KV_NONE && h->n_bodies <= h->n_rows && (uint64_t)st.st_size == bytes
               ? ERR_OK
               : ERR_INVALID;
}

/* One row: *ret_id is its block here, or KV_NONE when it is not to be had. */
static enum err take_row(int fd, const struct kv_file_cache *c, const struct row *r,
                         uint32_t parent, bool is_reachable, uint8_t *bytes, uint32_t *ret_id)
{
    struct kv_block b = {.parent = parent, .tenant = r->tenant, .tokens = r->tokens};
    size_t each = (size_t)c->backend->kv_bytes;
    *ret_id = is_reachable ? kv_find(c->kv, &b) : KV_NONE;
    if (r->has_body == 0)
        return ERR_OK;
    if (!is_reachable || *ret_id != KV_NONE)
        return lseek(fd, (off_t)each, SEEK_CUR) < 0 ? ERR_IO : ERR_OK;
    if (!transfer(fd, bytes, each, false) || checksum(bytes, each) != r->sum)
        return ERR_INVALID;
    uint32_t id = kv_take(c->kv);
    if (id == KV_NONE)
        return ERR_OK;
    enum err e = backend_kv_write(c->backend, id, bytes);
    if (e != ERR_OK) {
        kv_put_back(c->kv, id);
        return e;
    }
    kv_put_in(c->kv, id, &b);
    *ret_id = id;
    return ERR_OK;
}

static enum err take_rows(int fd, const struct kv_file_cache *c, const struct row *rows,
                          uint32_t n_rows, struct kv_file_result *result)
{
    uint32_t *ids = mem_zalloc((size_t)n_rows + 1, sizeof *ids);
    uint8_t *bytes = mem_zalloc(1, (size_t)c->backend->kv_bytes);
    uint64_t before = kv_stats(c->kv).mark;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n_rows && e == ERR_OK; i++) {
        uint32_t p = rows[i].parent;
        if (p != KV_NONE && p >= i)
            e = ERR_INVALID;
        else
            e = take_row(fd, c, &rows[i], p == KV_NONE ? KV_NONE : ids[p],
                         p == KV_NONE || ids[p] != KV_NONE, bytes, &ids[i]);
    }
    result->n_blocks = (uint32_t)(kv_stats(c->kv).mark - before);
    result->n_bytes = result->n_blocks * c->backend->kv_bytes;
    free(ids);
    free(bytes);
    return e;
}

enum err kv_file_read(const char *path, const struct kv_file_cache *c,
                      struct kv_file_result *ret_result)
{
    struct head h;
    const char *why = "";
    struct row *rows = NULL;
    *ret_result = (struct kv_file_result){0};
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = read_head(fd, c, &h, &why);
    if (e == ERR_OK) {
        size_t index_bytes = h.n_rows * sizeof *rows; /* the file is as long */
        why = "it is damaged";
        rows = calloc(1, index_bytes + 1);
        if (rows == NULL)
            e = ERR_NOMEM;
        else if (!transfer(fd, rows, index_bytes, false) ||
                 checksum(rows, index_bytes) != h.index_sum)
            e = ERR_INVALID;
        else
            e = take_rows(fd, c, rows, h.n_rows, ret_result);
    }
    if (e != ERR_OK)
        (void)snprintf(ret_result->why, sizeof ret_result->why, "%s", why);
    free(rows);
    (void)close(fd);
    (void)unlink(path);
    return e;
}
