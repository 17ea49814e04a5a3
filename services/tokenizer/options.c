/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/options.h"

#include <stdio.h>

#include "common/check.h"
#include "common/log.h"
#include "common/opt.h"
#include "common/sandbox.h"

static const struct opt TABLE[] = {
    OPT_COMMON_ROWS(struct options),
    SANDBOX_ROW(struct options),
    OPT_STR_ROW(struct options, model, "model", NULL, "FILE",
                "a model whose vocabulary is read at the start, an .h1b file; those of others, and "
                "without this of all, come from the engines that serve them"),
    OPT_BOOL_ROW(struct options, does_encode, "encode", "false",
                 "serve nobody: read a text from stdin, write its token ids to stdout as 32-bit "
                 "little-endian numbers, and end"),
};

bool options_parse(struct options *o, int argc, char **argv, int *ret_exit)
{
    const struct opt_program program = {
        .name = "halo-tokenizer",
        .summary = "turns chats into tokens and tokens into text",
        .example = "halo-tokenizer --run /run/halo",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = o,
    };
    int operands = 0;
    if (!opt_parse(&program, argc, argv, &operands, ret_exit))
        return false;
    *ret_exit = 2;
    if (o->does_encode && o->model == NULL) {
        (void)fprintf(stderr, "halo-tokenizer: no model; name a file with --model FILE\n");
        return false;
    }
    if (o->does_encode) {
        log_init("tokenizer", LOG_WARN);
        return true;
    }
    return opt_common_setup("tokenizer", &o->run, o->log_level);
}
