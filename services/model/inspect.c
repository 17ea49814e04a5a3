/* SPDX-License-Identifier: MIT */
#include "services/model/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/config_json.h"

/* Tensors of one type and form of scales, summed up. */
struct group {
    const char *type;
    enum source_tensor_kind kind;
    uint32_t scales_group;
    uint32_t n_scales; /* the most that a tensor has */
    size_t n_tensors;
    uint64_t n_weights;
    uint64_t n_bytes;
};

enum { GROUPS_MAX = 32 };

struct groups {
    struct group items[GROUPS_MAX];
    size_t n;
};

static void add_to_groups(struct groups *all, const struct source_tensor *t)
{
    struct group *g = NULL;
    for (size_t i = 0; i < all->n && g == NULL; i++) {
        struct group *one = &all->items[i];
        if (strcmp(one->type, t->type) == 0 && one->kind == t->kind &&
            one->scales_group == t->group)
            g = one;
    }
    if (g == NULL && all->n == GROUPS_MAX)
        g = &all->items[GROUPS_MAX - 1];
    if (g == NULL) {
        g = &all->items[all->n++];
        *g = (struct group){.type = t->type, .kind = t->kind, .scales_group = t->group};
    }
    g->n_tensors++;
    g->n_weights += t->rows * t->cols;
    g->n_bytes += t->n_bytes;
    if (t->n_scales > g->n_scales)
        g->n_scales = t->n_scales;
}

static void describe_scales(const struct group *g, char *text, size_t cap)
{
    if (g->kind == SOURCE_FLOATS)
        (void)snprintf(text, cap, "none");
    else if (g->scales_group > 0)
        (void)snprintf(text, cap, "one per %u columns", g->scales_group);
    else if (g->n_scales == 1)
        (void)snprintf(text, cap, "one per tensor");
    else
        (void)snprintf(text, cap, "up to %u per tensor", g->n_scales);
}

static uint64_t count_params(const struct source *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_tensors; i++)
        n += s->tensors[i].rows * s->tensors[i].cols;
    return n;
}

/* ---- JSON ---- */

static json_t *tensor_json(const struct source_tensor *t)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", t->name, "type", t->type, "rows",
                     (json_int_t)t->rows, "columns", (json_int_t)t->cols, "bytes",
                     (json_int_t)t->n_bytes);
}

static json_t *groups_json(const struct groups *all)
{
    json_t *list = json_array();
    for (size_t i = 0; i < all->n; i++) {
        const struct group *g = &all->items[i];
        char scales[64];
        describe_scales(g, scales, sizeof scales);
        (void)json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:s}", "type", g->type,
                                                    "tensors", (json_int_t)g->n_tensors, "weights",
                                                    (json_int_t)g->n_weights, "bytes",
                                                    (json_int_t)g->n_bytes, "scales", scales));
    }
    return list;
}

static json_t *tokenizer_json(const struct source *s)
{
    const struct source_tokenizer *t = &s->tokenizer;
    return json_pack("{s:s, s:s, s:I, s:I, s:b}", "kind", s->config.tokenizer_model,
                     "pre_tokenizer", s->config.pre_tokenizer, "tokens", (json_int_t)t->n_tokens,
                     "merges", (json_int_t)t->n_merges, "chat_template", s->chat_template != NULL);
}

static enum err print_json(FILE *to, const struct source *s, const struct groups *all,
                           const char *config, const struct inspect_options *o, struct why *why)
{
    json_t *root =
        json_pack("{s:s, s:s, s:o?, s:I, s:o, s:o}", "path", s->path, "kind", s->kind, "config",
                  json_loads(config, 0, NULL), "parameters", (json_int_t)count_params(s),
                  "tokenizer", tokenizer_json(s), "weights", groups_json(all));
    if (root == NULL)
        return why_set(why, ERR_UTF8, "%s: expected a path and names in UTF-8", s->path);
    if (s->hash[0] != '\0')
        (void)json_object_set_new(root, "hash", json_string(s->hash));
    if (o->does_list) {
        json_t *list = json_array();
        for (size_t i = 0; i < s->n_tensors; i++)
            (void)json_array_append_new(list, tensor_json(&s->tensors[i]));
        (void)json_object_set_new(root, "tensors", list);
    }
    (void)json_dumpf(root, to, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    (void)fputc('\n', to);
    json_decref(root);
    return ERR_OK;
}

/* ---- text ---- */

static void print_line(FILE *to, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void print_line(FILE *to, const char *key, const char *fmt, ...)
{
    char raw[512];
    struct why line;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    (void)why_set(&line, ERR_OK, "%s", raw);
    (void)fprintf(to, "%-14s%s\n", key, line.text);
}

static void print_extra(FILE *to, const struct source *s)
{
    const char *key;
    json_t *value;
    json_object_foreach(s->config.extra, key, value)
    {
        if (json_is_string(value)) {
            print_line(to, key, " %s", json_string_value(value));
        } else {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            print_line(to, key, " %s", text != NULL ? text : "?");
            free(text);
        }
    }
}

static void print_shape(FILE *to, const struct source_config *c)
{
    print_line(to, "architecture", "%s, %s", c->architecture, c->hidden_act);
    print_line(to, "shape", "%u layers, hidden %u, FFN %u, %u heads, %u KV heads of %u",
               c->n_layers, c->n_hidden, c->n_ffn, c->n_heads, c->n_kv_heads, c->head_dim);
    print_line(to, "context", "%u tokens, rope_theta %g", c->n_ctx, c->rope_theta);
    print_line(to, "head", "%s", c->is_tied ? "the embedding" : "its own");
}

static void print_text(FILE *to, const struct source *s, const struct groups *all,
                       const struct inspect_options *o)
{
    const struct source_config *c = &s->config;
    print_line(to, "file", "%s", s->path);
    print_line(to, "kind", "%s", s->kind);
    print_line(to, "name", "%s", c->name);
    print_shape(to, c);
    print_line(to, "parameters", "%.1f M", (double)count_params(s) / 1e6);
    for (size_t i = 0; i < all->n; i++) {
        const struct group *g = &all->items[i];
        char scales[64];
        describe_scales(g, scales, sizeof scales);
        print_line(to, i == 0 ? "weights" : "", "%-6s %zu tensors, %.1f M weights, %.1f MB%s%s",
                   g->type, g->n_tensors, (double)g->n_weights / 1e6, (double)g->n_bytes / 1e6,
                   g->kind == SOURCE_CODES ? ", scales: " : "",
                   g->kind == SOURCE_CODES ? scales : "");
    }
    print_line(to, "tokenizer", "%s%s%s, %u tokens of %u, %zu merges", c->tokenizer_model,
               c->pre_tokenizer[0] != '\0' ? " " : "", c->pre_tokenizer, s->tokenizer.n_tokens,
               c->n_vocab, s->tokenizer.n_merges);
    print_line(to, "chat template", "%s", s->chat_template != NULL ? "yes" : "no: a base model");
    print_extra(to, s);
    if (s->hash[0] != '\0')
        print_line(to, "hash", "%s (checksums verified)", s->hash);
    for (size_t i = 0; o->does_list && i < s->n_tensors; i++) {
        const struct source_tensor *t = &s->tensors[i];
        (void)fprintf(to, "%-52s %-6s %8llu x %-8llu %12llu bytes\n", t->name, t->type,
                      (unsigned long long)t->rows, (unsigned long long)t->cols,
                      (unsigned long long)t->n_bytes);
    }
}

enum err inspect_print(FILE *to, struct source *s, const struct inspect_options *o, struct why *why)
{
    struct groups all = {0};
    for (size_t i = 0; i < s->n_tensors; i++)
        add_to_groups(&all, &s->tensors[i]);
    char *config = NULL;
    struct why line;
    enum err e = config_json_write(&s->config, &line, &config);
    if (e)
        return why_set(why, e, "%s: %s", s->path, line.text);
    if (o->does_json)
        e = print_json(to, s, &all, config, o, why);
    else
        print_text(to, s, &all, o);
    free(config);
    return e;
}
