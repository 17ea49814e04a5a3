/* SPDX-License-Identifier: MIT */
/* halo pull: fetches a model from a hub. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/opt.h"
#include "services/halo/api.h"
#include "services/halo/pull_fetch.h"
#include "services/halo/pull_list.h"
#include "services/halo/pull_progress.h"
#include "services/halo/verbs.h"

/* What must stay free beside the files. */
#define SPARE_BYTES (UINT64_C(64) << 20)

struct options {
    const char *to;
    const char *hub;
    const char *include;
    uint32_t n_jobs;
    uint32_t n_retries;
    bool is_dry;
};

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct options, to, "to", NULL, "DIR",
                "folder for the files, made if absent; default: one of the repository's name, or "
                "here for a single file"),
    OPT_STR_ROW(struct options, hub, "hub", "https://huggingface.co", "URL",
                "hub that speaks Hugging Face's API, or a mirror of it"),
    OPT_STR_ROW(struct options, include, "include", NULL, "GLOB",
                "weights to fetch, patterns separated by commas; default: all *.safetensors, else "
                "the only *.gguf"),
    OPT_U32_ROW(struct options, n_jobs, "jobs", "4", 1, 16, "N", "files at a time"),
    OPT_U32_ROW(struct options, n_retries, "retries", "6", 0, 20, "N",
                "tries in a row that bring no byte before giving up"),
    OPT_BOOL_ROW(struct options, is_dry, "dry-run", "false", "show what would be fetched"),
};

static const char EPILOGUE[] = "halo pull microsoft/bitnet-b1.58-2B-4T";

static bool read_token(struct pull_source *s)
{
    const char *token = getenv("HF_TOKEN");
    if (token == NULL || *token == '\0')
        return true;
    for (const char *c = token; *c != '\0'; c++) {
        if (*c <= ' ' || *c == 0x7f) {
            (void)fprintf(stderr, "halo pull: HF_TOKEN holds a character that no token has\n");
            return false;
        }
    }
    s->token = token;
    return true;
}

static void folder_of(const struct pull_source *s, const struct options *o, char *dir, size_t cap)
{
    const char *slash = strrchr(s->repo, '/');
    (void)snprintf(dir, cap, "%s", o->to != NULL ? o->to : slash != NULL ? slash + 1 : ".");
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = '\0';
}

static void show_list(const struct pull_source *s, const struct pull_list *l, const char *dir)
{
    uint64_t total = 0;
    char text[24] = "?";
    if (s->repo[0] != '\0')
        (void)printf("%s at %s:\n", s->repo, s->revision);
    for (size_t i = 0; i < l->n; i++) {
        const struct pull_file *f = &l->files[i];
        if (f->has_size)
            progress_bytes(f->size, text, sizeof text);
        total += f->size;
        (void)printf("  %10s  %s\n", f->has_size ? text : "?", f->path);
    }
    progress_bytes(total, text, sizeof text);
    (void)printf("%zu file%s%s%s, into %s\n", l->n, l->n == 1 ? "" : "s", total > 0 ? ", " : "",
                 total > 0 ? text : "", dir);
    (void)fflush(stdout);
}

static bool check_room(const struct pull_list *l, const char *dir, char *why)
{
    struct statvfs v;
    char need[24];
    char have[24];
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        (void)snprintf(why, PULL_WHY_CAP, "cannot make the folder %s: %s; name another with --to",
                       dir, strerrordesc_np(errno));
        return false;
    }
    uint64_t missing = pull_bytes_missing(l, dir);
    if (statvfs(dir, &v) != 0 || missing == 0)
        return true;
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (room >= missing + SPARE_BYTES)
        return true;
    progress_bytes(missing + SPARE_BYTES, need, sizeof need);
    progress_bytes(room, have, sizeof have);
    (void)snprintf(why, PULL_WHY_CAP,
                   "%s has %s free and this needs %s; make room or name another folder with --to",
                   dir, have, need);
    return false;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s);
    size_t m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void show_next(const struct pull_source *s, const struct pull_list *l, const char *dir)
{
    struct buf in = {0};
    const char *first_gguf = NULL;
    const char *h1b = NULL;
    bool has_safetensors = false;
    for (size_t i = l->n; i-- > 0;) {
        has_safetensors |= ends_with(l->files[i].path, ".safetensors");
        if (ends_with(l->files[i].path, ".gguf"))
            first_gguf = l->files[i].path;
        if (ends_with(l->files[i].path, ".h1b"))
            h1b = l->files[i].path;
    }
    const char *slash = strrchr(s->repo, '/');
    (void)printf("All of it is there.\n");
    buf_add_cstr(&in, dir);
    if (!has_safetensors && (first_gguf != NULL || h1b != NULL))
        buf_printf(&in, "/%s", h1b != NULL ? h1b : first_gguf);
    if (!has_safetensors && h1b != NULL)
        (void)printf("Next: halo up --model %s\n", in.ptr);
    else if (has_safetensors || first_gguf != NULL)
        (void)printf("Next: halo convert %s %s.h1b\n", in.ptr, slash != NULL ? slash + 1 : "model");
    buf_fini(&in);
}

static bool pull(const char *name, const struct options *o)
{
    struct pull_source s;
    struct pull_list l = {0};
    char why[PULL_WHY_CAP] = "";
    char dir[4096];
    bool is_good = pull_source_parse(&s, name, o->hub, why);
    if (is_good && !read_token(&s))
        return false;
    is_good = is_good && pull_list_read(&s, &l, why) &&
              (s.repo[0] == '\0' || pull_list_choose(&l, o->include, why));
    if (is_good) {
        folder_of(&s, o, dir, sizeof dir);
        show_list(&s, &l, dir);
    }
    if (is_good && !o->is_dry) {
        const struct pull_options how = {dir, o->n_jobs, o->n_retries};
        is_good = check_room(&l, dir, why) && pull_fetch(&s, &l, &how, why);
        if (is_good)
            show_next(&s, &l, dir);
    }
    if (!is_good)
        (void)fprintf(stderr, "halo pull: %s\n", why);
    pull_list_free(&l);
    return is_good;
}

int verb_pull(int argc, char **argv)
{
    struct options o = {0};
    const struct opt_program program = {
        .name = "halo pull",
        .summary = "fetches a model: OWNER/REPO[@REVISION] of a hub, or the URL of a file",
        .operands = "NAME",
        .example = EPILOGUE,
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o,
    };
    int operands = 0;
    int status = 0;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    if (argc - operands != 1) {
        (void)fprintf(stderr, "halo pull: name one model, as in: %s\n", EPILOGUE);
        return EXIT_BAD_USAGE;
    }
    api_init();
    bool is_good = pull(argv[operands], &o);
    api_fini();
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}
