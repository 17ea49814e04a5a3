/* SPDX-License-Identifier: MIT */
#include "services/halo/pull_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"

enum { CHUNK = 1 << 18 };

static char *join(const char *dir, const char *name, const char *end)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s%s", dir, name, end);
    return buf_detach(&b);
}

/* ---- hashes ------------------------------------------------------------------------------------- */

/* A file without a hash gets SHA-256 all the same: the server may tell it later. */
static void start_hash(EVP_MD_CTX *c, const struct pull_file *f)
{
    char head[40];
    bool is_git = f->kind == PULL_HASH_GIT;
    ASSERT(EVP_DigestInit_ex(c, is_git ? EVP_sha1() : EVP_sha256(), NULL) == 1);
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)f->size);
    ASSERT(!is_git || EVP_DigestUpdate(c, head, (size_t)n + 1) == 1);
}

static bool is_hash_good(EVP_MD_CTX *c, const struct pull_file *f)
{
    uint8_t got[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned n = 0;
    ASSERT(EVP_DigestFinal_ex(c, got, &n) == 1);
    for (unsigned i = 0; i < n; i++)
        (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", got[i]);
    return f->kind == PULL_HASH_NONE || strcmp(hex, f->hash) == 0;
}

/* Runs the hash over the first `size` bytes of a file. */
static bool hash_fd(EVP_MD_CTX *c, int fd, uint64_t size)
{
    char *chunk = malloc(CHUNK);
    uint64_t at = 0;
    ASSERT(chunk != NULL);
    while (at < size) {
        ssize_t n = pread(fd, chunk, size - at < CHUNK ? size - at : CHUNK, (off_t)at);
        if (n <= 0)
            break;
        ASSERT(EVP_DigestUpdate(c, chunk, (size_t)n) == 1);
        at += (uint64_t)n;
    }
    free(chunk);
    return at == size;
}

bool part_is_done(const char *dir, const struct pull_file *f)
{
    char *path = join(dir, f->path, "");
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ASSERT(c != NULL);
    start_hash(c, f);
    bool is_done = f->kind != PULL_HASH_NONE && fd >= 0 && fstat(fd, &st) == 0 &&
                   S_ISREG(st.st_mode) && (!f->has_size || (uint64_t)st.st_size == f->size) &&
                   hash_fd(c, fd, (uint64_t)st.st_size) && is_hash_good(c, f);
    if (fd >= 0)
        (void)close(fd);
    EVP_MD_CTX_free(c);
    free(path);
    return is_done;
}

/* ---- the part ----------------------------------------------------------------------------------- */

static bool fail(struct part *p)
{
    p->error = errno;
    return false;
}

static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool is_bad = mkdir(path, 0777) != 0 && errno != EEXIST;
        *slash = '/';
        if (is_bad)
            return false;
    }
    return true;
}

static void read_etag(struct part *p)
{
    FILE *f = fopen(p->etag_path, "re");
    if (f == NULL)
        return;
    if (fgets(p->etag, sizeof p->etag, f) == NULL)
        p->etag[0] = '\0';
    p->etag[strcspn(p->etag, "\r\n")] = '\0';
    (void)fclose(f);
}

bool part_open(struct part *p, const char *dir, const struct pull_file *f)
{
    struct stat st;
    *p = (struct part){.file = f, .fd = -1, .hash = EVP_MD_CTX_new()};
    ASSERT(p->hash != NULL);
    p->path = join(dir, f->path, "");
    p->part_path = join(dir, f->path, ".part");
    p->etag_path = join(dir, f->path, ".part.etag");
    start_hash(p->hash, f);
    if (!make_folders(p->part_path))
        return fail(p);
    p->fd = open(p->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (p->fd < 0 || flock(p->fd, LOCK_EX | LOCK_NB) != 0 || fstat(p->fd, &st) != 0)
        return fail(p);
    read_etag(p);
    uint64_t size = (uint64_t)st.st_size;
    bool is_of_use = p->etag[0] != '\0' && (!f->has_size || size <= f->size);
    if (!is_of_use || !hash_fd(p->hash, p->fd, size))
        return part_restart(p);
    p->at = size;
    return true;
}

void part_close(struct part *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
    EVP_MD_CTX_free(p->hash);
    free(p->path);
    free(p->part_path);
    free(p->etag_path);
    *p = (struct part){.fd = -1};
}

bool part_restart(struct part *p)
{
    start_hash(p->hash, p->file);
    p->at = 0;
    p->etag[0] = '\0';
    if (unlink(p->etag_path) != 0 && errno != ENOENT)
        return fail(p);
    return ftruncate(p->fd, 0) == 0 || fail(p);
}

bool part_set_etag(struct part *p, const char *etag)
{
    if (etag[0] != '"' || strlen(etag) >= sizeof p->etag || strcmp(etag, p->etag) == 0)
        return true;
    FILE *f = fopen(p->etag_path, "we");
    if (f == NULL)
        return fail(p);
    bool is_good = fprintf(f, "%s\n", etag) > 0;
    is_good = fclose(f) == 0 && is_good;
    if (!is_good)
        return fail(p);
    (void)snprintf(p->etag, sizeof p->etag, "%s", etag);
    return true;
}

bool part_append(struct part *p, const void *bytes, size_t n)
{
    const char *from = bytes;
    ASSERT(EVP_DigestUpdate(p->hash, bytes, n) == 1);
    while (n > 0) {
        ssize_t done = pwrite(p->fd, from, n, (off_t)p->at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(p);
        from += done;
        n -= (size_t)done;
        p->at += (uint64_t)done;
    }
    return true;
}

enum part_end part_finish(struct part *p)
{
    bool is_good = (!p->file->has_size || p->at == p->file->size) && is_hash_good(p->hash, p->file);
    if (!is_good)
        return part_restart(p) ? PART_OTHER_BYTES : PART_FAILED;
    if (fsync(p->fd) != 0 || rename(p->part_path, p->path) != 0) {
        p->error = errno;
        return PART_FAILED;
    }
    (void)unlink(p->etag_path);
    return PART_GOOD;
}
