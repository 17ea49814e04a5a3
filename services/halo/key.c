/* SPDX-License-Identifier: MIT */
/* halo key: makes, lists and revokes the API keys of a gateway. */
#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/keyfile.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/verbs.h"

struct options {
    const char *keys;
    uint32_t requests_per_minute;
    uint32_t tokens_per_minute;
    bool is_json;
};

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct options, keys, "keys", NULL, "FILE",
                "key file; default $HALO_KEYS, $XDG_CONFIG_HOME/halo/keys.json, "
                "~/.config/halo/keys.json or, for root, /etc/halo/keys.json"),
    OPT_U32_ROW(struct options, requests_per_minute, "requests-per-minute", "0", 0, UINT32_MAX, "N",
                "add: most requests in a minute; 0: no limit"),
    OPT_U32_ROW(struct options, tokens_per_minute, "tokens-per-minute", "0", 0, UINT32_MAX, "N",
                "add: most tokens in a minute, of prompts and replies together; 0: no limit"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "add, list: print JSON"),
};

static bool save(const struct options *o, const struct keyfile *f)
{
    char why[KEYFILE_WHY_CAP];
    if (keyfile_write(o->keys, f, why) == ERR_OK)
        return true;
    (void)fprintf(stderr, "halo key: %s\n", why);
    return false;
}

/* Makes the directory of a first key file, ours alone. */
static void make_directory(const char *path)
{
    char *copy = mem_strndup(path, strlen(path));
    (void)mkdir(dirname(copy), 0700); /* what is wrong with it shows when the file is written */
    free(copy);
}

static void print_secret(const struct options *o, const char *name, const char *secret)
{
    if (o->is_json) {
        (void)printf("{\"name\":\"%s\",\"key\":\"%s\"}\n", name, secret);
        return;
    }
    (void)printf("%s\n", secret);
    (void)fprintf(stderr,
                  "This is the key of %s. It is shown once: only its hash is kept, in %s.\n"
                  "A gateway asks for keys with: halo up --keys %s\n",
                  name, o->keys, o->keys);
}

static int add(const struct options *o, struct keyfile *f, const char *name)
{
    char secret[KEYFILE_SECRET_LEN + 1];
    struct keyfile_key k = {.created_s = clock_unix_ms() / 1000,
                            .requests_per_minute = o->requests_per_minute,
                            .tokens_per_minute = o->tokens_per_minute};
    size_t len = strlen(name);
    memcpy(k.name, name, len <= KEYFILE_NAME_MAX ? len : 0); /* "" is refused as a name */
    enum err e = keyfile_add(f, &k, secret);
    if (e == ERR_EXISTS)
        (void)fprintf(stderr,
                      "halo key: there is a key %s already; revoke it first, or choose another "
                      "name\n",
                      name);
    else if (e == ERR_INVALID)
        (void)fprintf(stderr,
                      "halo key: '%.80s' is no name for a key: expected 1 to %d letters, digits "
                      "and . _ - @\n",
                      name, KEYFILE_NAME_MAX);
    else if (e != ERR_OK)
        (void)fprintf(stderr, "halo key: %s holds %d keys, which is the most; revoke some\n",
                      o->keys, KEYFILE_KEYS_MAX);
    if (e != ERR_OK)
        return EXIT_FAILURE;
    make_directory(o->keys);
    if (!save(o, f))
        return EXIT_FAILURE;
    print_secret(o, name, secret);
    return EXIT_SUCCESS;
}

static void print_limit(uint32_t limit)
{
    if (limit > 0)
        (void)printf(" %15u", limit);
    else
        (void)printf(" %15s", "no limit");
}

static int list(const struct options *o, struct keyfile *f, const char *name)
{
    (void)name;
    json_t *all = json_array();
    if (!o->is_json)
        (void)printf("%-24s %-20s %15s %15s\n", "NAME", "MADE", "REQUESTS/MIN", "TOKENS/MIN");
    for (size_t i = 0; i < f->n_keys; i++) {
        const struct keyfile_key *k = &f->keys[i];
        if (o->is_json) {
            json_t *one = json_pack("{s:s, s:I, s:I, s:I}", "name", k->name, "created",
                                    (json_int_t)k->created_s, "requests_per_minute",
                                    (json_int_t)k->requests_per_minute, "tokens_per_minute",
                                    (json_int_t)k->tokens_per_minute);
            ASSERT(one != NULL && json_array_append_new(all, one) == 0);
            continue;
        }
        char made[32];
        struct tm tm;
        time_t t = (time_t)k->created_s;
        (void)strftime(made, sizeof made, "%Y-%m-%d %H:%M", localtime_r(&t, &tm));
        (void)printf("%-24s %-20s", k->name, made);
        print_limit(k->requests_per_minute);
        print_limit(k->tokens_per_minute);
        (void)printf("\n");
    }
    if (o->is_json) {
        (void)json_dumpf(all, stdout, JSON_INDENT(1));
        (void)printf("\n");
    }
    json_decref(all);
    return EXIT_SUCCESS;
}

static int revoke(const struct options *o, struct keyfile *f, const char *name)
{
    if (keyfile_remove(f, name) != ERR_OK) {
        (void)fprintf(stderr, "halo key: there is no key %s in %s; halo key list shows them\n",
                      name, o->keys);
        return EXIT_FAILURE;
    }
    if (!save(o, f))
        return EXIT_FAILURE;
    (void)printf("revoked %s: refused from the next request on\n", name);
    return EXIT_SUCCESS;
}

struct action {
    const char *name;
    bool has_operand;
    int (*run)(const struct options *o, struct keyfile *f, const char *name);
};

static const struct action ACTIONS[] = {
    {"add", true, add}, {"list", false, list}, {"revoke", true, revoke}};

static int run(const struct options *o, const struct action *a, const char *name)
{
    char why[KEYFILE_WHY_CAP];
    struct keyfile file = {0};
    enum err e = keyfile_read(o->keys, why, &file);
    if (e != ERR_OK && !(e == ERR_NOT_FOUND && a->run == add)) {
        (void)fprintf(stderr, "halo key: %s\n", why);
        return EXIT_FAILURE;
    }
    int rc = a->run(o, &file, name);
    keyfile_fini(&file);
    return rc;
}

int verb_key(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo key",
        .summary = "Makes, lists and revokes API keys. A gateway that runs takes changes at once.",
        .operands = "add NAME | list | revoke NAME",
        .example = "halo key add alice --requests-per-minute 60 --tokens-per-minute 20000",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int at;
    int rc;
    if (!opt_parse(&program, argc, argv, &at, &rc))
        return rc;
    if (o.keys == NULL)
        o.keys = keyfile_default_path();
    for (size_t i = 0; i < ARRAY_LEN(ACTIONS) && at < argc; i++) {
        const struct action *a = &ACTIONS[i];
        if (strcmp(argv[at], a->name) == 0 && argc - at == 1 + a->has_operand)
            return run(&o, a, a->has_operand ? argv[at + 1] : NULL);
    }
    (void)fprintf(stderr,
                  "halo key: expected add NAME, list or revoke NAME; see halo key --help\n");
    return EXIT_BAD_USAGE;
}
