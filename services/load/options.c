/* SPDX-License-Identifier: MIT */
#include "services/load/options.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/opt.h"

static const char *const STAGES[] = {"stack", "gateway", "tokenizer", "router", "engine"};

#define STR(field, name, dflt, meta, text)                                                         \
    OPT_STR_ROW(struct options, field, name, dflt, meta, text)
#define U32(field, name, dflt, least, most, text)                                                  \
    OPT_U32_ROW(struct options, field, name, dflt, least, most, "N", text)

static const struct opt TABLE[] = {
    OPT_CHOICE_ROW(struct options, stage_name, "stage", "stack",
                   "stack|gateway|tokenizer|router|engine",
                   "what is measured: a running stack over HTTP, or one process alone, which is "
                   "then started in a run directory of its own between fake neighbours"),
    STR(url, "url", "http://127.0.0.1:8180", "URL",
        "stage stack: http://HOST:PORT or unix:PATH; https is not spoken"),
    STR(run, "run", NULL, "DIR",
        "stage stack: run directory of a supervised stack on this machine; the processor time of "
        "its processes is shown too"),
    STR(rate_text, "rate", "0", "R",
        "open loop: requests per second, sent whether or not replies have come; 0: closed loop"),
    STR(burstiness_text, "burstiness", "1", "SHAPE",
        "of the gaps between arrivals, gamma distributed: 1 is Poisson, less comes in bursts"),
    STR(ramp_text, "ramp", "0", "S", "seconds in which the rate or the concurrency rises from 0"),
    U32(concurrency, "concurrency", "0", 0, 65536,
        "closed loop: requests in flight (16 if not given); open loop: most of them, the time that "
        "others wait for it counts as their latency"),
    OPT_U64_ROW(struct options, n_requests, "requests", "0", 0, UINT64_C(1) << 32, "N",
                "how many to send (100 if neither this nor --duration is given)"),
    STR(duration_text, "duration", "0", "S", "seconds in which requests are sent"),
    STR(drain_text, "drain", "30", "S", "how long replies may still come after that"),
    STR(timeout_text, "timeout", "600", "S", "time for one reply; 0 is no limit"),
    U32(warmup, "warmup", "0", 0, 1000000, "requests sent before, one by one, and not counted"),
    OPT_CHOICE_ROW(struct options, api, "api", "chat", "chat|completions|ids",
                   "chat turns, raw prompts, or raw prompts of token ids; router and engine are "
                   "always given ids"),
    U32(input_len, "input-len", "64", 1, 1000000, "words (or ids) of each question"),
    STR(range_text, "range-ratio", "0", "R", "lengths are drawn from input-len * (1 - R to 1 + R)"),
    U32(prefix_len, "prefix-len", "0", 0, 1000000,
        "words (or ids) before it that requests have in common"),
    U32(n_prefixes, "prefixes", "1", 1, 1000000, "number of such common beginnings"),
    U32(n_turns, "turns", "1", 1, 10000,
        "questions of a conversation; each is sent with all that was said before"),
    STR(prompts_file, "prompts", NULL, "FILE",
        "ask what is in FILE: a JSON object a line with \"prompt\" or \"messages\", and "
        "\"max_tokens\" if wanted; from the beginning again at its end"),
    U32(max_tokens, "max-tokens", "64", 1, 1048576, "most tokens of a reply"),
    OPT_BOOL_ROW(struct options, does_ignore_eos, "ignore-eos", "false",
                 "replies go on to max-tokens whatever the model says"),
    STR(temperature_text, "temperature", "1", "T", "of the sampling; 0 is greedy"),
    U32(vocab, "vocab", "0", 0, 1048576, "ids are drawn below this; 0: of the model file, or 1000"),
    OPT_U64_ROW(
        struct options, seed, "seed", "0", 0, UINT64_MAX, "N",
        "of prompts, arrivals and replies; 0 draws one, so that no run finds the prompts of "
        "the last one cached"),
    STR(model, "model", NULL, "NAME", "model to ask; without it the first that GET /models names"),
    STR(body, "body", NULL, "JSON", "object with further fields of each request"),
    STR(header, "header", NULL, "LINES",
        "further headers, \"name: value\", several with | between; the key for \"authorization: "
        "Bearer\" is taken from $HALO_API_KEY"),
    OPT_BOOL_ROW(struct options, does_keep_alive, "keep-alive", "true",
                 "use connections again; --no-keep-alive opens one for each request"),
    STR(goodput_text, "goodput", NULL, "TERMS",
        "limits in milliseconds that a good request keeps, e.g. ttft:200 tpot:50 e2el:5000"),
    STR(model_file, "model-file", NULL, "FILE",
        "stages tokenizer and engine, --compare-engine: the .h1b file; default: the demo model"),
    STR(bin, "bin", NULL, "DIR", "where the programs of the stack are; default: beside this one"),
    STR(child_args, "child-args", NULL, "ARGS",
        "further arguments for the measured process (with --compare-engine: for the engines), "
        "separated by blanks"),
    U32(token_rate, "token-rate", "0", 0, 100000,
        "stages gateway, tokenizer, router: tokens per second that a fake engine gives each reply; "
        "0: as fast as they are taken"),
    U32(n_fake_engines, "fake-engines", "1", 1, 64, "stage router: number of fake engines"),
    OPT_BOOL_ROW(struct options, does_compare, "compare-engine", "false",
                 "start an engine alone and a whole stack, give both the same requests by turns, "
                 "and print what the stack costs"),
    OPT_CHOICE_ROW(
        struct options, over, "over", "unix", "unix|tcp",
        "--compare-engine: how requests reach the stack; unix is how a proxy on the same "
        "machine does it, and how the engine alone is reached; tcp costs the kernel more"),
    OPT_BOOL_ROW(struct options, does_footprint, "footprint", "false",
                 "start a whole stack and print how soon it answers, and what memory and processor "
                 "time it takes while idle"),
    U32(rounds, "rounds", "3", 1, 100, "turns of --compare-engine"),
    STR(json, "json", NULL, "FILE", "write the results as JSON"),
    STR(histogram, "histogram", NULL, "FILE", "write the latencies' distribution as a table"),
    STR(svg, "svg", NULL, "FILE", "draw latencies and throughput over time"),
};

static const char EXAMPLE[] =
    "halo-load --concurrency 16 --requests 200 --max-tokens 128\n"
    "  halo-load --rate 5 --duration 60 --prefix-len 500 --goodput ttft:200,tpot:50 --svg "
    "load.svg\n"
    "  halo-load --stage gateway --concurrency 1000 --requests 2000 --token-rate 50\n"
    "  halo-load --compare-engine\n"
    "  halo-load --footprint";

static bool complain(const char *option, const char *value, const char *expected)
{
    (void)fprintf(stderr, "halo-load: --%s %s: expected %s\n", option, value, expected);
    return false;
}

/* ---- numbers ----------------------------------------------------------------------------------- */

static bool parse_real(const char *text, double *ret)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return false;
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

static bool real(const char *option, const char *text, double least, double most, double *ret)
{
    char expected[80];
    if (parse_real(text, ret) && *ret >= least && *ret <= most)
        return true;
    (void)snprintf(expected, sizeof expected, "a number from %g to %g", least, most);
    return complain(option, text, expected);
}

static bool parse_numbers(struct options *o)
{
    static const double WEEK_S = 7 * 24 * 3600;
    return real("rate", o->rate_text, 0, 1e6, &o->rate) &&
           real("burstiness", o->burstiness_text, 0.01, 1000, &o->burstiness) &&
           real("ramp", o->ramp_text, 0, WEEK_S, &o->ramp_s) &&
           real("duration", o->duration_text, 0, WEEK_S, &o->duration_s) &&
           real("drain", o->drain_text, 0, WEEK_S, &o->drain_s) &&
           real("timeout", o->timeout_text, 0, WEEK_S, &o->timeout_s) &&
           real("range-ratio", o->range_text, 0, 1, &o->range);
}

/* ---- goodput ----------------------------------------------------------------------------------- */

static bool parse_term(const char *term, struct goodput *g)
{
    static const char EXPECTED[] = "ttft:MS, tpot:MS or e2el:MS, e.g. --goodput ttft:200,tpot:50";
    const struct {
        const char *name;
        double *value;
    } known[] = {{"ttft:", &g->ttft_ms}, {"tpot:", &g->tpot_ms}, {"e2el:", &g->e2el_ms}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i].name);
        if (strncmp(term, known[i].name, n) == 0 && parse_real(term + n, known[i].value) &&
            *known[i].value > 0)
            return true;
    }
    return complain("goodput", term, EXPECTED);
}

static bool parse_terms(const char *text, struct goodput *g)
{
    char terms[256];
    char *rest = terms;
    if (strlen(text) >= sizeof terms)
        return complain("goodput", text, "fewer terms");
    memcpy(terms, text, strlen(text) + 1);
    for (char *t; (t = strsep(&rest, ", ")) != NULL;) {
        if (*t != '\0' && !parse_term(t, g))
            return false;
    }
    return true;
}

/* ---- the request ------------------------------------------------------------------------------- */

static bool parse_body(struct options *o)
{
    if (!real("temperature", o->temperature_text, 0, 2, &o->temperature))
        return false;
    buf_printf(&o->members, ",\"temperature\":%g", o->temperature);
    if (o->does_ignore_eos)
        buf_add_cstr(&o->members, ",\"ignore_eos\":true");
    if (o->body == NULL)
        return true;
    json_t *root = json_loads(o->body, 0, NULL);
    char *text = json_is_object(root) ? json_dumps(root, JSON_COMPACT) : NULL;
    size_t n = text != NULL ? strlen(text) : 0;
    if (n > 2) {
        buf_add_char(&o->members, ',');
        buf_add(&o->members, text + 1, n - 2);
    }
    free(text);
    json_decref(root);
    return n > 0 || complain("body", o->body, "a JSON object, e.g. '{\"top_k\": 40}'");
}

static bool add_header(struct buf *out, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    if (colon == NULL || colon == line)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            return false;
    }
    buf_add(out, line, n);
    buf_add_cstr(out, "\r\n");
    return true;
}

static bool parse_headers(struct options *o)
{
    const char *key = getenv("HALO_API_KEY");
    struct buf line = {0};
    bool ok = true;
    if (key != NULL && *key != '\0') {
        buf_printf(&line, "authorization: Bearer %s", key);
        ok = add_header(&o->headers, line.ptr, line.len);
        if (!ok)
            (void)fprintf(stderr, "halo-load: $HALO_API_KEY has characters that no key has\n");
    }
    for (const char *p = o->header; ok && p != NULL && *p != '\0';) {
        size_t n = strcspn(p, "|");
        if (!add_header(&o->headers, p, n))
            ok = complain("header", o->header, "\"name: value\", several with | between");
        p += n + (p[n] == '|');
    }
    buf_fini(&line);
    return ok;
}

/* ---- together ---------------------------------------------------------------------------------- */

static bool understand(struct options *o)
{
    for (size_t i = 0; i < ARRAY_LEN(STAGES); i++) {
        if (strcmp(o->stage_name, STAGES[i]) == 0)
            o->stage = (enum stage)i;
    }
    bool speaks_ids = o->stage == STAGE_ROUTER || o->stage == STAGE_ENGINE || o->does_compare ||
                      o->does_footprint;
    o->kind = strcmp(o->api, "chat") == 0          ? PROMPT_CHAT
              : strcmp(o->api, "completions") == 0 ? PROMPT_TEXT
                                                   : PROMPT_IDS;
    if (speaks_ids && o->prompts_file != NULL)
        return complain(
            "prompts", o->prompts_file,
            "no file: router and engine speak token ids; use --stage tokenizer or stack");
    if (o->does_compare && (o->rate > 0 || o->duration_s > 0))
        return complain("compare-engine", "with --rate or --duration", "--concurrency, --requests");
    if (o->does_footprint && (o->does_compare || o->stage != STAGE_STACK))
        return complain("footprint", "with --compare-engine or --stage", "it alone");
    if (o->does_compare && o->stage != STAGE_STACK)
        return complain("stage", o->stage_name, "no stage beside --compare-engine, which has both");
    o->is_over_tcp = strcmp(o->over, "tcp") == 0;
    if (speaks_ids)
        o->kind = PROMPT_IDS;
    if (o->n_turns > 1 && o->kind == PROMPT_IDS && o->stage <= STAGE_GATEWAY)
        return complain("turns", "above 1", "--api chat or completions: HTTP does not tell ids");
    if (o->n_turns > 1 && o->prompts_file != NULL)
        return complain("turns", "above 1", "no --prompts, whose lines are whole conversations");
    if (o->vocab > 0 && o->vocab < 16)
        return complain("vocab", "below 16", "at least 16");
    if (o->rate <= 0 && o->concurrency == 0)
        o->concurrency = 16;
    if (o->n_requests == 0 && o->duration_s <= 0)
        o->n_requests = 100;
    while (o->seed == 0)
        o->seed = clock_random_u64() >> 12; /* survives JSON's doubles */
    return true;
}

bool options_parse(struct options *o, int argc, char **argv, int *ret_exit)
{
    const struct opt_program program = {
        .name = "halo-load",
        .summary = "loads a stack, or one process of it, and measures throughput and latencies",
        .operands = "[METRIC:MS]...",
        .example = EXAMPLE,
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = o,
    };
    int operands = 0;
    if (!opt_parse(&program, argc, argv, &operands, ret_exit))
        return false;
    *ret_exit = 2;
    if (o->goodput_text != NULL && !parse_terms(o->goodput_text, &o->goodput))
        return false;
    for (int i = operands; i < argc; i++) { /* as in: --goodput ttft:200 tpot:50 */
        if (o->goodput_text == NULL) {
            (void)fprintf(stderr, "halo-load: unexpected argument %s; see halo-load --help\n",
                          argv[i]);
            return false;
        }
        if (!parse_terms(argv[i], &o->goodput))
            return false;
    }
    o->does_ignore_eos |= o->does_compare; /* the same work on both sides, whatever is said */
    return parse_numbers(o) && parse_body(o) && parse_headers(o) && understand(o);
}

void options_fini(struct options *o)
{
    buf_fini(&o->members);
    buf_fini(&o->headers);
}
