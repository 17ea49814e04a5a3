/* SPDX-License-Identifier: MIT */
#include "services/halo/stack_info.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"

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
    pid_t pid = lock_owner(run);
    json_t *o = pid > 0 ? json_load_file(path.ptr, JSON_REJECT_DUPLICATES, NULL) : NULL;
    *ret_info = (struct stack_info){
        .pid = pid,
        .has_facts = json_is_object(o),
        .url = copy(o, "url"),
        .http = copy(o, "http"),
        .model = copy(o, "model"),
        .engine_args = copy(o, "engine_args"),
        .build = copy(o, "build"),
        .n_engines = (uint32_t)json_integer_value(json_object_get(o, "engines")),
        .started = (uint64_t)json_integer_value(json_object_get(o, "started")),
    };
    json_decref(o);
    buf_fini(&path);
}

void stack_info_fini(struct stack_info *s)
{
    free(s->url);
    free(s->http);
    free(s->model);
    free(s->engine_args);
    free(s->build);
    *s = (struct stack_info){0};
}

void stack_info_say_none(const char *run)
{
    (void)fprintf(stderr,
                  "halo: no stack runs in %s; start one with `halo up`, or name its run directory "
                  "with --run\n",
                  run);
}
