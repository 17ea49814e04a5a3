/* SPDX-License-Identifier: MIT */
/* halo-model: `halo convert` and `halo inspect`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/log.h"
#include "common/opt.h"
#include "services/model/verbs.h"

struct verb {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct verb VERBS[] = {
#define VERB(name, summary) {#name, summary, verb_##name},
#include "services/model/verbs.def"
#undef VERB
};

static void print_help(FILE *to)
{
    (void)fprintf(to, "Usage: halo-model VERB [OPTION]...\n\nVerbs, also of `halo`:\n");
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        (void)fprintf(to, "  %-9s %s\n", VERBS[i].name, VERBS[i].summary);
    (void)fprintf(to, "\nExample:\n  halo inspect halo-demo.h1b\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("halo-model %s\n", opt_version());
        return EXIT_SUCCESS;
    }
    log_init("halo-model", LOG_ERROR);
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++) {
        if (strcmp(argv[1], VERBS[i].name) == 0)
            return VERBS[i].run(argc - 1, argv + 1);
    }
    (void)fprintf(stderr, "halo-model: there is no verb %s; halo-model --help lists them\n",
                  argv[1]);
    return 2;
}
