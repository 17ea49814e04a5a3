/* SPDX-License-Identifier: MIT */
/* halo version: the build ids of all programs, which must be the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"
#include "common/paths.h"
#include "services/halo/process.h"
#include "services/halo/verbs.h"

static const char *const PROGRAMS[] = {"halo-gateway", "halo-tokenizer", "halo-router",
                                       "halo-engine", "halo-supervisor"};

struct options {
    const char *bin;
};

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct options, bin, "bin", NULL, "DIR",
                "directory of the halo-* binaries; default: that of halo, or its siblings in a "
                "build tree"),
};

/* Prints a row; false if the program is not there or of another build. */
static bool print_program(const char *bin, const char *program)
{
    struct buf said = {0};
    char *path = paths_find_binary(bin, program);
    bool ran = path != NULL && process_capture(path, (const char *[]){"--version", NULL}, &said);
    const char *version = ran ? said.ptr : "";
    if (strncmp(version, program, strlen(program)) == 0)
        version += strlen(program);
    version += strspn(version, " ");
    size_t n = strcspn(version, "\n");
    bool is_same = n == strlen(opt_version()) && memcmp(version, opt_version(), n) == 0;
    if (!ran)
        (void)printf("%-16s %s\n", program, path != NULL ? "does not run" : "not found");
    else
        (void)printf("%-16s %.*s%s\n", program, (int)n, version,
                     is_same ? "" : "   (another build)");
    buf_fini(&said);
    free(path);
    return ran && is_same;
}

int verb_version(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {.name = "halo version",
                                  .summary = "Shows the version of each program. Exit status: 0 "
                                             "all are there and of one build, else 1.",
                                  .example = "halo version",
                                  .opts = OPTS,
                                  .n_opts = ARRAY_LEN(OPTS),
                                  .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    bool are_same = true;
    (void)printf("%-16s %s\n", "halo", opt_version());
    (void)fflush(stdout);
    for (size_t i = 0; i < ARRAY_LEN(PROGRAMS); i++)
        are_same = print_program(o.bin, PROGRAMS[i]) && are_same;
    return are_same ? EXIT_SUCCESS : EXIT_FAILURE;
}
