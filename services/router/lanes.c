/* SPDX-License-Identifier: MIT */
#include "services/router/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"

/* The whole file: one line. */
#define FORMAT "/v1 group %" PRIu32 ", /v2 group %" PRIu32 ", since %" PRIu64 " by %s\n"
#define SCAN "/v1 group %" SCNu32 ", /v2 group %" SCNu32 ", since %" SCNu64 " by %15s"

static const char BY_CUTOVER[] = "cutover";
static const char BY_ROLLBACK[] = "rollback";

enum { FILE_CAP = 128 };

static bool parse(struct lanes *s, const char *text)
{
    uint32_t v1;
    uint32_t v2;
    char by[16];
    if (sscanf(text, SCAN, &v1, &v2, &s->changed_ms, by) != 4 || v1 >= LANES || v2 != 1 - v1)
        return false;
    s->was_rollback = strcmp(by, BY_ROLLBACK) == 0;
    if (!s->was_rollback && strcmp(by, BY_CUTOVER) != 0)
        return false;
    s->group_of[LANE_STABLE] = v1;
    s->group_of[LANE_CANDIDATE] = v2;
    return true;
}

enum err lanes_init(struct lanes *s, const char *state, char *why, size_t cap_why)
{
    struct buf path = {0};
    char text[FILE_CAP];
    buf_printf(&path, "%s/lanes", state);
    *s = (struct lanes){.group_of = {LANE_STABLE, LANE_CANDIDATE}, .path = buf_detach(&path)};
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (n < 0) {
        (void)snprintf(why, cap_why, "cannot read %s: %s", s->path, strerrordesc_np(error));
        return ERR_IO;
    }
    text[n] = '\0';
    if (parse(s, text))
        return ERR_OK;
    (void)snprintf(why, cap_why,
                   "%s does not say which group answers /v1; remove it, and /v1 is answered by the "
                   "engines of --lane 0 again",
                   s->path);
    return ERR_IO;
}

void lanes_fini(struct lanes *s)
{
    free(s->path);
    *s = (struct lanes){0};
}

static bool write_file(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

enum err lanes_exchange(struct lanes *s, bool is_rollback)
{
    char text[FILE_CAP];
    struct buf temporary = {0};
    uint64_t now = clock_unix_ms();
    int n = snprintf(text, sizeof text, FORMAT, s->group_of[LANE_CANDIDATE],
                     s->group_of[LANE_STABLE], now, is_rollback ? BY_ROLLBACK : BY_CUTOVER);
    buf_printf(&temporary, "%s.new", s->path);
    bool ok = write_file(temporary.ptr, text, (size_t)n) && rename(temporary.ptr, s->path) == 0;
    if (!ok)
        (void)unlink(temporary.ptr);
    buf_fini(&temporary);
    if (!ok)
        return ERR_IO;
    uint32_t stable = s->group_of[LANE_STABLE];
    s->group_of[LANE_STABLE] = s->group_of[LANE_CANDIDATE];
    s->group_of[LANE_CANDIDATE] = stable;
    s->changed_ms = now;
    s->was_rollback = is_rollback;
    return ERR_OK;
}
