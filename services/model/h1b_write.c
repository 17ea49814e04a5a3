/* SPDX-License-Identifier: MIT */
#include "services/model/h1b_write.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"

enum {
    HEADER_SIZE = 64,
    ENTRY_SIZE = 192,
    NAME_SIZE = 96,
    ALIGNMENT = 64,
    AT_DTYPE = 0x60,
    AT_N_DIMS = 0x64,
    AT_DIMS = 0x68,
    AT_OFFSET = 0x88,
    AT_SIZE = 0x90,
    AT_HASH = 0x98,
};

struct h1b_write {
    const char *path;
    char *temporary;
    int fd; /* -1: none */
    bool is_open; /* a section has begun and not ended */
    enum err failed;
    uint32_t n_sections;
    uint32_t n_begun;
    uint8_t *table;
    uint64_t at; /* end of the file so far */
    uint64_t begin; /* of the open section */
    EVP_MD_CTX *hash;
};

static void put(uint8_t *p, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static enum err fail_io(struct h1b_write *w, const char *what, struct why *why)
{
    int errnum = errno;
    w->failed = why_errno(why, w->temporary != NULL ? w->temporary : w->path, what, errnum);
    if (errnum == ENOSPC)
        w->failed = why_set(why, ERR_IO,
                            "%s: no space left on the device after %llu bytes; free some or write "
                            "elsewhere",
                            w->path, (unsigned long long)w->at);
    return w->failed;
}

static enum err write_all(struct h1b_write *w, const void *data, size_t n, struct why *why)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t done = write(w->fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_io(w, "cannot write", why);
        p += done;
        n -= (size_t)done;
        w->at += (uint64_t)done;
    }
    return ERR_OK;
}

enum err h1b_write_new(const char *path, uint32_t n_sections, struct why *why,
                       struct h1b_write **ret_writer)
{
    struct h1b_write *w = mem_zalloc(1, sizeof *w);
    *w = (struct h1b_write){.path = path, .fd = -1, .n_sections = n_sections};
    w->table = mem_zalloc(n_sections, ENTRY_SIZE);
    w->hash = EVP_MD_CTX_new();
    ASSERT(w->hash != NULL);
    struct buf name = {0};
    buf_printf(&name, "%s.partXXXXXX", path);
    w->temporary = buf_detach(&name);
    w->fd = mkostemp(w->temporary, O_CLOEXEC);
    if (w->fd < 0) {
        enum err e = why_errno(why, path, "cannot create a file there", errno);
        free(w->temporary);
        w->temporary = NULL;
        h1b_write_free(w);
        return e;
    }
    uint64_t start = HEADER_SIZE + (uint64_t)n_sections * ENTRY_SIZE;
    w->at = start;
    if (lseek(w->fd, (off_t)start, SEEK_SET) < 0) {
        enum err e = fail_io(w, "cannot seek", why);
        h1b_write_free(w);
        return e;
    }
    *ret_writer = w;
    return ERR_OK;
}

static void end_section(struct h1b_write *w)
{
    if (!w->is_open)
        return;
    uint8_t *entry = w->table + (size_t)(w->n_begun - 1) * ENTRY_SIZE;
    put(entry + AT_SIZE, w->at - w->begin, 8);
    ASSERT(EVP_DigestFinal_ex(w->hash, entry + AT_HASH, NULL) == 1);
    w->is_open = false;
}

enum err h1b_write_begin(struct h1b_write *w, const char *name, enum h1b_dtype dtype,
                         uint32_t n_dims, const uint64_t *dims, struct why *why)
{
    if (w->failed)
        return w->failed;
    end_section(w);
    ASSERT(w->n_begun < w->n_sections && n_dims >= 1 && n_dims <= 4);
    ASSERT(strlen(name) < NAME_SIZE);
    static const uint8_t ZEROS[ALIGNMENT];
    enum err e = write_all(w, ZEROS, (size_t)(-w->at % ALIGNMENT), why);
    if (e)
        return e;
    uint8_t *entry = w->table + (size_t)w->n_begun++ * ENTRY_SIZE;
    (void)snprintf((char *)entry, NAME_SIZE, "%s", name);
    put(entry + AT_DTYPE, (uint64_t)dtype, 4);
    put(entry + AT_N_DIMS, n_dims, 4);
    for (uint32_t i = 0; i < 4; i++)
        put(entry + AT_DIMS + 8 * (size_t)i, i < n_dims ? dims[i] : 1, 8);
    put(entry + AT_OFFSET, w->at, 8);
    w->begin = w->at;
    w->is_open = true;
    ASSERT(EVP_DigestInit_ex(w->hash, EVP_sha256(), NULL) == 1);
    return ERR_OK;
}

enum err h1b_write_bytes(struct h1b_write *w, const void *data, size_t n, struct why *why)
{
    if (w->failed)
        return w->failed;
    ASSERT(w->is_open);
    ASSERT(EVP_DigestUpdate(w->hash, data, n) == 1);
    return write_all(w, data, n, why);
}

enum err h1b_write_whole(struct h1b_write *w, const char *name, enum h1b_dtype dtype,
                         uint32_t n_dims, const uint64_t *dims, const void *data, size_t n,
                         struct why *why)
{
    enum err e = h1b_write_begin(w, name, dtype, n_dims, dims, why);
    return e ? e : h1b_write_bytes(w, data, n, why);
}

static enum err write_header(struct h1b_write *w, struct why *why)
{
    size_t table_size = (size_t)w->n_sections * ENTRY_SIZE;
    uint8_t header[HEADER_SIZE] = "H1B";
    put(header + 0x04, 5, 4);
    put(header + 0x08, w->at, 8);
    put(header + 0x10, w->n_sections, 4);
    put(header + 0x18, HEADER_SIZE, 8);
    ASSERT(EVP_Digest(w->table, table_size, header + 0x20, NULL, EVP_sha256(), NULL) == 1);
    uint64_t end = w->at;
    if (lseek(w->fd, 0, SEEK_SET) != 0)
        return fail_io(w, "cannot seek", why);
    enum err e = write_all(w, header, sizeof header, why);
    if (!e)
        e = write_all(w, w->table, table_size, why);
    w->at = end;
    return e;
}

static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? mem_strndup(".", 1)
                                 : mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* not every file system can; the file itself is synced */
        (void)close(fd);
    }
    free(folder);
}

/* What mkostemp makes is closed to others; a model file is as open as umask lets new files be. */
static int usual_mode(void)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    return (int)(0666 & ~mask);
}

enum err h1b_write_finish(struct h1b_write *w, char ret_hash[65], uint64_t *ret_size,
                          struct why *why)
{
    if (w->failed)
        return w->failed;
    end_section(w);
    ASSERT(w->n_begun == w->n_sections);
    enum err e = write_header(w, why);
    if (e)
        return e;
    if (fchmod(w->fd, (mode_t)usual_mode()) != 0 || fsync(w->fd) != 0)
        return fail_io(w, "cannot sync", why);
    struct h1b *check = NULL;
    e = h1b_open(w->temporary, H1B_VERIFY_TABLE, why->text, sizeof why->text, &check);
    if (e) {
        w->failed = e;
        return e;
    }
    memcpy(ret_hash, h1b_hash(check), 65);
    *ret_size = h1b_file_size(check);
    h1b_close(check);
    if (rename(w->temporary, w->path) != 0)
        return fail_io(w, "cannot rename", why);
    free(w->temporary);
    w->temporary = NULL;
    sync_folder_of(w->path);
    return ERR_OK;
}

void h1b_write_free(struct h1b_write *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0)
        (void)close(w->fd);
    if (w->temporary != NULL)
        (void)unlink(w->temporary);
    free(w->temporary);
    free(w->table);
    EVP_MD_CTX_free(w->hash);
    free(w);
}
