/* SPDX-License-Identifier: MIT */
/* Expressions of a template, by Jinja's precedence: if-else, or, and, not, comparisons, + -, ~, * / // %,
 * **, sign, then what follows a value: .name [index] (arguments) | filter, is test. */
#ifndef HALO_TOKENIZER_TMPL_EXPR_H
#define HALO_TOKENIZER_TMPL_EXPR_H

#include "services/tokenizer/tmpl_cursor.h"

/* One expression. NULL after an error. */
struct tmpl_node *tmpl_expr_parse(struct tmpl_cursor *p);

/* One expression, or several with commas between: a tuple. */
struct tmpl_node *tmpl_expr_tuple(struct tmpl_cursor *p);

/* One expression without an if behind it. */
struct tmpl_node *tmpl_expr_or(struct tmpl_cursor *p);

/* What follows the dot behind `target`. */
struct tmpl_node *tmpl_expr_attribute(struct tmpl_cursor *p, struct tmpl_node *target);

#endif
