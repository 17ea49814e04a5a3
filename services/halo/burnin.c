/* SPDX-License-Identifier: MIT */
/* halo burnin: what the comparisons of the stable and the candidate lane came to. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/burnin_log.h"
#include "services/halo/lanes.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum { WHY_CAP = 512, SLICES = 10, HASH_SHOWN = 12, EXIT_DIFFERENT = 1, EXIT_NOTHING = 2 };

struct options {
    const char *run;
    const char *log;
    uint32_t top;
    bool is_json;
    bool has_all;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(struct options, log, "log", NULL, "FILE",
                "burn-in log to read; default: the one that the router of the stack writes"),
    OPT_U32_ROW(struct options, top, "top", "10", 1, 100000, "N", "drift, recent: lines to show"),
    OPT_BOOL_ROW(
        struct options, has_all, "all", "false",
        "all rows; default: those of the two builds and models that the last row compares"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print JSON"),
};

/* What one call looks at. */
struct view {
    const struct options *o;
    const char *operand; /* of since */
    struct burnin_log log;
    const struct burnin_row *like; /* rows of its builds and models; NULL: all */
    char since[32]; /* rows at or after this time; "": all */
};

static bool takes(void *ctx, const struct burnin_row *row)
{
    const struct view *v = ctx;
    for (int i = 0; v->like != NULL && i < BURNIN_SIDES; i++) {
        if (strcmp(row->sides[i].identity, v->like->sides[i].identity) != 0)
            return false;
    }
    return strcmp(row->time, v->since) >= 0;
}

static int exit_of(const struct burnin_sums *s)
{
    return s->n_rows == 0                          ? EXIT_NOTHING
           : s->verdicts[BURNIN_EXACT] < s->n_rows ? EXIT_DIFFERENT
                                                   : EXIT_SUCCESS;
}

/* ---- summary ----------------------------------------------------------------------------------- */

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *sums_json(const struct burnin_sums *s)
{
    json_t *o = json_pack("{s:I, s:f, s:s?, s:s?}", "rounds", (json_int_t)s->n_rows, "exact_share",
                          s->exact, "from", s->from, "to", s->to);
    for (int i = 0; i < BURNIN_VERDICTS; i++)
        ASSERT(json_object_set_new(o, BURNIN_VERDICT_NAMES[i],
                                   json_integer((json_int_t)s->verdicts[i])) == 0);
    ASSERT(
        json_object_set_new(o, "stable_token_ms", real_or_null(s->token_ms[BURNIN_STABLE])) == 0 &&
        json_object_set_new(o, "candidate_token_ms", real_or_null(s->token_ms[BURNIN_CANDIDATE])) ==
            0 &&
        json_object_set_new(o, "stable_first_ms", real_or_null(s->first_ms[BURNIN_STABLE])) == 0 &&
        json_object_set_new(o, "candidate_first_ms", real_or_null(s->first_ms[BURNIN_CANDIDATE])) ==
            0);
    return o;
}

static void print_json(json_t *take_o)
{
    (void)json_dumpf(take_o, stdout, JSON_INDENT(1));
    (void)printf("\n");
    json_decref(take_o);
}

static void print_ms(const char *what, const double ms[BURNIN_SIDES])
{
    (void)printf("%-22s %9.3f ms stable   %9.3f ms candidate", what, ms[BURNIN_STABLE],
                 ms[BURNIN_CANDIDATE]);
    if (ms[BURNIN_STABLE] > 0 && isfinite(ms[BURNIN_CANDIDATE]))
        (void)printf("   (%+.1f %%)", (ms[BURNIN_CANDIDATE] / ms[BURNIN_STABLE] - 1) * 100);
    (void)printf("\n");
}

static void print_sums(const struct view *v, const struct burnin_sums *s)
{
    size_t n_failed = s->verdicts[BURNIN_EMPTY] + s->verdicts[BURNIN_TRUNCATED];
    if (s->n_rows == 0) {
        (void)printf("no replies were compared%s%s\n", v->since[0] != '\0' ? " since " : "",
                     v->since);
        return;
    }
    (void)printf("%s%.2f %% exact%s: %zu of %zu replies, %s to %s\n",
                 print_color(s->verdicts[BURNIN_EXACT] == s->n_rows ? COLOR_GOOD : COLOR_BAD),
                 100 * s->exact, print_color(COLOR_OFF), s->verdicts[BURNIN_EXACT], s->n_rows,
                 s->from, s->to);
    (void)printf("%zu different, %zu not comparable (%zu empty, %zu truncated)\n",
                 s->verdicts[BURNIN_DIFFERENT], n_failed, s->verdicts[BURNIN_EMPTY],
                 s->verdicts[BURNIN_TRUNCATED]);
    if (v->like != NULL)
        (void)printf("stable     %s\ncandidate  %s\n", v->like->sides[BURNIN_STABLE].identity,
                     v->like->sides[BURNIN_CANDIDATE].identity);
    print_ms("median time a token", s->token_ms);
    print_ms("median first token", s->first_ms);
    if (v->log.n_broken > 0)
        (void)printf("%zu lines of the log are no rows\n", v->log.n_broken);
}

static int summary(struct view *v)
{
    struct burnin_sums sums = burnin_sum(&v->log, takes, v);
    if (v->o->is_json)
        print_json(sums_json(&sums));
    else
        print_sums(v, &sums);
    return exit_of(&sums);
}

/* ---- rows -------------------------------------------------------------------------------------- */

static json_t *row_json(const struct burnin_row *row)
{
    json_t *o = json_pack("{s:s, s:s, s:s}", "time", row->time, "prompt_sha256", row->prompt,
                          "verdict", BURNIN_VERDICT_NAMES[row->verdict]);
    static const char *const NAMES[BURNIN_SIDES] = {"stable", "candidate"};
    if (row->verdict == BURNIN_DIFFERENT)
        ASSERT(json_object_set_new(o, "first_difference", json_integer(row->difference)) == 0);
    for (int i = 0; i < BURNIN_SIDES; i++) {
        const struct burnin_side *s = &row->sides[i];
        json_t *side = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "engine", s->engine,
                                 "finish", s->finish, "tokens", (json_int_t)s->n_tokens, "first_ms",
                                 real_or_null(s->first_ms), "total_ms", real_or_null(s->total_ms),
                                 "token", s->has_token ? json_integer(s->token) : json_null(),
                                 "margin", real_or_null(s->margin));
        ASSERT(json_object_set_new(o, NAMES[i], side) == 0);
    }
    return o;
}

static void print_margin(const struct burnin_side *s)
{
    char token[16] = "end";
    if (s->has_token)
        (void)snprintf(token, sizeof token, "%u", s->token);
    (void)printf(" %8s", token);
    if (isfinite(s->margin))
        (void)printf(" %9.6f", s->margin);
    else
        (void)printf(" %9s", "-");
}

static void print_row(const struct burnin_row *row)
{
    (void)printf("%-24s %-9s %.*s %4u/%-4u %9.1f/%-9.1f", row->time,
                 BURNIN_VERDICT_NAMES[row->verdict], HASH_SHOWN, row->prompt,
                 row->sides[BURNIN_STABLE].n_tokens, row->sides[BURNIN_CANDIDATE].n_tokens,
                 row->sides[BURNIN_STABLE].total_ms, row->sides[BURNIN_CANDIDATE].total_ms);
    if (row->verdict == BURNIN_DIFFERENT) {
        (void)printf(" at %-5u", row->difference);
        print_margin(&row->sides[BURNIN_STABLE]);
        print_margin(&row->sides[BURNIN_CANDIDATE]);
    } else if (row->verdict == BURNIN_TRUNCATED) {
        (void)printf(" %s/%s", row->sides[BURNIN_STABLE].finish,
                     row->sides[BURNIN_CANDIDATE].finish);
    }
    (void)printf("\n");
}

static void print_head(void)
{
    (void)printf("%-24s %-9s %-*s %9s %19s %s\n", "TIME", "VERDICT", HASH_SHOWN, "PROMPT", "TOKENS",
                 "MS", "FIRST DIFFERENCE (TOKEN, MARGIN: STABLE, CANDIDATE)");
}

/* Prints the last rows that the view takes and that are not exact, if so wanted; newest last. */
static void print_last(struct view *v, bool differing_only)
{
    json_t *all = json_array();
    size_t *at = mem_zalloc(v->log.n_rows + 1, sizeof *at);
    size_t n = 0;
    for (size_t i = 0; i < v->log.n_rows; i++) {
        const struct burnin_row *row = &v->log.rows[i];
        if (takes(v, row) && (!differing_only || row->verdict != BURNIN_EXACT))
            at[n++] = i;
    }
    if (!v->o->is_json && n > 0)
        print_head();
    for (size_t i = n > v->o->top ? n - v->o->top : 0; i < n; i++) {
        const struct burnin_row *row = &v->log.rows[at[i]];
        if (v->o->is_json)
            ASSERT(json_array_append_new(all, row_json(row)) == 0);
        else
            print_row(row);
    }
    free(at);
    if (v->o->is_json)
        print_json(all);
    else
        json_decref(all);
}

static int recent(struct view *v)
{
    struct burnin_sums sums = burnin_sum(&v->log, takes, v);
    print_last(v, false);
    if (!v->o->is_json && sums.n_rows == 0)
        print_sums(v, &sums);
    return exit_of(&sums);
}

/* ---- drift: whether replies come apart, over time or at certain prompts -------------------------- */

struct slice {
    struct view *v;
    size_t i; /* of the rows that the view takes */
    size_t first;
    size_t end;
};

static bool slice_takes(void *ctx, const struct burnin_row *row)
{
    struct slice *s = ctx;
    if (!takes(s->v, row))
        return false;
    size_t i = s->i++;
    return i >= s->first && i < s->end;
}

static int drift(struct view *v)
{
    struct burnin_sums sums = burnin_sum(&v->log, takes, v);
    if (v->o->is_json) {
        print_last(v, true);
        return exit_of(&sums);
    }
    print_sums(v, &sums);
    size_t n_slices = sums.n_rows < SLICES ? sums.n_rows : SLICES;
    if (n_slices > 0)
        (void)printf("\nexact, from the oldest to the newest tenth:");
    for (size_t i = 0; i < n_slices; i++) {
        struct slice s = {
            .v = v, .first = sums.n_rows * i / n_slices, .end = sums.n_rows * (i + 1) / n_slices};
        (void)printf(" %.1f %%", 100 * burnin_sum(&v->log, slice_takes, &s).exact);
    }
    if (n_slices > 0)
        (void)printf("\n");
    if (sums.verdicts[BURNIN_EXACT] < sums.n_rows) {
        (void)printf("\n");
        print_last(v, true);
    }
    return exit_of(&sums);
}

/* ---- since ------------------------------------------------------------------------------------- */

/* "90s", "30m", "2h", "7d" before now; false if it is not of that form. */
static bool parse_ago(const char *text, char since[32])
{
    static const struct {
        char letter;
        uint64_t seconds;
    } UNITS[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || end[0] == '\0' || end[1] != '\0' || n > UINT32_MAX)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(UNITS); i++) {
        if (UNITS[i].letter != end[0])
            continue;
        uint64_t now = clock_unix_ms() / 1000;
        uint64_t ago = n * UNITS[i].seconds;
        time_t t = (time_t)(now > ago ? now - ago : 0);
        struct tm tm;
        (void)strftime(since, 32, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
        return true;
    }
    return false;
}

static int since(struct view *v)
{
    struct tm tm = {0};
    const char *rest = strptime(v->operand, "%Y-%m-%d", &tm);
    bool is_time =
        rest != NULL && (rest[0] == '\0' || rest[0] == 'T') && strlen(v->operand) < sizeof v->since;
    if (is_time) {
        (void)snprintf(v->since, sizeof v->since, "%s", v->operand);
    } else if (!parse_ago(v->operand, v->since)) {
        (void)fprintf(stderr,
                      "halo burnin: '%s' is no time; expected 30m, 2h or 7d ago, or "
                      "2026-01-31T12:00:00 (UTC)\n",
                      v->operand);
        return EXIT_BAD_USAGE;
    }
    return summary(v);
}

/* ---- the verb ---------------------------------------------------------------------------------- */

struct action {
    const char *name;
    bool has_operand;
    int (*run)(struct view *v);
};

static const struct action ACTIONS[] = {{"summary", false, summary},
                                        {"drift", false, drift},
                                        {"recent", false, recent},
                                        {"since", true, since}};

static int run(const struct options *o, const struct action *a, const char *operand)
{
    char why[WHY_CAP];
    struct view v = {.o = o, .operand = operand};
    char *path = o->log != NULL
                     ? mem_strndup(o->log, strlen(o->log))
                     : lanes_log_path(o->run != NULL ? o->run : stack_info_default_run());
    enum err e = burnin_log_read(path, why, sizeof why, &v.log);
    free(path);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "halo burnin: %s%s\n", why,
                      e == ERR_NOT_FOUND
                          ? "; nothing was compared yet: start an engine with --lane 1 and the "
                            "router with --shadow-share, or `halo lanes share PERCENT`"
                          : "");
        return EXIT_NOTHING;
    }
    if (!o->has_all && v.log.n_rows > 0)
        v.like = &v.log.rows[v.log.n_rows - 1];
    int rc = a->run(&v);
    burnin_log_fini(&v.log);
    return rc;
}

int verb_burnin(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo burnin",
        .summary = "Shows what comparing the replies of the candidate lane with those of the "
                   "stable lane came to. Exit status: 0 all are exact, 1 not all, 2 none was "
                   "compared.",
        .operands = "[summary | drift | recent | since TIME]",
        .example = "halo burnin since 24h",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int at;
    int rc;
    if (!opt_parse(&program, argc, argv, &at, &rc))
        return rc;
    if (at == argc)
        return run(&o, &ACTIONS[0], NULL);
    for (size_t i = 0; i < ARRAY_LEN(ACTIONS); i++) {
        const struct action *a = &ACTIONS[i];
        if (strcmp(argv[at], a->name) == 0 && argc - at == 1 + a->has_operand)
            return run(&o, a, a->has_operand ? argv[at + 1] : NULL);
    }
    (void)fprintf(stderr, "halo burnin: expected summary, drift, recent or since TIME; see halo "
                          "burnin --help\n");
    return EXIT_BAD_USAGE;
}
