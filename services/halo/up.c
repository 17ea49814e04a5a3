/* SPDX-License-Identifier: MIT */
/* halo up: starts a stack, in the foreground or detached. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/keyfile.h"
#include "common/mem.h"
#include "common/opt.h"
#include "common/paths.h"
#include "common/sandbox.h"
#include "services/halo/api.h"
#include "services/halo/launch.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum { MAX_ARGS = 64 };

struct options {
    const char *run;
    const char *http;
    const char *model;
    const char *kv_type;
    const char *engine_args;
    const char *gateway_args;
    const char *router_args;
    const char *candidate_args;
    const char *candidate_bin;
    uint32_t n_candidates;
    const char *keys;
    const char *bin;
    const char *log_level;
    const char *sandbox;
    uint32_t n_engines;
    bool is_detached;
};

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct options, run, "run", NULL, "DIR",
                "run directory: sockets, logs; made if absent. Stacks with different ones are "
                "independent. Default $HALO_RUN, $XDG_RUNTIME_DIR/halo or /tmp/halo-<uid>"),
    OPT_STR_ROW(struct options, http, "http", "127.0.0.1:8180", "ADDR:PORT",
                "where to serve the API"),
    OPT_STR_ROW(struct options, model, "model", NULL, "FILE",
                "model to serve, an .h1b file; default: the demo model"),
    OPT_U32_ROW(struct options, n_engines, "engines", "1", 1, 64, "N", "number of engines"),
    OPT_CHOICE_ROW(struct options, kv_type, "kv-type", "f16", "f16|int8",
                   "numbers in the engines' KV cache: int8 takes half the memory and changes "
                   "replies a little"),
    OPT_STR_ROW(struct options, engine_args, "engine-args", "", "WORDS",
                "further arguments for each engine, separated by blanks; see halo-engine --help"),
    OPT_STR_ROW(struct options, gateway_args, "gateway-args", "", "WORDS",
                "further arguments for the gateway, separated by blanks; see halo-gateway --help"),
    OPT_STR_ROW(struct options, router_args, "router-args", "", "WORDS",
                "further arguments for the router, separated by blanks; see halo-router --help"),
    OPT_U32_ROW(struct options, n_candidates, "candidates", "0", 0, 64, "N",
                "number of engines of the candidate lane, which answer /v2"),
    OPT_STR_ROW(struct options, candidate_bin, "candidate-bin", NULL, "DIR",
                "directory of the candidates' halo-engine, of another build; default: that of the "
                "others"),
    OPT_STR_ROW(struct options, candidate_args, "candidate-args", "", "WORDS",
                "further arguments for each candidate, separated by blanks"),
    OPT_STR_ROW(struct options, keys, "keys", NULL, "FILE",
                "demand an API key of this file from every client; see halo key --help"),
    OPT_BOOL_ROW(struct options, is_detached, "detach", "false",
                 "return when the stack is ready and leave it running"),
    OPT_STR_ROW(struct options, bin, "bin", NULL, "DIR",
                "directory of the halo-* binaries; default: that of halo, or its siblings in a "
                "build tree"),
    OPT_CHOICE_ROW(struct options, log_level, "log-level", "info", "debug|info|warn|error",
                   "least level in the logs"),
    SANDBOX_ROW(struct options),
};

/* What the checks settled: absolute paths. */
struct plan {
    char run[PATH_MAX];
    char model[PATH_MAX];
    char *engine_args; /* with --kv-type */
    char *gateway_args; /* with --keys */
    char *supervisor;
};

static bool settle_run(const struct options *o, struct plan *p)
{
    char why[STACK_INFO_WHY_CAP];
    const char *run = o->run != NULL ? o->run : opt_default_run_dir();
    if ((mkdir(run, 0700) != 0 && errno != EEXIST) || realpath(run, p->run) == NULL) {
        (void)fprintf(stderr,
                      "halo up: cannot make the run directory %s: %s; name another with --run\n",
                      run, strerrordesc_np(errno));
        return false;
    }
    if (!stack_info_trusts(p->run, why, sizeof why)) {
        (void)fprintf(stderr, "halo up: %s\n", why);
        return false;
    }
    return true;
}

static bool settle_model(const struct options *o, struct plan *p)
{
    char *found = o->model == NULL ? paths_find_model() : NULL;
    const char *model = o->model != NULL ? o->model : found;
    bool ok = model != NULL && realpath(model, p->model) != NULL && access(p->model, R_OK) == 0;
    if (model == NULL)
        (void)fprintf(stderr,
                      "halo up: the demo model share/halo/halo-demo.h1b is not installed; name a "
                      "model with --model FILE\n");
    else if (!ok)
        (void)fprintf(stderr, "halo up: cannot read the model %s: %s\n", model,
                      strerrordesc_np(errno));
    struct stat st;
    if (ok && stat(p->model, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)fprintf(stderr,
                      "halo up: the model %s is a directory, expected an .h1b file; make one of it "
                      "with `halo convert %s model.h1b`\n",
                      model, model);
        ok = false;
    }
    free(found);
    return ok;
}

static void settle_engine_args(const struct options *o, struct plan *p)
{
    struct buf words = {0};
    buf_add_cstr(&words, o->engine_args);
    if (strcmp(o->kv_type, "f16") != 0)
        buf_printf(&words, "%s--kv-type %s", words.len > 0 ? " " : "", o->kv_type);
    p->engine_args = buf_detach(&words);
}

static bool settle_keys(const struct options *o, struct plan *p)
{
    char why[KEYFILE_WHY_CAP];
    char path[PATH_MAX];
    struct keyfile file;
    struct buf words = {0};
    if (o->keys != NULL) {
        if (keyfile_read(o->keys, why, &file) != ERR_OK) {
            (void)fprintf(stderr, "halo up: %s\n", why);
            return false;
        }
        keyfile_fini(&file);
        if (realpath(o->keys, path) == NULL || strpbrk(path, " \t") != NULL) {
            (void)fprintf(stderr, "halo up: the path of the key file %s may not have blanks\n",
                          o->keys);
            return false;
        }
        buf_printf(&words, "--keys %s%s", path, o->gateway_args[0] != '\0' ? " " : "");
    }
    buf_add_cstr(&words, o->gateway_args);
    p->gateway_args = buf_detach(&words);
    return true;
}

static bool settle_supervisor(const struct options *o, struct plan *p)
{
    p->supervisor = paths_find_binary(o->bin, "halo-supervisor");
    if (p->supervisor == NULL)
        (void)fprintf(stderr,
                      "halo up: halo-supervisor is not in %s; build or install it, or name its "
                      "directory with --bin\n",
                      o->bin != NULL ? o->bin : "the directory of halo");
    return p->supervisor != NULL;
}

static void print_use(const char *run, const char *url, bool is_detached)
{
    bool is_default = strcmp(run, opt_default_run_dir()) == 0;
    const char *flag = is_default ? "" : " --run ";
    const char *dir = is_default ? "" : run;
    (void)printf("\nHalo is ready.\n"
                 "  %s/v1   base URL for OpenAI clients\n"
                 "  halo chat%s%s   talk to it here\n"
                 "  halo status%s%s   halo logs%s%s   halo doctor%s%s\n",
                 url, flag, dir, flag, dir, flag, dir, flag, dir);
    if (is_detached)
        (void)printf("  halo down%s%s   stop it\n", flag, dir);
    else
        (void)printf("  Ctrl-C stops it\n");
}

/* ---- a stack that runs already ----------------------------------------------------------------- */

/* Names the first option that is another one than wanted; NULL: all are the same. */
static const char *difference(const struct options *o, const struct plan *p,
                              const struct stack_info *s)
{
    if (strcmp(o->http, s->http) != 0)
        return "--http";
    if (strcmp(p->model, s->model) != 0)
        return "--model";
    if (o->n_engines != s->n_engines)
        return "--engines";
    if (strcmp(p->engine_args, s->engine_args) != 0)
        return "--engine-args";
    if (strcmp(p->gateway_args, s->gateway_args) != 0)
        return o->keys != NULL ? "--keys" : "--gateway-args";
    if (strcmp(o->router_args, s->router_args) != 0)
        return "--router-args";
    if (o->n_candidates != s->n_candidates)
        return "--candidates";
    if (strcmp(o->candidate_args, s->candidate_args) != 0)
        return "--candidate-args";
    return NULL;
}

static int answer_running(const struct options *o, const struct plan *p, const struct stack_info *s)
{
    if (s->is_systemd) {
        (void)fprintf(stderr,
                      "halo up: systemd runs the stack in %s; start it with `systemctl start "
                      "halo.target`, or name another directory with --run\n",
                      p->run);
        return EXIT_FAILURE;
    }
    if (!s->has_facts) {
        (void)fprintf(stderr,
                      "halo up: a stack in %s is just being started or stopped (supervisor pid "
                      "%d); look at `halo status --run %s`\n",
                      p->run, (int)s->pid, p->run);
        return EXIT_FAILURE;
    }
    const char *other = difference(o, p, s);
    if (other != NULL) {
        (void)fprintf(
            stderr,
            "halo up: a stack with another %s runs in %s (%s, model %s, %u engines); stop "
            "it first with `halo down --run %s`, or name another directory with --run\n",
            other, p->run, s->url, s->model, s->n_engines, p->run);
        return EXIT_FAILURE;
    }
    (void)printf("already running (supervisor pid %d)\n", (int)s->pid);
    print_use(p->run, s->url, true);
    return EXIT_SUCCESS;
}

/* ---- a new stack ------------------------------------------------------------------------------- */

enum { PROBE_TIMEOUT_MS = 2000 };

struct start {
    const struct options *options;
    const struct plan *plan;
    char *base; /* of the API; NULL: not known yet */
};

static bool is_serving(void *ctx)
{
    struct start *s = ctx;
    struct api_answer a;
    struct stack_info info;
    if (s->base == NULL) {
        stack_info_read(s->plan->run, &info);
        s->base = info.has_facts ? api_base(info.url) : NULL;
        stack_info_fini(&info);
    }
    if (s->base == NULL)
        return false;
    api_get(s->base, "/readyz", PROBE_TIMEOUT_MS, &a);
    buf_fini(&a.body);
    return a.status == 200;
}

static void on_ready(void *ctx)
{
    const struct start *s = ctx;
    print_use(s->plan->run, s->base, s->options->is_detached);
}

static void push(char **argv, size_t *n, const char *word)
{
    ASSERT(*n < MAX_ARGS);
    argv[(*n)++] = mem_strndup(word, strlen(word));
}

static int start_stack(const struct options *o, const struct plan *p)
{
    char engines[12];
    char candidates[12];
    char *argv[MAX_ARGS + 1] = {NULL};
    size_t n = 0;
    (void)snprintf(engines, sizeof engines, "%u", o->n_engines);
    (void)snprintf(candidates, sizeof candidates, "%u", o->n_candidates);
    const char *words[] = {"halo-supervisor", "--run",         p->run,
                           "--model",         p->model,        "--http",
                           o->http,           "--engines",     engines,
                           "--engine-args",   p->engine_args,  "--gateway-args",
                           p->gateway_args,   "--router-args", o->router_args,
                           "--candidates",    candidates,      "--candidate-args",
                           o->candidate_args, "--log-level",   o->log_level,
                           "--sandbox",       o->sandbox};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        push(argv, &n, words[i]);
    if (o->bin != NULL) {
        push(argv, &n, "--bin");
        push(argv, &n, o->bin);
    }
    if (o->candidate_bin != NULL) {
        push(argv, &n, "--candidate-bin");
        push(argv, &n, o->candidate_bin);
    }
    struct start start = {o, p, NULL};
    struct launch_config config = {.run = p->run,
                                   .supervisor = p->supervisor,
                                   .argv = argv,
                                   .is_detached = o->is_detached,
                                   .is_serving = is_serving,
                                   .ready = on_ready,
                                   .ctx = &start};
    api_init();
    (void)printf("halo %s: starting in %s\n", opt_version(), p->run);
    (void)fflush(stdout);
    int rc = launch_run(&config);
    api_fini();
    free(start.base);
    for (size_t i = 0; i < n; i++)
        free(argv[i]);
    return rc;
}

int verb_up(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo up",
        .summary = "Starts a stack: router, tokenizer, engines and gateway, each when the one "
                   "before is ready.",
        .example = "halo up --detach --http 127.0.0.1:8181 --run /tmp/second",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    struct plan p = {0};
    struct stack_info info = {0};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    rc = EXIT_FAILURE;
    settle_engine_args(&o, &p);
    if (settle_run(&o, &p) && settle_model(&o, &p) && settle_keys(&o, &p) &&
        settle_supervisor(&o, &p)) {
        stack_info_read(p.run, &info);
        rc = info.pid > 0 ? answer_running(&o, &p, &info) : start_stack(&o, &p);
    }
    stack_info_fini(&info);
    free(p.supervisor);
    free(p.engine_args);
    free(p.gateway_args);
    return rc;
}
