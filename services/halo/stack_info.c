/* SPDX-License-Identifier: MIT */
#include "services/halo/stack_info.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/units.h"

bool stack_info_trusts(const char *run, char *why, size_t cap_why)
{
    struct stat st;
    if (stat(run, &st) != 0)
        (void)snprintf(why, cap_why, "the run directory %s: %s", run, strerrordesc_np(errno));
    else if (!S_ISDIR(st.st_mode))
        (void)snprintf(why, cap_why, "%s is not a directory; name one with --run", run);
    else if (st.st_uid != geteuid() && st.st_uid != 0)
        (void)snprintf(why, cap_why,
                       "the run directory %s belongs to another user (%u); name another with --run",
                       run, (unsigned)st.st_uid);
    else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        (void)snprintf(why, cap_why,
                       "the run directory %s can be written by others (mode %04o); chmod 0700 it, "
                       "or name another with --run",
                       run, (unsigned)(st.st_mode & 07777));
    else
        return true;
    return false;
}

/* The pid in the lock file, if the lock is held. */
static pid_t lock_owner(const char *run)
{
    char text[24] = "";
    struct buf path = {0};
    buf_printf(&path, "%s/supervisor.lock", run);
    int fd = open(path.ptr, O_RDONLY | O_CLOEXEC);
    buf_fini(&path);
    if (fd < 0)
        return 0;
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool is_held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    ssize_t n = is_held ? pread(fd, text, sizeof text - 1, 0) : 0;
    (void)close(fd);
    return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

static char *copy(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return mem_strndup(s != NULL ? s : "", s != NULL ? strlen(s) : 0);
}

void stack_info_read(const char *run, struct stack_info *ret_info)
{
    struct buf path = {0};
    buf_printf(&path, "%s/stack.json", run);
    char why[STACK_INFO_WHY_CAP];
    pid_t pid = stack_info_trusts(run, why, sizeof why) ? lock_owner(run) : 0;
    json_t *o = pid > 0 ? json_load_file(path.ptr, JSON_REJECT_DUPLICATES, NULL) : NULL;
    *ret_info = (struct stack_info){
        .pid = pid,
        .has_facts = json_is_object(o),
        .url = copy(o, "url"),
        .http = copy(o, "http"),
        .model = copy(o, "model"),
        .engine_args = copy(o, "engine_args"),
        .gateway_args = copy(o, "gateway_args"),
        .router_args = copy(o, "router_args"),
        .candidate_args = copy(o, "candidate_args"),
        .n_candidates = (uint32_t)json_integer_value(json_object_get(o, "candidates")),
        .build = copy(o, "build"),
        .n_engines = (uint32_t)json_integer_value(json_object_get(o, "engines")),
        .started = (uint64_t)json_integer_value(json_object_get(o, "started")),
    };
    char *url = pid == 0 ? units_url(run) : NULL;
    if (url != NULL) {
        free(ret_info->url);
        ret_info->url = url;
        ret_info->pid = 1;
        ret_info->is_systemd = ret_info->has_facts = true;
    }
    json_decref(o);
    buf_fini(&path);
}

const char *stack_info_default_run(void)
{
    struct stack_info own;
    const char *run = opt_default_run_dir();
    const char *asked = getenv("HALO_RUN");
    stack_info_read(run, &own);
    bool is_ours = own.pid > 0 || (asked != NULL && *asked != '\0');
    stack_info_fini(&own);
    char *url = is_ours ? NULL : units_url(UNITS_RUN);
    free(url);
    return url != NULL ? UNITS_RUN : run;
}

void stack_info_fini(struct stack_info *s)
{
    free(s->url);
    free(s->http);
    free(s->model);
    free(s->engine_args);
    free(s->gateway_args);
    free(s->router_args);
    free(s->candidate_args);
    free(s->build);
    *s = (struct stack_info){0};
}

void stack_info_say_none(const char *run)
{
    char why[STACK_INFO_WHY_CAP];
    if (access(run, F_OK) == 0 && !stack_info_trusts(run, why, sizeof why))
        (void)fprintf(stderr, "halo: %s\n", why);
    else
        (void)fprintf(
            stderr,
            "halo: no stack runs in %s; start one with `halo up`, or name its run directory "
            "with --run\n",
            run);
}
