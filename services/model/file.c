/* SPDX-License-Identifier: MIT */
#include "services/model/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_MAX_BYTES = 256 << 20 };

enum err file_read_at(int fd, const char *path, uint64_t offset, void *dst, size_t n,
                      struct why *why)
{
    char *p = dst;
    while (n > 0) {
        ssize_t got = pread(fd, p, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return why_errno(why, path, "cannot read", errno);
        if (got == 0)
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: at offset %llu: expected %zu more bytes, the file ends there", path,
                           (unsigned long long)offset, n);
        p += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return ERR_OK;
}

char *file_join(const char *folder, const char *name)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s", folder, name);
    return buf_detach(&path);
}

static enum err load(int fd, const char *path, size_t cap_bytes, struct why *why,
                     struct buf *ret_text)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return why_set(why, ERR_IO, "%s: expected a regular file", path);
    if ((uint64_t)st.st_size > cap_bytes)
        return why_set(why, ERR_TOO_LARGE, "%s: expected at most %zu bytes, found %lld", path,
                       cap_bytes, (long long)st.st_size);
    size_t n = (size_t)st.st_size;
    struct buf text = {0};
    enum err e = file_read_at(fd, path, 0, buf_reserve(&text, n), n, why);
    if (e) {
        buf_fini(&text);
        return e;
    }
    text.len = n;
    text.ptr[n] = '\0';
    *ret_text = text;
    return ERR_OK;
}

enum err file_load(const char *folder, const char *name, size_t cap_bytes, struct why *why,
                   struct buf *ret_text)
{
    char *path = file_join(folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err e = fd < 0 ? why_errno(why, path, "cannot open", errno)
                        : load(fd, path, cap_bytes, why, ret_text);
    if (fd >= 0)
        (void)close(fd);
    free(path);
    return e;
}

enum err file_load_json(const char *folder, const char *name, struct why *why, json_t **ret_json)
{
    struct buf text = {0};
    enum err e = file_load(folder, name, JSON_MAX_BYTES, why, &text);
    if (e)
        return e;
    json_error_t error;
    json_t *json = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    buf_fini(&text);
    if (json == NULL)
        return why_set(why, ERR_MODEL_FORMAT, "%s/%s: line %d, at offset %d: %s", folder, name,
                       error.line, error.position, error.text);
    *ret_json = json;
    return ERR_OK;
}
