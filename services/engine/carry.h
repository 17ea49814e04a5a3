/* SPDX-License-Identifier: MIT */
/* carry: KV blocks that outlive a process or go to another one, as files in the run directory
 * (kv_file.h). What cannot be carried is computed again: nothing here is ever fatal.
 *
 * Over a restart: RUN/engine.<name>.kv is written at an orderly end and taken in at the next start. To
 * another engine: the router names a file (frames kv_export, kv_import), and a job does it on the step
 * thread between two steps. */
#ifndef HALO_ENGINE_CARRY_H
#define HALO_ENGINE_CARRY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/frames.h"
#include "services/engine/kv_file.h"

enum { CARRY_FILE_MAX = 96 }; /* length of a file's name */

struct carry {
    const char *run;
    const char *name; /* of this engine */
    struct kv_file_cache cache;
    uint64_t cap_bytes; /* of a file; 0: nothing is carried */
};

/* At the start and at the end, when no other thread uses the cache. */
void carry_in(const struct carry *c);
void carry_out(const struct carry *c);

struct carry_job {
    bool is_import;
    char file[CARRY_FILE_MAX + 1];
    uint64_t after;
    uint64_t tenant;
    uint32_t *tokens; /* NULL: all */
    uint32_t n_tokens;
    enum err error; /* from here: what became of it */
    struct kv_file_result result;
    uint64_t us;
};

/* Copies what a frame asks for. ERR_INVALID: the name is none in the run directory. */
MUST_CHECK enum err carry_export_new(const struct frame_kv_export *f, struct carry_job **ret_job);
MUST_CHECK enum err carry_import_new(const struct frame_kv_import *f, struct carry_job **ret_job);
void carry_job_free(struct carry_job *j);

/* Does it, and logs the outcome. Step thread. */
void carry_do(const struct carry *c, struct carry_job *j);

/* The answer; it borrows from the job. */
struct frame_kv_done carry_done(const struct carry_job *j);

#endif
