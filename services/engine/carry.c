/* SPDX-License-Identifier: MIT */
#include "services/engine/carry.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

static void log_outcome(const char *what, const char *file, enum err e,
                        const struct kv_file_result *r, uint64_t us)
{
    if (e == ERR_OK)
        log_info(what, S("file", file), U("blocks", r->n_blocks), U("bytes", r->n_bytes),
                 U("us", us));
    else
        log_warn("cache-not-carried", S("file", file), S("why", r->why), S("err", err_name(e)),
                 U("blocks", r->n_blocks));
}

/* RUN/engine.<name>.kv; a name that is no file's carries nothing. */
static bool own_path(const struct carry *c, struct buf *path)
{
    if (c->cap_bytes == 0 || strchr(c->name, '/') != NULL)
        return false;
    buf_printf(path, "%s/engine.%s.kv", c->run, c->name);
    return true;
}

void carry_in(const struct carry *c)
{
    struct buf path = {0};
    struct kv_file_result r;
    uint64_t began_ns = clock_now_ns();
    if (own_path(c, &path)) {
        enum err e = kv_file_read(path.ptr, &c->cache, &r);
        if (e != ERR_NOT_FOUND)
            log_outcome("cache-taken", path.ptr, e, &r, (clock_now_ns() - began_ns) / 1000);
    }
    buf_fini(&path);
}

void carry_out(const struct carry *c)
{
    struct buf path = {0};
    struct kv_file_result r;
    uint64_t began_ns = clock_now_ns();
    const struct kv_file_choice all = {.cap_bytes = c->cap_bytes};
    if (kv_stats(c->cache.kv).n_published > 0 && own_path(c, &path)) {
        enum err e = kv_file_write(path.ptr, &c->cache, &all, &r);
        log_outcome("cache-kept", path.ptr, e, &r, (clock_now_ns() - began_ns) / 1000);
    }
    buf_fini(&path);
}

/* ---- jobs -------------------------------------------------------------------------------------- */

static enum err job_new(struct str file, bool is_import, struct carry_job **ret_job)
{
    if (file.len == 0 || file.len > CARRY_FILE_MAX || file.ptr[0] == '.' ||
        memchr(file.ptr, '/', file.len) != NULL || memchr(file.ptr, '\0', file.len) != NULL)
        return ERR_INVALID;
    struct carry_job *j = mem_zalloc(1, sizeof *j);
    j->is_import = is_import;
    memcpy(j->file, file.ptr, file.len);
    *ret_job = j;
    return ERR_OK;
}

enum err carry_export_new(const struct frame_kv_export *f, struct carry_job **ret_job)
{
    struct carry_job *j;
    enum err e = job_new(f->file, false, &j);
    if (e != ERR_OK)
        return e;
    j->after = f->after;
    j->tenant = f->tenant;
    if (f->n_tokens > 0) {
        j->n_tokens = (uint32_t)f->n_tokens;
        j->tokens = mem_zalloc(f->n_tokens, sizeof *j->tokens);
        memcpy(j->tokens, f->tokens, f->n_tokens * sizeof *j->tokens);
    }
    *ret_job = j;
    return ERR_OK;
}

enum err carry_import_new(const struct frame_kv_import *f, struct carry_job **ret_job)
{
    return job_new(f->file, true, ret_job);
}

void carry_job_free(struct carry_job *j)
{
    if (j == NULL)
        return;
    free(j->tokens);
    free(j);
}

void carry_do(const struct carry *c, struct carry_job *j)
{
    struct buf path = {0};
    uint64_t began_ns = clock_now_ns();
    buf_printf(&path, "%s/%s", c->run, j->file);
    if (j->is_import) {
        j->error = kv_file_read(path.ptr, &c->cache, &j->result);
    } else {
        const struct kv_file_choice choice = {.cap_bytes = c->cap_bytes,
                                              .after = j->after,
                                              .tokens = j->tokens,
                                              .n_tokens = j->n_tokens,
                                              .tenant = j->tenant};
        j->error = kv_file_write(path.ptr, &c->cache, &choice, &j->result);
    }
    buf_fini(&path);
    j->us = (clock_now_ns() - began_ns) / 1000;
    if (j->tokens == NULL && strncmp(j->file, "phase-", 6) != 0) /* those come with each request */
        log_outcome(j->is_import ? "blocks-taken" : "blocks-given", j->file, j->error, &j->result,
                    j->us);
}

struct frame_kv_done carry_done(const struct carry_job *j)
{
    return (struct frame_kv_done){.file = str_from(j->file),
                                  .code = (uint32_t)j->error,
                                  .detail = str_from(j->result.why),
                                  .blocks = j->result.n_blocks,
                                  .bytes = j->result.n_bytes,
                                  .us = j->us,
                                  .mark = j->result.mark};
}
