/* SPDX-License-Identifier: MIT */
/* What templates can call: filters (x|name), tests (x is name), methods (x.name()) and functions
 * (name()), one table each. Arguments are bound to the parameters of the row by position and by name
 * before the call, so the functions see a fixed array.
 *
 * Letters outside ASCII have no case here: chat templates change the case of role names only. */
#ifndef HALO_TOKENIZER_TMPL_CALL_H
#define HALO_TOKENIZER_TMPL_CALL_H

#include "services/tokenizer/tmpl_value.h"

enum { TMPL_MAX_PARAMS = 5 };

enum tmpl_call_kind {
    TMPL_FILTER,
    TMPL_TEST,
    TMPL_METHOD,
    TMPL_GLOBAL,
};

/* Missing arguments are undefined. */
typedef struct tmpl_value tmpl_function(struct tmpl_ctx *ctx, const struct tmpl_value *self,
                                        const struct tmpl_value *args);

struct tmpl_callee {
    const char *name;
    tmpl_function *call; /* NULL: takes any named arguments and makes `makes` of them */
    enum tmpl_kind makes;
    size_t n_required;
    const char *params[TMPL_MAX_PARAMS]; /* NULL-terminated if fewer */
};

/* The row of that name, or NULL. */
const struct tmpl_callee *tmpl_callee_find(enum tmpl_call_kind kind, struct str name);

struct tmpl_args {
    size_t n;
    const struct tmpl_value *v;
    size_t n_named;
    const struct tmpl_entry *named;
};

/* item in container */
bool tmpl_contains(struct tmpl_ctx *ctx, const struct tmpl_value *container,
                   const struct tmpl_value *item);

/* Binds and calls; `self` is what stands before | or is or the dot, undefined for functions. */
struct tmpl_value tmpl_callee_call(struct tmpl_ctx *ctx, const struct tmpl_callee *callee,
                                   const struct tmpl_value *self, const struct tmpl_args *args);

#endif
