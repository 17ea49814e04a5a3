/* SPDX-License-Identifier: MIT */
/* Python's string methods for the template engine's texts. Origins of bytes are carried along. */
#ifndef HALO_TOKENIZER_TMPL_STRING_H
#define HALO_TOKENIZER_TMPL_STRING_H

#include "services/tokenizer/tmpl_value.h"

enum tmpl_case {
    TMPL_UPPER,
    TMPL_LOWER,
    TMPL_CAPITALIZE, /* first character up, the others down */
    TMPL_TITLE, /* str.title: a letter behind a non-letter is up */
    TMPL_TITLE_FILTER, /* Jinja's filter: behind white space, - ( { [ < */
};

struct tmpl_value tmpl_string_case(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                   enum tmpl_case how);

/* Takes characters of `chars` (NULL: white space) from the ends. */
struct tmpl_value tmpl_string_strip(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                    const struct tmpl_text *chars, bool left, bool right);

/* At most `most` cuts (-1: all) at `separator`, or at runs of white space if it is NULL; from the right
 * end if from_right. */
struct tmpl_value tmpl_string_split(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                    const struct tmpl_text *separator, int64_t most,
                                    bool from_right);

/* At most `most` replacements (-1: all). */
struct tmpl_value tmpl_string_replace(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                      const struct tmpl_text *old, const struct tmpl_text *by,
                                      int64_t most);

/* Byte offset of the first occurrence at or after `from`, SIZE_MAX if there is none. */
size_t tmpl_string_find(const struct tmpl_text *t, const struct tmpl_text *part, size_t from);

/* Puts `width` spaces in front of each line but the first (first: of that too; blank: of empty ones). */
struct tmpl_value tmpl_string_indent(struct tmpl_ctx *ctx, const struct tmpl_text *t, size_t width,
                                     bool first, bool blank);

#endif
