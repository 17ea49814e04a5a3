/* SPDX-License-Identifier: MIT */
/* Walks a template's tree: expressions to values, statements to text. One run owns its variables and its
 * output; the tree is only read. */
#ifndef HALO_TOKENIZER_TMPL_EVAL_H
#define HALO_TOKENIZER_TMPL_EVAL_H

#include "services/tokenizer/tmpl_parse.h"

/* What was printed: text, and the origin of each byte. */
struct tmpl_output {
    struct buf text;
    struct buf origins;
    size_t cap_bytes;
};

struct tmpl_variable {
    const char *name; /* interned by the tree */
    struct tmpl_value value;
};

/* Renders into *out, which the caller has emptied. Errors are noted in ctx; returns false then. */
bool tmpl_eval(struct tmpl_ctx *ctx, const struct tmpl_tree *tree,
               const struct tmpl_variable *variables, size_t n_variables, struct tmpl_output *out);

#endif
