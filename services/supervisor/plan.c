/* SPDX-License-Identifier: MIT */
#include "services/supervisor/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/paths.h"

enum count { ONE, PER_ENGINE, PER_CANDIDATE };

struct row {
    const char *name;
    const char *program;
    enum child_kind kind;
    unsigned stage;
    enum count count;
    enum child_socket socket;
    const char *args;
};

static const struct row ROWS[] = {
#define CHILD(name, program, kind, stage, count, socket, args)                                     \
    {name, program, CHILD_##kind, stage, count, SOCKET_##socket, args},
#include "services/supervisor/children.def"
#undef CHILD
};

/* ---- command lines ----------------------------------------------------------------------------- */

struct command_line {
    char *words[PLAN_MAX_ARGS + 1];
    size_t n;
};

static bool push_word(struct command_line *c, const char *word, size_t len)
{
    if (c->n == PLAN_MAX_ARGS)
        return false;
    c->words[c->n++] = mem_strndup(word, len);
    return true;
}

/* Each blank-separated word of text. */
static bool push_words(struct command_line *c, const char *text)
{
    while (*text != '\0') {
        text += strspn(text, " \t");
        size_t n = strcspn(text, " \t");
        if (n > 0 && !push_word(c, text, n))
            return false;
        text += n;
    }
    return true;
}

struct place {
    const char *name;
    const char *value;
};

/* One word with the values put in: "{run}/gateway.http" */
static bool push_filled(struct command_line *c, const struct place *places, struct str word)
{
    struct buf out = {0};
    while (word.len > 0) {
        const struct place *p = places;
        size_t n = 0;
        while (p->name != NULL && (n = strlen(p->name), strncmp(word.ptr, p->name, n) != 0))
            p++;
        if (p->name != NULL)
            buf_add_cstr(&out, p->value);
        else
            buf_add(&out, word.ptr, n = 1);
        word.ptr += n;
        word.len -= n;
    }
    bool fits = push_word(c, buf_str(&out).ptr, out.len);
    buf_fini(&out);
    return fits;
}

static bool expand(const struct row *row, const struct plan_values *v, const char *n,
                   struct command_line *c)
{
    const struct place places[] = {
        {"{run}", v->run},     {"{log-level}", v->log_level}, {"{sandbox}", v->sandbox},
        {"{model}", v->model}, {"{http}", v->http},           {"{n}", n},
        {NULL, NULL}};
    bool fits = push_word(c, row->program, strlen(row->program));
    for (const char *a = row->args; *a != '\0' && fits;) {
        struct str word = {a, strcspn(a, " ")};
        if (str_is(word, "{engine-args}"))
            fits = push_words(c, v->engine_args);
        else if (str_is(word, "{gateway-args}"))
            fits = push_words(c, v->gateway_args);
        else if (str_is(word, "{router-args}"))
            fits = push_words(c, v->router_args);
        else if (str_is(word, "{candidate-args}"))
            fits = push_words(c, v->candidate_args);
        else
            fits = push_filled(c, places, word);
        a += word.len;
        a += *a == ' ';
    }
    return fits;
}

static enum err add_spec(struct plan *p, const struct row *row, const struct plan_values *v,
                         uint32_t n, char *why, size_t cap_why)
{
    char number[12];
    struct command_line c = {.n = 0};
    struct buf name = {0};
    (void)snprintf(number, sizeof number, "%u", n);
    buf_add_cstr(&name, row->name);
    if (row->count != ONE)
        buf_printf(&name, ".%u", n);
    p->specs = mem_resize(p->specs, p->n_specs + 1, sizeof *p->specs);
    struct child_spec *s = &p->specs[p->n_specs++];
    *s = (struct child_spec){.log = mem_strndup(buf_str(&name).ptr, name.len),
                             .kind = row->kind,
                             .stage = row->stage,
                             .socket = row->socket};
    s->name = buf_detach(&name);
    bool fits = expand(row, v, number, &c);
    s->argv = mem_zalloc(c.n + 1, sizeof *s->argv);
    memcpy(s->argv, c.words, c.n * sizeof *s->argv);
    if (!fits) {
        (void)snprintf(why, cap_why,
                       "%s would get more than %d arguments; shorten --engine-args, "
                       "--candidate-args, --router-args or --gateway-args",
                       s->name, PLAN_MAX_ARGS);
        return ERR_TOO_LARGE;
    }
    const char *bin =
        row->count == PER_CANDIDATE && v->candidate_bin != NULL ? v->candidate_bin : v->bin;
    s->program = paths_find_binary(bin, row->program);
    if (s->program == NULL) {
        (void)snprintf(why, cap_why,
                       "%s is not in %s; build or install it, or name its directory with --bin",
                       row->program, bin != NULL ? bin : "the directory of halo-supervisor");
        return ERR_NOT_FOUND;
    }
    return ERR_OK;
}

enum err plan_init(const struct plan_values *values, char *why, size_t cap_why,
                   struct plan *ret_plan)
{
    struct plan p = {0};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        uint32_t count = ROWS[i].count == PER_ENGINE      ? values->n_engines
                         : ROWS[i].count == PER_CANDIDATE ? values->n_candidates
                                                          : 1;
        for (uint32_t n = 1; n <= count; n++) {
            enum err e = add_spec(&p, &ROWS[i], values, n, why, cap_why);
            if (e != ERR_OK) {
                plan_fini(&p);
                return e;
            }
        }
    }
    *ret_plan = p;
    return ERR_OK;
}

static void spec_fini(struct child_spec *s)
{
    free(s->name);
    free(s->log);
    free(s->program);
    for (char **a = s->argv; *a != NULL; a++)
        free(*a);
    free(s->argv);
}

void plan_fini(struct plan *p)
{
    for (size_t i = 0; i < p->n_specs; i++)
        spec_fini(&p->specs[i]);
    free(p->specs);
    *p = (struct plan){0};
}

/* ---- newcomers --------------------------------------------------------------------------------- */

static const char STANDBY[] = "--standby";

/* The program that the change asks for; NULL, and `why`, if it cannot be run. */
static char *find_build(const char *build, const char *name, char *why, size_t cap_why)
{
    struct stat st;
    struct buf path = {0};
    bool is_directory = stat(build, &st) == 0 && S_ISDIR(st.st_mode);
    buf_printf(&path, is_directory ? "%s/%s" : "%s", build, name);
    if (access(path.ptr, X_OK) == 0)
        return buf_detach(&path);
    (void)snprintf(why, cap_why, "cannot run %s: %s", path.ptr, strerrordesc_np(errno));
    buf_fini(&path);
    return NULL;
}

static bool push_option(struct command_line *c, const char *option, const char *value)
{
    return value == NULL ||
           (push_word(c, option, strlen(option)) && push_word(c, value, strlen(value)));
}

enum err plan_newcomer(const struct child_spec *of, const struct plan_change *change, char *why,
                       size_t cap_why, struct child_spec **ret_spec)
{
    struct command_line c = {.n = 0};
    if (change->model != NULL && access(change->model, R_OK) != 0) {
        (void)snprintf(why, cap_why, "cannot read the model %s: %s", change->model,
                       strerrordesc_np(errno));
        return ERR_NOT_FOUND;
    }
    char *program = change->build != NULL ? find_build(change->build, of->argv[0], why, cap_why)
                                          : mem_strndup(of->program, strlen(of->program));
    if (program == NULL)
        return ERR_NOT_FOUND;
    bool fits = true;
    for (char **a = of->argv; *a != NULL && fits; a++)
        fits = push_word(&c, *a, strlen(*a));
    fits = fits && push_option(&c, "--model", change->model) &&
           push_option(&c, "--backend", change->backend) &&
           (change->args == NULL || push_words(&c, change->args)) &&
           push_word(&c, STANDBY, sizeof STANDBY - 1);
    struct buf name = {0};
    buf_printf(&name, "%s.new", of->name);
    struct child_spec *s = mem_zalloc(1, sizeof *s);
    *s = (struct child_spec){.name = buf_detach(&name),
                             .log = mem_strndup(of->log, strlen(of->log)),
                             .program = program,
                             .argv = mem_zalloc(c.n + 1, sizeof *s->argv),
                             .kind = of->kind,
                             .stage = of->stage,
                             .socket = of->socket};
    memcpy(s->argv, c.words, c.n * sizeof *s->argv);
    if (!fits) {
        (void)snprintf(why, cap_why, "%s would get more than %d arguments", s->name, PLAN_MAX_ARGS);
        plan_spec_free(s);
        return ERR_TOO_LARGE;
    }
    *ret_spec = s;
    return ERR_OK;
}

void plan_inherit_name(struct child_spec *newcomer, const struct child_spec *from)
{
    free(newcomer->name);
    newcomer->name = mem_strndup(from->name, strlen(from->name));
}

void plan_put_in_service(struct child_spec *newcomer)
{
    char **to = newcomer->argv;
    for (char **a = newcomer->argv; *a != NULL; a++) {
        if (strcmp(*a, STANDBY) == 0)
            free(*a);
        else
            *to++ = *a;
    }
    *to = NULL;
}

void plan_spec_free(struct child_spec *s)
{
    if (s == NULL)
        return;
    spec_fini(s);
    free(s);
}
