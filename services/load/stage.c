/* SPDX-License-Identifier: MIT */
#include "services/load/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/h1b.h"
#include "common/mem.h"
#include "common/model_config.h"
#include "common/paths.h"
#include "services/load/probe.h"

enum {
    START_MS = 60000, /* a large model takes its time to be loaded */
    READY_MS = 10000,
    TURN_MS = 20,
    SUPERVISED_TURN_MS = 1, /* starts are timed */
    FAKE_VOCAB = 32000,
    FAKE_SEQS = 65536, /* the most that a router believes of an engine */
};

static bool fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "halo-load: %s: %s\n", what, why);
    return false;
}

static bool check(const char *what, enum err e)
{
    return e == ERR_OK || fail(what, err_text(e));
}

/* ---- HTTP -------------------------------------------------------------------------------------- */

/* The model that the requests name. */
static bool choose_model(struct stage_world *w, const struct options *o, const char *where)
{
    char why[300];
    if (o->model != NULL) {
        (void)snprintf(w->model, sizeof w->model, "%s", o->model);
        return true;
    }
    return probe_model(w->loop, &w->url, buf_str(&o->headers).ptr, w->model, sizeof w->model, why,
                       sizeof why) ||
           fail(where, why);
}

static bool open_http(struct stage_world *w, const struct options *o)
{
    w->ask = (struct ask_config){
        .model = w->model,
        .base = w->url.base,
        .host = w->url.host,
        .headers = buf_str(&o->headers).ptr,
        .members = buf_str(&o->members).ptr,
        .does_keep_alive = o->does_keep_alive,
    };
    if (!check("epoll", http_new(w->loop, &w->url, &w->ask, &w->http)))
        return false;
    w->target = http_target(w->http);
    return true;
}

static bool open_stack(struct stage_world *w, const struct options *o)
{
    char why[300];
    if (!url_resolve(o->url, &w->url, why, sizeof why))
        return fail("--url", why);
    if (o->run != NULL && !processes_add_stack(&w->processes, w->loop, o->run))
        return fail(o->run, "no supervisor answers there; leave --run out, or start one: halo up");
    return choose_model(w, o, o->url) && open_http(w, o);
}

/* ---- processes of our own ---------------------------------------------------------------------- */

static bool start(struct stage_world *w, const char *service, const char *const *args,
                  const char *more)
{
    return children_start(&w->children, service, args, more, &w->processes);
}

static bool is_fake_up(const struct stage_world *w)
{
    return w->fake == NULL || fake_is_up(w->fake);
}

static bool are_ends_ready(const struct stage_world *w)
{
    return w->ends == NULL || ends_is_ready(w->ends);
}

/* Until the processes have found their neighbours. */
static bool await(struct stage_world *w, bool (*is_so)(const struct stage_world *w))
{
    uint64_t end = clock_now_ms() + START_MS;
    while (!is_so(w)) {
        if (loop_is_stopping(w->loop) || !children_are_alive(&w->children))
            return false;
        if (clock_now_ms() > end)
            return fail("start", "the measured process does not get ready");
        loop_turn(w->loop, TURN_MS);
    }
    return true;
}

static bool open_fake(struct stage_world *w, const struct options *o, enum fake_kind kind)
{
    const struct fake_config config = {
        .loop = w->loop,
        .run = w->children.run,
        .kind = kind,
        .token_rate = o->token_rate,
        .n_engines = o->n_fake_engines,
        .max_seqs = FAKE_SEQS,
        .model = w->model,
        .hash = w->hash,
        .vocab = w->vocab,
    };
    return check("fake neighbour", fake_new(&config, &w->fake));
}

static bool open_ends(struct stage_world *w, const struct options *o, enum ends_kind kind)
{
    const struct ends_config config = {
        .loop = w->loop,
        .run = w->children.run,
        .kind = kind,
        .temperature = (float)o->temperature,
        .does_ignore_eos = o->does_ignore_eos,
    };
    if (!check("neighbour", ends_new(&config, &w->ends)))
        return false;
    w->target = ends_target(w->ends);
    return true;
}

static void use_fake_model(struct stage_world *w)
{
    (void)snprintf(w->model, sizeof w->model, "%s", FAKE_MODEL);
    (void)snprintf(w->hash, sizeof w->hash, "%s", FAKE_HASH);
    w->vocab = FAKE_VOCAB;
}

/* Name, hash and vocabulary of the model file. */
static bool use_model_file(struct stage_world *w, const struct options *o)
{
    char why[400] = "it has no configuration";
    struct h1b *file = NULL;
    struct model_config config;
    w->model_file = o->model_file != NULL ? mem_strndup(o->model_file, strlen(o->model_file))
                                          : paths_find_model();
    if (w->model_file == NULL)
        return fail("--model-file", "the demo model is not beside this program; name a file");
    if (h1b_open(w->model_file, H1B_VERIFY_TABLE, why, sizeof why, &file) != ERR_OK)
        return fail("--model-file", why);
    const struct h1b_section *s = h1b_find(file, "config");
    bool ok = s != NULL &&
              model_config_parse(s->data, (size_t)s->size, why, sizeof why, &config) == ERR_OK;
    if (ok) {
        (void)snprintf(w->model, sizeof w->model, "%s", config.name);
        (void)snprintf(w->hash, sizeof w->hash, "%s", h1b_hash(file));
        w->vocab = config.n_vocab;
    }
    h1b_close(file);
    return ok || fail(w->model_file, why);
}

/* A gateway that has started listens before it dials, and says where. */
static bool find_gateway(struct stage_world *w)
{
    char port[16];
    char text[64];
    char why[300];
    if (!children_find(&w->children, "gateway", "ev=listening host=127.0.0.1 port=", port,
                       sizeof port))
        return fail("halo-gateway", "does not say where it listens");
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%s", port);
    if (!url_resolve(text, &w->url, why, sizeof why))
        return fail("halo-gateway", why);
    return probe_wait_ready(w->loop, &w->url, READY_MS) ||
           fail("halo-gateway", "does not get ready");
}

/* The same on its Unix socket. */
static bool find_unix_gateway(struct stage_world *w, const char *path)
{
    char text[128];
    char why[300];
    (void)snprintf(text, sizeof text, "unix:%s", path);
    if (!url_resolve(text, &w->url, why, sizeof why))
        return fail("halo-gateway", why);
    return probe_wait_ready(w->loop, &w->url, READY_MS) ||
           fail("halo-gateway", "does not get ready");
}

static const char *const GATEWAY_ARGS[] = {"--listen", "127.0.0.1:0", "--max-streams", "65536",
                                           NULL};
static const char *const ROUTER_ARGS[] = {"--queue-limit", "65536", NULL};

static bool open_gateway(struct stage_world *w, const struct options *o)
{
    use_fake_model(w);
    return open_fake(w, o, FAKE_TOKENIZER) && start(w, "gateway", GATEWAY_ARGS, o->child_args) &&
           await(w, is_fake_up) && find_gateway(w) && open_http(w, o);
}

static bool open_tokenizer(struct stage_world *w, const struct options *o)
{
    if (!use_model_file(w, o))
        return false;
    const char *const args[] = {"--model", w->model_file, NULL};
    return open_fake(w, o, FAKE_ROUTER) && start(w, "tokenizer", args, o->child_args) &&
           open_ends(w, o, ENDS_GATEWAY) && await(w, are_ends_ready);
}

static bool open_router(struct stage_world *w, const struct options *o)
{
    use_fake_model(w);
    return start(w, "router", ROUTER_ARGS, o->child_args) && open_fake(w, o, FAKE_ENGINES) &&
           await(w, is_fake_up) && open_ends(w, o, ENDS_TOKENIZER) && await(w, are_ends_ready);
}

static bool open_engine(struct stage_world *w, const struct options *o)
{
    if (!use_model_file(w, o))
        return false;
    const char *const args[] = {"--model", w->model_file, NULL};
    return open_ends(w, o, ENDS_ROUTER) && start(w, "engine", args, o->child_args) &&
           await(w, are_ends_ready);
}

/* ---- all --------------------------------------------------------------------------------------- */

bool stage_open(struct stage_world *w, struct loop *loop, const struct options *o)
{
    static bool (*const OPEN[])(struct stage_world *, const struct options *) = {
        [STAGE_STACK] = open_stack,         [STAGE_GATEWAY] = open_gateway,
        [STAGE_TOKENIZER] = open_tokenizer, [STAGE_ROUTER] = open_router,
        [STAGE_ENGINE] = open_engine,
    };
    *w = (struct stage_world){.loop = loop};
    if (o->stage != STAGE_STACK && !children_init(&w->children, o->bin))
        return false;
    return OPEN[o->stage](w, o);
}

bool stage_open_own_stack(struct stage_world *w, struct loop *loop, const struct options *o)
{
    *w = (struct stage_world){.loop = loop};
    if (!children_init(&w->children, o->bin) || !use_model_file(w, o))
        return false;
    const char *const model[] = {"--model", w->model_file, NULL};
    char path[96];
    (void)snprintf(path, sizeof path, "%s/gateway.http", w->children.run);
    const char *const gateway[] = {"--listen",
                                   o->is_over_tcp ? "127.0.0.1:0" : "none",
                                   "--unix",
                                   path,
                                   "--max-streams",
                                   "65536",
                                   NULL};
    if (!start(w, "router", ROUTER_ARGS, NULL) || !start(w, "tokenizer", model, NULL) ||
        !start(w, "engine", model, o->child_args) || !start(w, "gateway", gateway, NULL))
        return false;
    char port[16];
    uint64_t end = clock_now_ms() + START_MS;
    while (!children_find(&w->children, "gateway", "ev=serving", port, sizeof port)) {
        if (loop_is_stopping(loop) || !children_are_alive(&w->children))
            return false;
        if (clock_now_ms() > end)
            return fail("start", "the stack does not get ready");
        loop_turn(loop, TURN_MS);
    }
    return (o->is_over_tcp ? find_gateway(w) : find_unix_gateway(w, path)) && open_http(w, o);
}

/* What the supervisor says when all are ready. */
static bool await_supervised(struct stage_world *w)
{
    static const char MARK[] = "ev=ready url=";
    char text[64];
    char why[300];
    uint64_t end = clock_now_ms() + START_MS;
    while (!children_find(&w->children, "supervisor", MARK, text, sizeof text)) {
        if (loop_is_stopping(w->loop) || !children_are_alive(&w->children))
            return false;
        if (clock_now_ms() > end)
            return fail("start", "the stack does not get ready");
        loop_turn(w->loop, SUPERVISED_TURN_MS);
    }
    return url_resolve(text, &w->url, why, sizeof why) || fail("halo-supervisor", why);
}

bool stage_open_supervised(struct stage_world *w, struct loop *loop, const struct options *o)
{
    *w = (struct stage_world){.loop = loop};
    if (!children_init(&w->children, o->bin) || !use_model_file(w, o))
        return false;
    const char *const args[] = {"--model", w->model_file, "--http", "127.0.0.1:0", NULL};
    return start(w, "supervisor", args, NULL) && await_supervised(w) && open_http(w, o);
}

void stage_close(struct stage_world *w)
{
    http_free(w->http);
    ends_free(w->ends);
    fake_free(w->fake);
    children_fini(&w->children);
    free(w->model_file);
}
