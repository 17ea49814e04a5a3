/* SPDX-License-Identifier: MIT */
/* Plan: children.def with the operator's values filled in: what to start, with which arguments, in
 * which order. Checks what can be checked before anything runs. */
#ifndef HALO_SUPERVISOR_PLAN_H
#define HALO_SUPERVISOR_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
    PLAN_MAX_ARGS = 128, /* words of one command line */
};

enum child_kind {
    CHILD_SERVICE, /* always runs */
};

enum child_socket {
    SOCKET_NONE,
    SOCKET_HTTP, /* the listening socket of --http */
};

struct plan_values {
    const char *bin; /* directory of the binaries; NULL: found relative to our own */
    const char *run;
    const char *log_level;
    const char *sandbox;
    const char *model;
    const char *http;
    const char *engine_args;
    const char *gateway_args;
    const char *router_args;
    const char *candidate_args;
    const char *candidate_bin; /* directory of the candidates' halo-engine; NULL: bin */
    uint32_t n_engines;
    uint32_t n_candidates;
};

struct child_spec {
    char *name; /* "engine.1" */
    char *log; /* name of its log, without ".log" */
    char *program; /* path */
    char **argv; /* NULL-terminated; argv[0] is the program's file name */
    enum child_kind kind;
    unsigned stage;
    enum child_socket socket;
};

struct plan {
    struct child_spec *specs; /* by stage */
    size_t n_specs;
};

/* Fills *ret_plan. ERR_NOT_FOUND: a binary is missing; ERR_TOO_LARGE: more than PLAN_MAX_ARGS words.
 * `why` gets one line with the remedy then. */
MUST_CHECK enum err plan_init(const struct plan_values *values, char *why, size_t cap_why,
                              struct plan *ret_plan);
void plan_fini(struct plan *p);

/* What a newcomer has that the process beside it has not; NULL: the same. */
struct plan_change {
    const char *model; /* file */
    const char *backend;
    const char *build; /* the program, or the directory that holds it */
    const char *args; /* further words */
};

/* How to start a newcomer beside the process of `of`: called <name>.new, with the same log, out of service
 * (--standby). ERR_NOT_FOUND: a file of the change is not there; ERR_TOO_LARGE. Free it with
 * plan_spec_free. */
MUST_CHECK enum err plan_newcomer(const struct child_spec *of, const struct plan_change *change,
                                  char *why, size_t cap_why, struct child_spec **ret_spec);

/* From its next start on the newcomer is in service; it is called as the other. */
void plan_put_in_service(struct child_spec *newcomer);
void plan_inherit_name(struct child_spec *newcomer, const struct child_spec *from);
void plan_spec_free(struct child_spec *s);

#endif
