/* SPDX-License-Identifier: MIT */
#include "services/gateway/reply_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/mem.h"

struct reply_log {
    char *path;
    uint64_t max_bytes;
    uint32_t n_kept;
    int fd; /* -1: could not be opened the last time */
    bool is_failing; /* the log has said so */
};

static bool open_file(struct reply_log *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return l->fd >= 0;
}

/* Whether the path still names the file that we have; *ret_bytes is then its length. */
static bool is_ours(const struct reply_log *l, uint64_t *ret_bytes)
{
    struct stat ours;
    struct stat named;
    if (l->fd < 0 || fstat(l->fd, &ours) != 0 || lstat(l->path, &named) != 0 ||
        ours.st_ino != named.st_ino || ours.st_dev != named.st_dev)
        return false;
    *ret_bytes = (uint64_t)ours.st_size;
    return true;
}

static char *numbered(const struct reply_log *l, uint32_t n)
{
    struct buf name = {0};
    buf_add_cstr(&name, l->path);
    if (n > 0)
        buf_printf(&name, ".%u", n);
    return buf_detach(&name);
}

static bool rotate(struct reply_log *l)
{
    bool ok = true;
    if (l->n_kept == 0)
        return unlink(l->path) == 0;
    for (uint32_t n = l->n_kept; ok && n > 0; n--) {
        char *from = numbered(l, n - 1);
        char *to = numbered(l, n);
        ok = rename(from, to) == 0 || errno == ENOENT;
        free(from);
        free(to);
    }
    return ok;
}

static bool append(struct reply_log *l, struct str line)
{
    uint64_t bytes = 0;
    if (!is_ours(l, &bytes) && (!open_file(l) || !is_ours(l, &bytes)))
        return false;
    if (bytes > 0 && bytes + line.len > l->max_bytes && (!rotate(l) || !open_file(l)))
        return false;
    ssize_t n =
        write(l->fd, line.ptr, line.len); /* one call: lines of several processes stay whole */
    if (n >= 0 && (size_t)n < line.len)
        errno = ENOSPC;
    return n == (ssize_t)line.len;
}

void reply_log_write(struct reply_log *l, struct str line)
{
    bool ok = append(l, line);
    if (!ok && !l->is_failing)
        log_error("reply-not-logged", S("path", l->path), S("why", strerrordesc_np(errno)));
    l->is_failing = !ok;
}

bool reply_log_open(const char *path, uint64_t max_bytes, uint32_t n_kept,
                    struct reply_log **ret_log)
{
    struct reply_log *l = mem_zalloc(1, sizeof *l);
    struct stat st;
    l->path = mem_strndup(path, strlen(path));
    l->max_bytes = max_bytes;
    l->n_kept = n_kept;
    l->fd = -1;
    if (!open_file(l)) {
        (void)fprintf(stderr, "halo-gateway: --reply-log %s cannot be opened: %s\n", path,
                      strerrordesc_np(errno));
    } else if (fstat(l->fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077) != 0) {
        (void)fprintf(
            stderr,
            "halo-gateway: --reply-log %s is no file of mode 0600: others could read what "
            "users wrote; chmod 0600 it, or choose another\n",
            path);
    } else {
        *ret_log = l;
        return true;
    }
    reply_log_close(l);
    return false;
}

void reply_log_close(struct reply_log *l)
{
    if (l == NULL)
        return;
    if (l->fd >= 0)
        (void)close(l->fd);
    free(l->path);
    free(l);
}
