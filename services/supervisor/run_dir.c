/* SPDX-License-Identifier: MIT */
#include "services/supervisor/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"

static char *join(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_printf(&b, "%s/%s", dir, name);
    return buf_detach(&b);
}

static void say_owner(const struct run_dir *d, char *why, size_t cap_why)
{
    char pid[24] = "?";
    ssize_t n = pread(d->lock_fd, pid, sizeof pid - 1, 0);
    if (n > 0)
        pid[n] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    (void)snprintf(why, cap_why,
                   "another supervisor (pid %s) owns the run directory %s; stop it with "
                   "`halo down --run %s` or name another directory with --run",
                   pid, d->path, d->path);
}

static enum err take_lock(struct run_dir *d, char *why, size_t cap_why)
{
    char pid[24];
    char *path = join(d->path, "supervisor.lock");
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int saved = errno;
    if (d->lock_fd < 0)
        (void)snprintf(why, cap_why, "cannot open %s: %s", path, strerrordesc_np(saved));
    free(path);
    if (d->lock_fd < 0)
        return err_from_errno(saved);
    /* Others look at it with F_OFD_GETLK, which does not disturb. */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(d->lock_fd, F_OFD_SETLK, &whole) != 0) {
        say_owner(d, why, cap_why);
        return ERR_IN_USE;
    }
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, pid, (size_t)n, 0) != n) {
        (void)snprintf(why, cap_why, "cannot write to the run directory %s: %s", d->path,
                       strerrordesc_np(errno));
        return ERR_IO;
    }
    return ERR_OK;
}

/* What a predecessor left: its facts, and its router's exchange of the lanes, whose engines are others
 * now. */
static void forget(const struct run_dir *d)
{
    char *lanes = join(d->path, "lanes.json");
    (void)unlink(d->stack_path);
    (void)unlink(lanes);
    free(lanes);
}

enum err run_dir_open(const char *path, char *why, size_t cap_why, struct run_dir *ret_dir)
{
    struct run_dir d = {
        .path = mem_strndup(path, strlen(path)),
        .log_path = join(path, "log"),
        .stack_path = join(path, "stack.json"),
        .lock_fd = -1,
    };
    enum err e = take_lock(&d, why, cap_why);
    if (e == ERR_OK && mkdir(d.log_path, 0700) != 0 && errno != EEXIST) {
        (void)snprintf(why, cap_why, "cannot make %s: %s", d.log_path, strerrordesc_np(errno));
        e = ERR_IO;
    }
    if (e == ERR_OK)
        forget(&d);
    else if (d.lock_fd >= 0)
        (void)close(d.lock_fd);
    if (e != ERR_OK) {
        free(d.path);
        free(d.log_path);
        free(d.stack_path);
        return e;
    }
    *ret_dir = d;
    return ERR_OK;
}

/* KV blocks that engines kept for their successors: there are none. */
static void remove_caches(const struct run_dir *d)
{
    struct buf pattern = {0};
    glob_t found = {0};
    buf_printf(&pattern, "%s/*.kv", d->path);
    if (glob(pattern.ptr, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            (void)unlink(found.gl_pathv[i]);
    }
    globfree(&found);
    buf_fini(&pattern);
}

void run_dir_close(struct run_dir *d)
{
    if (d->path == NULL)
        return;
    remove_caches(d);
    (void)unlink(d->stack_path);
    (void)close(d->lock_fd);
    free(d->path);
    free(d->log_path);
    free(d->stack_path);
    *d = (struct run_dir){.lock_fd = -1};
}

enum err run_dir_publish(const struct run_dir *d, const struct run_dir_facts *facts)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s}", "url",
                          facts->url, "http", facts->http, "model", facts->model, "engines",
                          (json_int_t)facts->n_engines, "engine_args", facts->engine_args,
                          "gateway_args", facts->gateway_args, "router_args", facts->router_args,
                          "candidates", (json_int_t)facts->n_candidates, "candidate_args",
                          facts->candidate_args, "pid", (json_int_t)getpid(), "started",
                          (json_int_t)(clock_unix_ms() / 1000), "build", opt_version());
    if (o == NULL)
        return ERR_UTF8;
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.new", d->stack_path);
    enum err e = ERR_OK;
    if (json_dump_file(o, temporary.ptr, JSON_INDENT(2)) != 0 ||
        rename(temporary.ptr, d->stack_path) != 0)
        e = ERR_IO;
    if (e != ERR_OK)
        (void)unlink(temporary.ptr);
    buf_fini(&temporary);
    json_decref(o);
    return e;
}
