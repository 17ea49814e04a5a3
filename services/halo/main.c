/* SPDX-License-Identifier: MIT */
/* halo: the operator's and user's command line tool. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/log.h"
#include "common/opt.h"
#include "services/halo/verbs.h"

struct verb {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct verb VERBS[] = {
#define VERB(name, summary) {#name, summary, verb_##name},
#include "services/halo/verbs.def"
#undef VERB
};

static void print_help(FILE *to)
{
    (void)fprintf(to, "Usage: halo VERB [OPTION]...\n\nVerbs:\n");
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        (void)fprintf(to, "  %-9s %s\n", VERBS[i].name, VERBS[i].summary);
    (void)fprintf(to, "\nhalo VERB --help explains one.\n\n"
                      "Example:\n"
                      "  halo up --detach\n"
                      "  halo chat \"What is the capital of France?\"\n"
                      "  halo down\n");
}

static void print_words(void)
{
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        (void)printf("%s\n", VERBS[i].name);
}

static void print_man(void)
{
    (void)printf(".TH \"halo\" 1 \"\" \"%s\" \"Halo\"\n.SH NAME\n"
                 "halo \\- serve ternary language models behind an OpenAI\\-compatible API\n"
                 ".SH SYNOPSIS\n.B halo\n\\fIVERB\\fR [\\fIOPTION\\fR]...\n.SH VERBS\n",
                 opt_version());
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        (void)printf(".TP\n.BR %s\n%s; see halo\\-%s(1).\n", VERBS[i].name, VERBS[i].summary,
                     VERBS[i].name);
    (void)printf(".SH EXAMPLE\n.nf\nhalo up \\-\\-detach\n"
                 "halo chat \"What is the capital of France?\"\nhalo down\n.fi\n"
                 ".SH SEE ALSO\nhalo\\-gateway(1), halo\\-tokenizer(1), halo\\-router(1), "
                 "halo\\-engine(1), halo\\-supervisor(1)\n");
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_BAD_USAGE;
    }
    if (is_one_of(argv[1], "--help", "-h") || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--print-words") == 0) {
        print_words();
        return EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--print-man") == 0) {
        print_man();
        return EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("halo %s\n", opt_version());
        return EXIT_SUCCESS;
    }
    log_init("halo", LOG_ERROR); /* the verbs speak for themselves */
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++) {
        if (strcmp(argv[1], VERBS[i].name) == 0)
            return VERBS[i].run(argc - 1, argv + 1);
    }
    (void)fprintf(stderr, "halo: there is no verb %s; halo --help lists them\n", argv[1]);
    return EXIT_BAD_USAGE;
}
