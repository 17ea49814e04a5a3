/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/template.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

enum {
    PARSE_STEPS = 10 * 1000 * 1000,
    PARSE_BYTES = 64 << 20,
    RENDER_BYTES = 64 << 20, /* and RENDER_FACTOR times the request */
    RENDER_FACTOR = 16,
};

struct template
{
    struct arena arena;
    struct tmpl_tree tree;
    struct str bos;
    struct str eos;
};

enum err template_new(struct str source, struct str bos, struct str eos, char *why, size_t cap_why,
                      struct template **ret_template)
{
    if (cap_why > 0)
        why[0] = '\0';
    if (source.len > TEMPLATE_MAX_SOURCE) {
        (void)snprintf(why, cap_why, "the template has %zu bytes, most are %d", source.len,
                       TEMPLATE_MAX_SOURCE);
        return ERR_TOO_LARGE;
    }
    struct template *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    struct tmpl_ctx ctx = {.arena = {.cap_bytes = PARSE_BYTES},
                           .steps_left = PARSE_STEPS,
                           .why = why,
                           .cap_why = cap_why};
    enum err e = ERR_NOMEM;
    t->bos = (struct str){arena_strdup(&ctx.arena, bos), bos.len};
    t->eos = (struct str){arena_strdup(&ctx.arena, eos), eos.len};
    if (t->bos.ptr && t->eos.ptr)
        e = tmpl_parse(&ctx, source, &t->tree) ? ERR_OK : ctx.err;
    t->arena = ctx.arena;
    if (e != ERR_OK)
        goto fail;
    *ret_template = t;
    return ERR_OK;
fail:
    template_free(t);
    return e;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    arena_fini(&t->arena);
    free(t);
}

/* ---- variables ---------------------------------------------------------------------------------- */

struct variables {
    struct tmpl_variable *v;
    size_t n;
};

/* Names that the template never mentions are left out. */
static void add(struct variables *vars, const struct template *t, struct str name,
                struct tmpl_value value)
{
    const char *interned = tmpl_tree_name(&t->tree, name);
    for (size_t i = 0; interned && i < vars->n; i++) {
        if (vars->v[i].name == interned)
            return; /* a request cannot replace what the service gives */
    }
    if (interned)
        vars->v[vars->n++] = (struct tmpl_variable){interned, value};
}

static void trust_role(struct tmpl_ctx *ctx, struct tmpl_map *message)
{
    static const char *const ROLES[] = {"system", "user",     "assistant",
                                        "tool",   "function", "developer"};
    for (size_t i = 0; i < message->n; i++) {
        struct tmpl_entry *e = &message->v[i];
        for (size_t k = 0; tmpl_is_text(&e->key, "role") && k < ARRAY_LEN(ROLES); k++) {
            if (tmpl_is_text(&e->value, ROLES[k]))
                e->value = tmpl_text(ctx, str_from(ROLES[k]), TMPL_FROM_TEMPLATE);
        }
    }
}

/* Marks the content of the last message, if there is more than white space in it. */
static bool mark_open(struct tmpl_ctx *ctx, const struct tmpl_list *messages)
{
    struct tmpl_map *last = messages->n > 0 ? messages->v[messages->n - 1].map : NULL;
    for (size_t i = 0; last && i < last->n; i++) {
        struct tmpl_entry *e = &last->v[i];
        if (!tmpl_is_text(&e->key, "content") || e->value.kind != TMPL_TEXT)
            continue;
        struct str s = tmpl_str(&e->value);
        size_t n;
        while ((n = tmpl_space_at(s)) > 0) {
            s.ptr += n;
            s.len -= n;
        }
        if (s.len == 0)
            return false;
        e->value = tmpl_text(ctx, tmpl_str(&e->value), TMPL_FROM_OPEN_MESSAGE);
        return true;
    }
    return false;
}

/* The messages as a value; *ret_is_open says whether the last one is open and has content. */
static struct tmpl_value take_messages(struct tmpl_ctx *ctx, const json_t *json,
                                       bool continue_final, bool *ret_is_open)
{
    struct tmpl_value v = tmpl_from_json(ctx, json, TMPL_FROM_REQUEST);
    *ret_is_open = false;
    if (ctx->err != ERR_OK)
        return v;
    if (v.kind != TMPL_LIST)
        return tmpl_fail(ctx, ERR_INVALID, "messages must be an array");
    for (size_t i = 0; i < v.list->n; i++) {
        if (v.list->v[i].kind != TMPL_MAP)
            return tmpl_fail(ctx, ERR_INVALID, "messages[%zu] must be an object", i);
        trust_role(ctx, v.list->v[i].map);
    }
    if (!continue_final || v.list->n == 0)
        return v;
    *ret_is_open = mark_open(ctx, v.list);
    if (*ret_is_open)
        return v;
    /* An empty opening is the same as none. */
    struct tmpl_value none = tmpl_none();
    struct tmpl_value last = tmpl_int(-1);
    return tmpl_slice(ctx, &v, &none, &last, &none);
}

static void take_args(struct tmpl_ctx *ctx, struct variables *vars, const struct template *t,
                      const json_t *args)
{
    struct tmpl_value v = tmpl_from_json(ctx, args, TMPL_FROM_REQUEST);
    for (size_t i = 0; ctx->err == ERR_OK && i < v.map->n; i++)
        add(vars, t, tmpl_str(&v.map->v[i].key), v.map->v[i].value);
}

/* ---- rendering ---------------------------------------------------------------------------------- */

/* The text ends where the content of the open message ends. */
static void cut_behind_open(struct tmpl_ctx *ctx, struct tmpl_output *out)
{
    size_t n = out->text.len;
    while (n > 0 && out->origins.ptr[n - 1] != TMPL_FROM_OPEN_MESSAGE)
        n--;
    if (n == 0) {
        tmpl_fail(ctx, ERR_TEMPLATE, "the template does not print the message to be continued");
        return;
    }
    out->text.len = n;
    out->origins.len = n;
}

static void render(struct tmpl_ctx *ctx, const struct template *t, const struct template_input *in,
                   const json_t *messages, const json_t *args, struct tmpl_output *out)
{
    struct variables vars = {0};
    size_t n_args = json_object_size(args);
    bool is_open;
    vars.v = tmpl_alloc(ctx, n_args + 8, sizeof *vars.v);
    struct tmpl_value list = take_messages(ctx, messages, in->continue_final, &is_open);
    if (ctx->err != ERR_OK)
        return;
    bool add_prompt = in->continue_final ? !is_open : in->add_generation_prompt;
    add(&vars, t, STR_LIT("messages"), list);
    add(&vars, t, STR_LIT("add_generation_prompt"), tmpl_bool(add_prompt));
    add(&vars, t, STR_LIT("bos_token"), tmpl_text(ctx, t->bos, TMPL_FROM_TEMPLATE));
    add(&vars, t, STR_LIT("eos_token"), tmpl_text(ctx, t->eos, TMPL_FROM_TEMPLATE));
    if (args)
        take_args(ctx, &vars, t, args);
    add(&vars, t, STR_LIT("tools"), tmpl_none());
    add(&vars, t, STR_LIT("documents"), tmpl_none());
    if (ctx->err == ERR_OK && tmpl_eval(ctx, &t->tree, vars.v, vars.n, out) && is_open)
        cut_behind_open(ctx, out);
}

static json_t *parse_json(struct str s, const char *name, bool is_array, char *why, size_t cap_why)
{
    json_error_t error;
    json_t *json = json_loadb(s.ptr, s.len, JSON_ALLOW_NUL, &error);
    if (!json)
        (void)snprintf(why, cap_why, "%s: %s", name, error.text);
    else if (is_array ? json_is_array(json) : json_is_object(json))
        return json;
    else
        (void)snprintf(why, cap_why, "%s must be %s", name, is_array ? "an array" : "an object");
    json_decref(json);
    return NULL;
}

enum err template_render(const struct template *t, const struct template_input *in, char *why,
                         size_t cap_why, struct tmpl_output *out)
{
    struct tmpl_ctx ctx = {.steps_left = TEMPLATE_MAX_STEPS, .why = why, .cap_why = cap_why};
    ctx.arena.cap_bytes = RENDER_BYTES + RENDER_FACTOR * (in->messages.len + in->args.len);
    if (cap_why > 0)
        why[0] = '\0';
    buf_reset(&out->text);
    buf_reset(&out->origins);
    out->cap_bytes = TEMPLATE_MAX_OUTPUT;
    json_t *messages = parse_json(in->messages, "messages", true, why, cap_why);
    if (!messages)
        return ERR_INVALID;
    json_t *args =
        in->args.len > 0 ? parse_json(in->args, "template_args", false, why, cap_why) : NULL;
    enum err e = ERR_INVALID;
    if (args || in->args.len == 0) {
        render(&ctx, t, in, messages, args, out);
        e = ctx.err;
    }
    arena_fini(&ctx.arena);
    json_decref(args);
    json_decref(messages);
    return e;
}
