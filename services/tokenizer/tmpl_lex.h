/* SPDX-License-Identifier: MIT */
/* Cuts a Jinja template into tokens, with the settings that Hugging Face uses: trim_blocks (the newline
 * after a block tag goes) and lstrip_blocks (blanks before a block tag that begins its line go), and
 * without the template's last newline. Line ends become \n. */
#ifndef HALO_TOKENIZER_TMPL_LEX_H
#define HALO_TOKENIZER_TMPL_LEX_H

#include "services/tokenizer/tmpl_value.h"

enum tmpl_token_kind {
    TMPL_T_END, /* of the template */
    TMPL_T_DATA, /* text to copy */
    TMPL_T_PRINT, /* {{ */
    TMPL_T_PRINT_END,
    TMPL_T_BLOCK, /* {% */
    TMPL_T_BLOCK_END,
    TMPL_T_NAME,
    TMPL_T_STRING, /* text without quotes, escapes resolved */
    TMPL_T_INT,
    TMPL_T_FLOAT,
    TMPL_T_OP, /* text is the operator */
};

struct tmpl_token {
    enum tmpl_token_kind kind;
    uint32_t line;
    struct str text;
    union {
        int64_t integer;
        double real;
    };
};

/* The tokens of `source`, the last one TMPL_T_END, in the arena of ctx; they borrow from source. Errors
 * (ERR_TEMPLATE, ERR_TOO_LARGE) are noted in ctx; the result is NULL then. */
const struct tmpl_token *tmpl_lex(struct tmpl_ctx *ctx, struct str source);

#endif
