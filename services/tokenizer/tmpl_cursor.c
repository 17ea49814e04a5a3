/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_cursor.h"

#include <string.h>

/* ---- tokens ------------------------------------------------------------------------------------- */

bool tmpl_cursor_is_ok(const struct tmpl_cursor *p)
{
    return p->ctx->err == ERR_OK;
}

struct tmpl_node *tmpl_cursor_fail(struct tmpl_cursor *p, enum err e, const char *what)
{
    p->ctx->line = p->t->line;
    if (p->t->kind == TMPL_T_END)
        tmpl_fail(p->ctx, e, "%s at the end of the template", what);
    else
        tmpl_fail(p->ctx, e, "%s at '%.*s'", what, (int)(p->t->text.len < 40 ? p->t->text.len : 40),
                  p->t->text.ptr);
    return NULL;
}

void tmpl_cursor_next(struct tmpl_cursor *p)
{
    if (p->t->kind != TMPL_T_END)
        p->t++;
}

bool tmpl_cursor_at_op(const struct tmpl_cursor *p, const char *op)
{
    return p->t->kind == TMPL_T_OP && str_is(p->t->text, op);
}

bool tmpl_cursor_at_name(const struct tmpl_cursor *p, const char *name)
{
    return p->t->kind == TMPL_T_NAME && str_is(p->t->text, name);
}

bool tmpl_cursor_take_op(struct tmpl_cursor *p, const char *op)
{
    bool is_there = tmpl_cursor_at_op(p, op);
    if (is_there)
        tmpl_cursor_next(p);
    return is_there;
}

bool tmpl_cursor_take_name(struct tmpl_cursor *p, const char *name)
{
    bool is_there = tmpl_cursor_at_name(p, name);
    if (is_there)
        tmpl_cursor_next(p);
    return is_there;
}

void tmpl_cursor_expect_op(struct tmpl_cursor *p, const char *op)
{
    if (tmpl_cursor_is_ok(p) && !tmpl_cursor_take_op(p, op)) {
        char what[32] = "expected ' '";
        what[10] = op[0];
        tmpl_cursor_fail(p, ERR_TEMPLATE, what);
    }
}

void tmpl_cursor_expect_block_end(struct tmpl_cursor *p)
{
    if (!tmpl_cursor_is_ok(p))
        return;
    if (p->t->kind == TMPL_T_BLOCK_END)
        tmpl_cursor_next(p);
    else
        tmpl_cursor_fail(p, ERR_TEMPLATE, "expected the end of the tag");
}

/* ---- nodes -------------------------------------------------------------------------------------- */

struct tmpl_node *tmpl_cursor_node(struct tmpl_cursor *p, enum tmpl_node_kind kind)
{
    struct tmpl_node *n = tmpl_alloc(p->ctx, 1, sizeof *n);
    if (n)
        *n = (struct tmpl_node){.kind = kind, .line = p->t->line};
    return n;
}

static uint32_t height_of(const struct tmpl_node *list)
{
    uint32_t h = 0;
    for (; list; list = list->next)
        h = list->height > h ? list->height : h;
    return h;
}

/* Call it when all children are in place. */
struct tmpl_node *tmpl_cursor_finish(struct tmpl_cursor *p, struct tmpl_node *n)
{
    if (!n || !tmpl_cursor_is_ok(p))
        return n;
    const struct tmpl_node *const lists[] = {n->a, n->b, n->c, n->d, n->names};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        uint32_t h = height_of(lists[i]) + 1;
        n->height = h > n->height ? h : n->height;
    }
    if (n->height > TMPL_MAX_HEIGHT)
        tmpl_cursor_fail(p, ERR_DEPTH, "an expression is too long or nested too deeply");
    return n;
}

void tmpl_cursor_chain(struct tmpl_chain *c, struct tmpl_node *n)
{
    if (!n)
        return;
    if (!c->first)
        c->first = n;
    else
        *c->end = n;
    c->end = &n->next;
}

const char *tmpl_cursor_intern(struct tmpl_cursor *p, struct str name)
{
    const char *known = tmpl_tree_name(p->tree, name);
    if (known)
        return known;
    struct tmpl_name *n = tmpl_alloc(p->ctx, 1, sizeof *n);
    char *copy = tmpl_alloc(p->ctx, name.len + 1, 1);
    if (!n || !copy)
        return "";
    memcpy(copy, name.ptr, name.len);
    copy[name.len] = '\0';
    *n = (struct tmpl_name){copy, p->tree->names};
    p->tree->names = n;
    return copy;
}
