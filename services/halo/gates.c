/* SPDX-License-Identifier: MIT */
#include "services/halo/gates.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "services/halo/burnin_log.h"
#include "services/halo/engine_list.h"
#include "services/halo/lanes.h"
#include "services/halo/process.h"

enum { WHY_CAP = 256, PATH_CAP = 4096 };

static struct gate *add(struct gates *g, const char *name)
{
    ASSERT(g->n < GATES_MAX);
    struct gate *gate = &g->list[g->n++];
    *gate = (struct gate){.name = name};
    return gate;
}

__attribute__((format(printf, 2, 3))) static void say(char text[GATE_TEXT_CAP], const char *fmt,
                                                      ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, GATE_TEXT_CAP, fmt, ap);
    va_end(ap);
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

/* ---- the rows that count ----------------------------------------------------------------------- */

struct wanted {
    char *identities
        [BURNIN_SIDES]; /* of what serves now; NULL: nothing does, or different things do */
};

/* As burnin_log.h has it; NULL unless all engines agree. */
static char *identity_of(const json_t *engines)
{
    struct buf all = {0};
    size_t i;
    json_t *e;
    json_array_foreach(engines, i, e)
    {
        struct buf one = {0};
        buf_printf(&one, "%s %s %s", text_of(e, "model_hash"), text_of(e, "build"),
                   text_of(e, "backend"));
        bool is_other = i > 0 && strcmp(one.ptr, all.ptr) != 0;
        if (i == 0)
            buf_add_str(&all, buf_str(&one));
        buf_fini(&one);
        if (is_other) {
            buf_fini(&all);
            return NULL;
        }
    }
    return json_array_size(engines) > 0 ? buf_detach(&all) : NULL;
}

static bool takes(void *ctx, const struct burnin_row *row)
{
    const struct wanted *w = ctx;
    for (int i = 0; i < BURNIN_SIDES; i++) {
        if (w->identities[i] == NULL || strcmp(row->sides[i].identity, w->identities[i]) != 0)
            return false;
    }
    return true;
}

static void judge_log(const json_t *lanes, struct wanted *w, struct gates *g)
{
    const json_t *limits = json_object_get(lanes, "gates");
    char why[WHY_CAP] = "";
    struct burnin_log log = {0};
    const char *path = text_of(json_object_get(lanes, "burnin"), "log");
    enum err e = burnin_log_read(path, why, sizeof why, &log);
    struct burnin_sums s = burnin_sum(&log, takes, w);
    struct gate *gate = add(g, "rounds");
    gate->is_open = (long long)s.n_rows >= number(limits, "rounds");
    if (e != ERR_OK)
        say(gate->found, "%.200s", why);
    else
        say(gate->found, "%zu compared replies of these builds, expected %lld", s.n_rows,
            number(limits, "rounds"));
    say(gate->remedy, "wait, or raise the share: halo lanes share 100");

    gate = add(g, "exact");
    gate->is_open = number(limits, "exact") == 0 ||
                    (s.n_rows > 0 && s.exact * 100 >= (double)number(limits, "exact"));
    say(gate->found, "%.3f %% exact, expected %lld", 100 * s.exact, number(limits, "exact"));
    say(gate->remedy, "halo burnin drift shows the differences");

    gate = add(g, "latency");
    double gap = 100 * (s.token_ms[BURNIN_CANDIDATE] / s.token_ms[BURNIN_STABLE] - 1);
    gate->is_open = isfinite(gap) && gap <= (double)number(limits, "latency");
    if (number(limits, "rounds") == 0 && s.n_rows == 0)
        gate->is_open = true; /* nothing was to be compared */
    say(gate->found, "%+.1f %% for a token (%.3f ms, stable %.3f ms), expected at most %+lld %%",
        gap, s.token_ms[BURNIN_CANDIDATE], s.token_ms[BURNIN_STABLE], number(limits, "latency"));
    say(gate->remedy, "give the candidate what the stable engines have: threads, memory, a quiet "
                      "machine");
    burnin_log_fini(&log);
}

/* ---- uptime ------------------------------------------------------------------------------------ */

static void judge_uptime(const json_t *limits, const json_t *candidates, struct gates *g)
{
    struct gate *gate = add(g, "uptime");
    long long least = -1;
    size_t i;
    json_t *e;
    json_array_foreach(candidates, i, e)
    {
        if (least < 0 || number(e, "up_s") < least)
            least = number(e, "up_s");
    }
    gate->is_open = least >= number(limits, "uptime_s");
    if (least < 0)
        say(gate->found, "no engine of /v2 is in service");
    else
        say(gate->found, "the youngest engine of /v2 is up for %lld s, expected %lld", least,
            number(limits, "uptime_s"));
    say(gate->remedy, least < 0 ? "start one with --lane 1" : "wait");
}

/* ---- perplexity -------------------------------------------------------------------------------- */

/* The `halo` of the build that the engine runs: beside it, or in its folder of a build tree. */
static char *halo_of(const json_t *engine)
{
    char link[64];
    char exe[PATH_CAP];
    struct buf path = {0};
    (void)snprintf(link, sizeof link, "/proc/%lld/exe", number(engine, "pid"));
    ssize_t n = readlink(link, exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    buf_printf(&path, "%s/halo", exe);
    if (access(path.ptr, X_OK) == 0)
        return buf_detach(&path);
    buf_reset(&path);
    buf_printf(&path, "%s/../halo/halo", exe);
    if (access(path.ptr, X_OK) == 0)
        return buf_detach(&path);
    buf_fini(&path);
    return NULL;
}

/* The first that runs here: others' files are not. */
static const json_t *local_of(const json_t *engines)
{
    size_t i;
    const json_t *e;
    json_array_foreach(engines, i, e)
    {
        if (engine_list_address(e)[0] == '\0')
            return e;
    }
    return NULL;
}

/* NAN if it cannot be measured; `why` gets one line then. */
static double measure_ppl(const json_t *engines, const char *text, char why[WHY_CAP])
{
    const json_t *engine = local_of(engines);
    char *halo = engine != NULL ? halo_of(engine) : NULL;
    const char *model = text_of(engine, "model_file");
    bool is_int8 = strstr(text_of(engine, "backend"), "kv-int8") != NULL;
    struct buf out = {0};
    double ppl = NAN;
    if (halo == NULL || model[0] == '\0') {
        (void)snprintf(why, WHY_CAP, "the lane has no engine on this machine to measure");
        free(halo);
        return NAN;
    }
    const char *words[] = {"ppl", "--json", "--model", model, "--kv-type", is_int8 ? "int8" : "f16",
                           text,  NULL};
    if (process_capture(halo, words, &out)) {
        const char *begin = strchr(buf_str(&out).ptr, '{'); /* behind what it said on stderr */
        json_t *o = begin != NULL ? json_loads(begin, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
        const json_t *v = json_object_get(o, "ppl");
        if (json_is_number(v))
            ppl = json_number_value(v);
        json_decref(o);
    }
    if (!isfinite(ppl))
        (void)snprintf(why, WHY_CAP, "halo ppl --model %.120s %.80s failed", model, text);
    buf_fini(&out);
    free(halo);
    return ppl;
}

static void judge_ppl(const json_t *limits, const json_t *engines[BURNIN_SIDES], struct gates *g)
{
    const char *text = text_of(limits, "ppl_text");
    char why[WHY_CAP] = "";
    double ppl[BURNIN_SIDES];
    if (text[0] == '\0')
        return;
    struct gate *gate = add(g, "perplexity");
    for (int i = 0; i < BURNIN_SIDES; i++)
        ppl[i] = measure_ppl(engines[i], text, why);
    double most = ppl[BURNIN_STABLE] * (1 + (double)number(limits, "ppl") / 1000);
    gate->is_open = isfinite(most) && ppl[BURNIN_CANDIDATE] <= most;
    if (why[0] != '\0')
        say(gate->found, "%.200s", why);
    else
        say(gate->found, "%.4f, stable %.4f, expected at most %.4f", ppl[BURNIN_CANDIDATE],
            ppl[BURNIN_STABLE], most);
    say(gate->remedy, "see the text and the models with halo ppl and halo inspect");
}

/* ---- all --------------------------------------------------------------------------------------- */

void gates_judge(const char *run, const json_t *lanes, struct gates *ret_gates)
{
    const json_t *limits = json_object_get(lanes, "gates");
    json_t *engines[BURNIN_SIDES] = {lanes_engines(run, 0), lanes_engines(run, 1)};
    struct wanted w;
    *ret_gates = (struct gates){0};
    for (int i = 0; i < BURNIN_SIDES; i++)
        w.identities[i] = identity_of(engines[i]);
    judge_log(lanes, &w, ret_gates);
    judge_uptime(limits, engines[BURNIN_CANDIDATE], ret_gates);
    judge_ppl(limits, (const json_t *[]){engines[0], engines[1]}, ret_gates);
    for (int i = 0; i < BURNIN_SIDES; i++) {
        free(w.identities[i]);
        json_decref(engines[i]);
    }
}

bool gates_are_open(const struct gates *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (!g->list[i].is_open)
            return false;
    }
    return true;
}
