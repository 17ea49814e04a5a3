/* SPDX-License-Identifier: MIT */
/* halo chat: one question and its answer, or a conversation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/opt.h"
#include "common/utf8.h"
#include "services/halo/print.h"
#include "services/halo/repl.h"
#include "services/halo/server.h"
#include "services/halo/talk.h"
#include "services/halo/verbs.h"

enum { STDIN_CAP = 4 * 1024 * 1024 };

struct options {
    const char *run;
    const char *url;
    const char *model;
    const char *system;
    const char *temperature;
    const char *seed;
    uint32_t max_tokens;
    bool with_stats;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(struct options, url, "url", NULL, "URL",
                "server to ask (any OpenAI-compatible one); default: the stack in the run "
                "directory. A key comes from $HALO_API_KEY"),
    OPT_STR_ROW(struct options, model, "model", NULL, "NAME",
                "model to ask; default: the first one that the server lists"),
    OPT_STR_ROW(struct options, system, "system", "", "TEXT", "system message"),
    OPT_U32_ROW(struct options, max_tokens, "max-tokens", "0", 0, 1U << 20, "N",
                "most tokens in a reply; 0: what the server allows"),
    OPT_STR_ROW(struct options, temperature, "temperature", "0.3", "T",
                "0 always takes the likeliest token; small models keep to the point below 0.5"),
    OPT_STR_ROW(struct options, seed, "seed", NULL, "N",
                "the same seed gives the same reply; default: drawn anew"),
    OPT_BOOL_ROW(struct options, with_stats, "stats", "false",
                 "show tokens, time to the first one and tokens per second"),
};

static bool settle_numbers(const struct options *o, struct talk_config *c)
{
    char *end = NULL;
    c->temperature = -1;
    if (o->temperature != NULL) {
        c->temperature = strtod(o->temperature, &end);
        if (end == o->temperature || *end != '\0' || !(c->temperature >= 0) ||
            !isfinite(c->temperature)) {
            (void)fprintf(stderr, "halo chat: --temperature %s is not a number from 0 on\n",
                          o->temperature);
            return false;
        }
    }
    if (o->seed != NULL) {
        c->seed = strtoull(o->seed, &end, 10);
        c->has_seed = true;
        if (end == o->seed || *end != '\0' || c->seed > INT64_MAX) {
            (void)fprintf(stderr, "halo chat: --seed %s is not a whole number below 2^63\n",
                          o->seed);
            return false;
        }
    }
    return true;
}

static char *join_words(char **words, int n)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(&b, ' ');
        buf_add_cstr(&b, words[i]);
    }
    return buf_detach(&b);
}

static char *read_stdin(void)
{
    struct buf b = {0};
    char text[4096];
    size_t n;
    while (b.len <= STDIN_CAP && (n = fread(text, 1, sizeof text, stdin)) > 0)
        buf_add(&b, text, n);
    while (b.len > 0 && b.ptr[b.len - 1] == '\n')
        b.len--;
    if (b.ptr != NULL)
        b.ptr[b.len] = '\0';
    return buf_detach(&b);
}

static int ask_once(struct talk *talk, const char *question, bool with_stats)
{
    struct api_reply reply;
    if (*question == '\0') {
        (void)fprintf(stderr, "halo chat: there is no question on stdin\n");
        return EXIT_BAD_USAGE;
    }
    if (strlen(question) > STDIN_CAP || !utf8_is_valid(question, strlen(question))) {
        (void)fprintf(stderr, "halo chat: the question is not UTF-8 text of at most %d MiB\n",
                      STDIN_CAP >> 20);
        return EXIT_BAD_USAGE;
    }
    talk_say(talk, question, -1, repl_print_text, NULL, &reply);
    (void)printf("\n");
    if (reply.end == API_FAILED) {
        (void)fprintf(stderr, "halo chat: %s\n", reply.error);
        return EXIT_FAILURE;
    }
    if (with_stats)
        repl_print_stats(&reply);
    return EXIT_SUCCESS;
}

static int talk_to(const struct options *o, const struct talk_config *config, char **words,
                   int n_words)
{
    struct talk *talk = talk_new(config, o->system);
    int rc;
    if (n_words > 0 || !isatty(STDIN_FILENO)) {
        char *question = n_words > 0 ? join_words(words, n_words) : read_stdin();
        rc = ask_once(talk, question, o->with_stats);
        free(question);
    } else {
        rc = repl_run(talk, o->with_stats);
    }
    talk_free(talk);
    return rc;
}

int verb_chat(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo chat",
        .summary = "Asks TEXT, or what stdin gives, and prints the reply as it comes. On a "
                   "terminal and without TEXT: a conversation.",
        .operands = "[TEXT]...",
        .example = "halo chat \"What is the capital of France?\" --temperature 0 --stats",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    struct talk_config config = {0};
    char error[API_ERROR_CAP];
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (!settle_numbers(&o, &config))
        return EXIT_BAD_USAGE;
    char *base = server_find("chat", o.url, o.run);
    if (base == NULL)
        return EXIT_FAILURE;
    api_init();
    char *first = o.model == NULL ? api_first_model(base, error) : NULL;
    config.base = base;
    config.model = o.model != NULL ? o.model : first;
    config.max_tokens = o.max_tokens;
    rc = EXIT_FAILURE;
    if (config.model != NULL)
        rc = talk_to(&o, &config, argv + operands, argc - operands);
    else
        (void)fprintf(stderr, "halo chat: %s\n", error);
    api_fini();
    free(first);
    free(base);
    return rc;
}
