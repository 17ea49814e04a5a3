/* SPDX-License-Identifier: MIT */
/* Values of the template engine as text: what Python's str, repr and json.dumps write. What is not a text
 * already counts as coming from the request. */
#ifndef HALO_TOKENIZER_TMPL_FORMAT_H
#define HALO_TOKENIZER_TMPL_FORMAT_H

#include "services/tokenizer/tmpl_value.h"

/* v as {{ v }} prints it; a text is itself, undefined is empty. */
const struct tmpl_text *tmpl_format_str(struct tmpl_ctx *ctx, const struct tmpl_value *v);

struct tmpl_format_json {
    int indent; /* -1: all on one line */
    bool is_ascii;
    bool is_sorted;
    struct str item_separator;
    struct str key_separator;
};

struct tmpl_value tmpl_format_json(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                                   const struct tmpl_format_json *how);

#endif
