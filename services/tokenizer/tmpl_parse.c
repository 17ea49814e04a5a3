/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_parse.h"

#include <string.h>

#include "services/tokenizer/tmpl_expr.h"

static struct tmpl_node *parse_body(struct tmpl_cursor *p, const char *const *ends);

/* ---- tags --------------------------------------------------------------------------------------- */

/* a | a, b | namespace.a */
static struct tmpl_node *parse_targets(struct tmpl_cursor *p, bool with_attribute)
{
    struct tmpl_chain c = {0};
    bool has_parenthesis = tmpl_cursor_take_op(p, "(");
    do {
        if (p->t->kind != TMPL_T_NAME)
            return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected a name");
        struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_NAME);
        if (!n)
            return NULL;
        n->name = tmpl_cursor_intern(p, p->t->text);
        tmpl_cursor_next(p);
        if (with_attribute && tmpl_cursor_take_op(p, "."))
            n = tmpl_expr_attribute(p, n);
        tmpl_cursor_chain(&c, n);
    } while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, ","));
    if (has_parenthesis)
        tmpl_cursor_expect_op(p, ")");
    return c.first;
}

static const char *const END_IF[] = {"elif", "else", "endif", NULL};
static const char *const END_ELSE[] = {"endif", NULL};
static const char *const END_FOR[] = {"else", "endfor", NULL};
static const char *const END_FOR_ELSE[] = {"endfor", NULL};
static const char *const END_SET[] = {"endset", NULL};
static const char *const END_MACRO[] = {"endmacro", NULL};
static const char *const END_GENERATION[] = {"endgeneration", NULL};
static const char *const END_TEMPLATE[] = {NULL};

/* Behind `if` or `elif`. */
static struct tmpl_node *parse_if(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_IF);
    if (!n)
        return NULL;
    n->a = tmpl_expr_tuple(p);
    tmpl_cursor_expect_block_end(p);
    n->b = parse_body(p, END_IF);
    if (!tmpl_cursor_is_ok(p))
        return NULL;
    if (tmpl_cursor_take_name(p, "elif")) {
        if (++p->depth > TMPL_MAX_HEIGHT)
            return tmpl_cursor_fail(p, ERR_DEPTH, "too many branches");
        n->c = parse_if(p);
        p->depth--;
        return tmpl_cursor_finish(p, n);
    }
    if (tmpl_cursor_take_name(p, "else")) {
        tmpl_cursor_expect_block_end(p);
        n->c = parse_body(p, END_ELSE);
    }
    tmpl_cursor_take_name(p, "endif");
    tmpl_cursor_expect_block_end(p);
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_for(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_FOR);
    if (!n)
        return NULL;
    n->names = parse_targets(p, false);
    if (tmpl_cursor_is_ok(p) && !tmpl_cursor_take_name(p, "in"))
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected 'in'");
    n->a = tmpl_cursor_is_ok(p) ? tmpl_expr_or(p) : NULL;
    if (tmpl_cursor_is_ok(p) && tmpl_cursor_take_name(p, "if"))
        n->d = tmpl_expr_parse(p);
    if (tmpl_cursor_is_ok(p) && tmpl_cursor_at_name(p, "recursive"))
        return tmpl_cursor_fail(p, ERR_UNSUPPORTED, "recursive loops are not supported");
    tmpl_cursor_expect_block_end(p);
    p->n_open_loops++;
    n->b = parse_body(p, END_FOR);
    p->n_open_loops--;
    if (tmpl_cursor_is_ok(p) && tmpl_cursor_take_name(p, "else")) {
        tmpl_cursor_expect_block_end(p);
        n->c = parse_body(p, END_FOR_ELSE);
    }
    if (tmpl_cursor_is_ok(p))
        tmpl_cursor_take_name(p, "endfor");
    tmpl_cursor_expect_block_end(p);
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_set(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_SET);
    if (!n)
        return NULL;
    n->names = parse_targets(p, true);
    if (!tmpl_cursor_is_ok(p))
        return NULL;
    if (tmpl_cursor_take_op(p, "=")) {
        n->a = tmpl_expr_tuple(p);
        tmpl_cursor_expect_block_end(p);
        return tmpl_cursor_finish(p, n);
    }
    n->kind = TMPL_N_SET_BLOCK;
    if (n->names->next || tmpl_cursor_at_op(p, "|"))
        return tmpl_cursor_fail(p, ERR_UNSUPPORTED,
                                "a block can only be set to one name, without filters");
    tmpl_cursor_expect_block_end(p);
    n->b = parse_body(p, END_SET);
    tmpl_cursor_take_name(p, "endset");
    tmpl_cursor_expect_block_end(p);
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_macro(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_MACRO);
    struct tmpl_chain c = {0};
    if (!n)
        return NULL;
    if (p->t->kind != TMPL_T_NAME)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected the name of the macro");
    n->name = tmpl_cursor_intern(p, p->t->text);
    tmpl_cursor_next(p);
    tmpl_cursor_expect_op(p, "(");
    while (tmpl_cursor_is_ok(p) && !tmpl_cursor_at_op(p, ")")) {
        if (c.first)
            tmpl_cursor_expect_op(p, ",");
        if (!tmpl_cursor_is_ok(p) || p->t->kind != TMPL_T_NAME)
            return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected the name of a parameter");
        struct tmpl_node *param = tmpl_cursor_node(p, TMPL_N_ARG);
        if (!param)
            return NULL;
        param->name = tmpl_cursor_intern(p, p->t->text);
        tmpl_cursor_next(p);
        if (tmpl_cursor_take_op(p, "="))
            param->a = tmpl_expr_parse(p);
        tmpl_cursor_chain(&c, tmpl_cursor_finish(p, param));
    }
    n->names = c.first;
    tmpl_cursor_expect_op(p, ")");
    tmpl_cursor_expect_block_end(p);
    size_t n_loops = p->n_open_loops;
    p->n_open_loops = 0;
    n->b = parse_body(p, END_MACRO);
    p->n_open_loops = n_loops;
    if (tmpl_cursor_is_ok(p))
        tmpl_cursor_take_name(p, "endmacro");
    tmpl_cursor_expect_block_end(p);
    return tmpl_cursor_finish(p, n);
}

/* Marks what the model is trained on; does nothing else. */
static struct tmpl_node *parse_generation(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_GROUP);
    if (!n)
        return NULL;
    tmpl_cursor_expect_block_end(p);
    n->b = parse_body(p, END_GENERATION);
    if (tmpl_cursor_is_ok(p))
        tmpl_cursor_take_name(p, "endgeneration");
    tmpl_cursor_expect_block_end(p);
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_jump(struct tmpl_cursor *p, enum tmpl_node_kind kind)
{
    struct tmpl_node *n = tmpl_cursor_node(p, kind);
    if (p->n_open_loops == 0)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "there is no loop to leave");
    tmpl_cursor_expect_block_end(p);
    return n;
}

static struct tmpl_node *parse_tag(struct tmpl_cursor *p)
{
    if (tmpl_cursor_take_name(p, "if"))
        return parse_if(p);
    if (tmpl_cursor_take_name(p, "for"))
        return parse_for(p);
    if (tmpl_cursor_take_name(p, "set"))
        return parse_set(p);
    if (tmpl_cursor_take_name(p, "macro"))
        return parse_macro(p);
    if (tmpl_cursor_take_name(p, "generation"))
        return parse_generation(p);
    if (tmpl_cursor_take_name(p, "break"))
        return parse_jump(p, TMPL_N_BREAK);
    if (tmpl_cursor_take_name(p, "continue"))
        return parse_jump(p, TMPL_N_CONTINUE);
    return tmpl_cursor_fail(p, ERR_UNSUPPORTED, "unexpected or unsupported tag");
}

static struct tmpl_node *parse_print(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_PRINT);
    tmpl_cursor_next(p);
    struct tmpl_node *value = tmpl_expr_tuple(p);
    if (tmpl_cursor_is_ok(p) && p->t->kind != TMPL_T_PRINT_END)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected '}}'");
    tmpl_cursor_next(p);
    if (n)
        n->a = value;
    return tmpl_cursor_finish(p, n);
}

static bool is_end(const struct tmpl_cursor *p, const char *const *ends)
{
    for (; *ends; ends++) {
        if (tmpl_cursor_at_name(p, *ends))
            return true;
    }
    return false;
}

/* Up to a tag in `ends`; the parser then stands behind its `{%`. Without ends: to the template's end. */
static struct tmpl_node *parse_body(struct tmpl_cursor *p, const char *const *ends)
{
    struct tmpl_chain c = {0};
    if (++p->n_open_tags > TMPL_MAX_STATEMENTS)
        return tmpl_cursor_fail(p, ERR_DEPTH, "tags are nested too deeply");
    while (tmpl_cursor_is_ok(p)) {
        if (p->t->kind == TMPL_T_END) {
            if (*ends)
                tmpl_cursor_fail(p, ERR_TEMPLATE, "a tag is still open");
            break;
        }
        if (p->t->kind == TMPL_T_DATA) {
            struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_DATA);
            if (n)
                n->literal = tmpl_text(p->ctx, p->t->text, TMPL_FROM_TEMPLATE);
            tmpl_cursor_next(p);
            tmpl_cursor_chain(&c, n);
        } else if (p->t->kind == TMPL_T_PRINT) {
            tmpl_cursor_chain(&c, parse_print(p));
        } else {
            tmpl_cursor_next(p);
            if (is_end(p, ends))
                break;
            tmpl_cursor_chain(&c, parse_tag(p));
        }
    }
    p->n_open_tags--;
    return c.first;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static bool is_macro(const struct tmpl_node *list, const char *name)
{
    for (; list; list = list->next) {
        if (list->kind == TMPL_N_MACRO && list->name == name)
            return true;
        if (is_macro(list->a, name) || is_macro(list->b, name) || is_macro(list->c, name))
            return true;
    }
    return false;
}

/* Calls of names that neither the engine nor the template defines are refused at once. strftime_now is
 * let pass: templates ask whether it is defined before they call it, and here it never is, because a
 * prompt must not depend on when it was made. */
static void check_calls(struct tmpl_cursor *p, const struct tmpl_node *list)
{
    for (; list && tmpl_cursor_is_ok(p); list = list->next) {
        if (list->kind == TMPL_N_CALL && !list->callee && !is_macro(p->tree->body, list->name) &&
            strcmp(list->name, "strftime_now") != 0) {
            p->ctx->line = list->line;
            tmpl_fail(p->ctx, ERR_UNSUPPORTED, "function '%s' is not supported", list->name);
        }
        check_calls(p, list->a);
        check_calls(p, list->b);
        check_calls(p, list->c);
        check_calls(p, list->d);
        check_calls(p, list->names);
    }
}

const char *tmpl_tree_name(const struct tmpl_tree *tree, struct str name)
{
    for (const struct tmpl_name *n = tree->names; n; n = n->next) {
        if (str_is(name, n->name))
            return n->name;
    }
    return NULL;
}

bool tmpl_parse(struct tmpl_ctx *ctx, struct str source, struct tmpl_tree *ret_tree)
{
    *ret_tree = (struct tmpl_tree){0};
    const struct tmpl_token *tokens = tmpl_lex(ctx, source);
    if (!tokens)
        return false;
    struct tmpl_cursor p = {.ctx = ctx, .t = tokens, .tree = ret_tree};
    ret_tree->body = parse_body(&p, END_TEMPLATE);
    check_calls(&p, ret_tree->body);
    return ctx->err == ERR_OK;
}
