/* SPDX-License-Identifier: MIT */
/* halo inspect FILE */
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/model/inspect.h"
#include "services/model/verbs.h"

struct asked {
    const char *tokenizer;
    const char *pre_tokenizer;
    const char *layout;
    struct inspect_options print;
};

static const struct opt TABLE[] = {
    OPT_BOOL_ROW(struct asked, print.does_json, "json", "false", "for programs"),
    OPT_BOOL_ROW(struct asked, print.does_list, "tensors", "false", "list every tensor"),
    OPT_STR_ROW(struct asked, tokenizer, "tokenizer", NULL, "PATH",
                "a file or folder to take the tokenizer from instead"),
    OPT_STR_ROW(
        struct asked, pre_tokenizer, "pre-tokenizer", NULL, "NAME",
        "rule for cutting text, e.g. llama-3 or gpt-2, if the model's own is not recognised"),
    OPT_STR_ROW(struct asked, layout, "layout", NULL, "128|64|rows",
                "order of I2_S codes in a GGUF file"),
};

int verb_inspect(int argc, char **argv)
{
    struct asked a = {0};
    const struct opt_program program = {
        .name = "halo inspect",
        .summary =
            "Says what a model holds, and verifies it. FILE is anything that `halo convert` reads.",
        .operands = "FILE",
        .example = "halo inspect bitnet-2b.h1b",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = &a,
    };
    int operands = 0;
    int status = 0;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    if (argc - operands != 1) {
        (void)fprintf(stderr, "halo inspect: expected one FILE; see halo inspect --help\n");
        return 2;
    }
    const struct source_options options = {
        .tokenizer = a.tokenizer, .pre_tokenizer = a.pre_tokenizer, .layout = a.layout};
    struct why why = {""};
    struct source s;
    enum err e = source_open(&s, argv[operands], &options, &why);
    if (!e) {
        e = inspect_print(stdout, &s, &a.print, &why);
        if (s.notes.len > 0)
            (void)fprintf(stderr, "%s", s.notes.ptr);
        source_close(&s);
    }
    if (e)
        (void)fprintf(stderr, "halo inspect: %s\n", why.text[0] != '\0' ? why.text : err_text(e));
    return e ? EXIT_FAILURE : EXIT_SUCCESS;
}
