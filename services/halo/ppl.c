/* SPDX-License-Identifier: MIT */
/* halo ppl: text through halo-tokenizer --encode to ids, and these to halo-ppl. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/ppl_options.h"
#include "services/halo/verbs.h"

static const struct opt TABLE[] = {PPL_OPTION_ROWS};

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "halo ppl: %s: %s\n", what, why);
    return -1;
}

/* A file in memory, at its beginning, with that text. */
static int open_text(const char *text)
{
    int fd = memfd_create("text", MFD_CLOEXEC);
    size_t n = strlen(text);
    if (fd < 0 || write(fd, text, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0)
        return fail("the text", strerrordesc_np(errno));
    return fd;
}

/* What the operand names: a file, stdin, or itself. -1 and a line printed if it cannot be read. */
static int open_operand(const char *operand)
{
    if (strcmp(operand, "-") == 0)
        return STDIN_FILENO;
    int fd = open(operand, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if ((errno == ENOENT || errno == ENAMETOOLONG) && strpbrk(operand, " \n") != NULL)
        return open_text(operand);
    return fail(operand, strerrordesc_np(errno));
}

static char *find(const char *program)
{
    char *path = paths_find_binary(NULL, program);
    if (path == NULL)
        (void)fail(program, "it is not beside halo; build or install it");
    return path;
}

/* Runs the tokenizer from fd in to fd out; false, and a line printed, if it fails. */
static bool encode(const char *model, int in, int out)
{
    char *program = find("halo-tokenizer");
    if (program == NULL)
        return false;
    char *path = mem_strndup(model, strlen(model));
    char name[] = "halo-tokenizer";
    char mode[] = "--encode";
    char flag[] = "--model";
    char *argv[] = {name, mode, flag, path, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    int status = -1;
    int rc = posix_spawn_file_actions_init(&files);
    ASSERT(rc == 0);
    rc = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn(&pid, program, &files, NULL, argv, environ);
    if (rc != 0)
        (void)fail(program, strerrordesc_np(rc));
    else
        (void)waitpid(pid, &status, 0);
    (void)posix_spawn_file_actions_destroy(&files);
    free(path);
    free(program);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The words of halo-ppl's command line: the options as they were parsed, --model with a value. */
static char **make_words(const struct ppl_options *o)
{
    char **words = mem_zalloc(ARRAY_LEN(TABLE) + 2, sizeof *words);
    words[0] = mem_strndup("halo-ppl", strlen("halo-ppl"));
    size_t n = 1;
    for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
        const struct opt *t = &TABLE[i];
        const void *value = (const char *)o + t->offset;
        struct buf word = {0};
        if (t->type == OPT_BOOL) {
            buf_printf(&word, "--%s%s", *(const bool *)value ? "" : "no-", t->name);
        } else if (t->type == OPT_U32) {
            buf_printf(&word, "--%s=%u", t->name, *(const uint32_t *)value);
        } else {
            ASSERT(t->type == OPT_STR);
            buf_printf(&word, "--%s=%s", t->name, *(const char *const *)value);
        }
        words[n++] = buf_detach(&word);
    }
    return words;
}

/* Becomes halo-ppl with the ids on stdin; returns only if that fails. */
static void become_ppl(const struct ppl_options *o, int ids)
{
    char *program = find("halo-ppl");
    if (program == NULL)
        return;
    char **words = make_words(o);
    if (lseek(ids, 0, SEEK_SET) == 0 && dup2(ids, STDIN_FILENO) >= 0)
        (void)execv(program, words);
    (void)fail(program, strerrordesc_np(errno));
    for (size_t i = 0; words[i] != NULL; i++)
        free(words[i]);
    free((void *)words);
    free(program);
}

int verb_ppl(int argc, char **argv)
{
    struct ppl_options o = {0};
    struct opt_program program = {
        .name = "halo ppl",
        .summary = "Measures how well a model predicts a text: perplexity per token. TEXT is a "
                   "file, - for stdin, or the words themselves.",
        .operands = "TEXT",
        .example = "xz -dc wiki.test.raw.xz | halo ppl --model halo-demo.h1b -",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (argc - operands != 1) {
        (void)fprintf(stderr, "halo ppl: name one text: a file, - for stdin, or words in quotes\n");
        return EXIT_BAD_USAGE;
    }
    char *demo = o.model == NULL ? paths_find_model() : NULL;
    o.model = o.model != NULL ? o.model : demo;
    if (o.model == NULL) {
        (void)fprintf(stderr, "halo ppl: the demo model is not installed; name one with --model\n");
        return EXIT_BAD_USAGE;
    }
    int in = open_operand(argv[operands]);
    int ids = in >= 0 ? memfd_create("ids", MFD_CLOEXEC) : -1;
    if (ids >= 0 && encode(o.model, in, ids))
        become_ppl(&o, ids);
    if (ids >= 0)
        (void)close(ids);
    if (in > STDIN_FILENO)
        (void)close(in);
    free(demo);
    return in >= 0 ? EXIT_FAILURE : EXIT_BAD_USAGE;
}
