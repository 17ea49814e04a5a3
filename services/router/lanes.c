/* SPDX-License-Identifier: MIT */
#include "services/router/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"

static const char BY_CUTOVER[] = "cutover";
static const char BY_ROLLBACK[] = "rollback";

static bool parse(struct lanes *s, const json_t *o)
{
    const json_t *group = json_object_get(o, "v1_group");
    const json_t *changed = json_object_get(o, "changed_ms");
    const char *by = json_string_value(json_object_get(o, "by"));
    json_int_t v1 = json_integer_value(group);
    if (!json_is_integer(group) || v1 < 0 || v1 >= LANES || json_integer_value(changed) <= 0 ||
        by == NULL || (strcmp(by, BY_CUTOVER) != 0 && strcmp(by, BY_ROLLBACK) != 0))
        return false;
    s->group_of[LANE_STABLE] = (uint32_t)v1;
    s->group_of[LANE_CANDIDATE] = 1 - (uint32_t)v1;
    s->changed_ms = (uint64_t)json_integer_value(changed);
    s->was_rollback = strcmp(by, BY_ROLLBACK) == 0;
    return true;
}

enum err lanes_init(struct lanes *s, const char *state, char *why, size_t cap_why)
{
    struct buf path = {0};
    buf_printf(&path, "%s/lanes.json", state);
    *s = (struct lanes){.group_of = {LANE_STABLE, LANE_CANDIDATE}, .path = buf_detach(&path)};
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0) {
        (void)snprintf(why, cap_why, "cannot read %s: %s", s->path, strerrordesc_np(errno));
        return ERR_IO;
    }
    json_t *o = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
    (void)close(fd);
    bool ok = parse(s, o);
    json_decref(o);
    if (ok)
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

static bool write_file(const char *path, const json_t *o)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = json_dumpfd(o, fd, JSON_COMPACT) == 0 && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

enum err lanes_exchange(struct lanes *s, bool is_rollback)
{
    struct buf temporary = {0};
    uint32_t stable = s->group_of[LANE_STABLE];
    uint32_t candidate = s->group_of[LANE_CANDIDATE];
    uint64_t now = clock_unix_ms();
    json_t *o = json_pack("{s:i, s:I, s:s}", "v1_group", (int)candidate, "changed_ms",
                          (json_int_t)now, "by", is_rollback ? BY_ROLLBACK : BY_CUTOVER);
    buf_printf(&temporary, "%s.new", s->path);
    bool ok = write_file(temporary.ptr, o) && rename(temporary.ptr, s->path) == 0;
    if (!ok)
        (void)unlink(temporary.ptr);
    buf_fini(&temporary);
    json_decref(o);
    if (!ok)
        return ERR_IO;
    s->group_of[LANE_STABLE] = candidate;
    s->group_of[LANE_CANDIDATE] = stable;
    s->changed_ms = now;
    s->was_rollback = is_rollback;
    return ERR_OK;
}
