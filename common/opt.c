/* SPDX-License-Identifier: MIT */
#include "common/opt.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/build_id.h"
#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/opt_print.h"
#include "common/timeslice.h"

enum { MAX_OPTS = 64 };

struct source {
    const char *where; /* "command line" or the file's name */
    int line; /* 0 for the command line */
};

static const struct opt *find(const struct opt_program *p, const char *name, size_t len)
{
    for (size_t i = 0; i < p->n_opts; i++) {
        if (strlen(p->opts[i].name) == len && memcmp(p->opts[i].name, name, len) == 0)
            return &p->opts[i];
    }
    return NULL;
}

static bool complain(const struct opt_program *p, const struct source *src, const char *fmt,
                     const char *a, const char *b)
{
    if (src->line > 0)
        fprintf(stderr, "%s: %s:%d: ", p->name, src->where, src->line);
    else
        fprintf(stderr, "%s: ", p->name);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(stderr, fmt, a, b);
#pragma GCC diagnostic pop
    fprintf(stderr, "; see %s --help\n", p->name);
    return false;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    static const char SUFFIX[] = "kMG";
    if (*end != '\0') {
        const char *s = strchr(SUFFIX, *end);
        if (s == NULL || end[1] != '\0')
            return false;
        unsigned shift = 10U * (unsigned)(s - SUFFIX + 1);
        if (v > UINT64_MAX >> shift)
            return false;
        v <<= shift;
    }
    *ret = v;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *c = choices; *c != '\0';) {
        size_t n = strcspn(c, "|");
        if (n == len && memcmp(c, text, n) == 0)
            return true;
        c += n + (c[n] == '|');
    }
    return false;
}

static bool set_number(const struct opt_program *p, const struct opt *o, const char *text,
                       const struct source *src)
{
    char *slot = (char *)p->values + o->offset;
    uint64_t v;
    if (!parse_number(text, &v) || v < o->min || v > o->max) {
        char want[96];
        (void)snprintf(want, sizeof want,
                       "%s (expected a whole number from %" PRIu64 " to %" PRIu64 ")", text, o->min,
                       o->max);
        return complain(p, src, "%s: bad value %s", o->name, want);
    }
    if (o->type == OPT_U32) {
        uint32_t v32 = (uint32_t)v;
        memcpy(slot, &v32, sizeof v32);
    } else {
        memcpy(slot, &v, sizeof v);
    }
    return true;
}

static bool set_value(const struct opt_program *p, const struct opt *o, const char *text,
                      const struct source *src)
{
    char *slot = (char *)p->values + o->offset;
    switch (o->type) {
    case OPT_STR:
        if (o->choices != NULL && !is_choice(o->choices, text)) {
            char want[160];
            (void)snprintf(want, sizeof want, "%s (expected one of %s)", text, o->choices);
            return complain(p, src, "%s: bad value %s", o->name, want);
        }
        memcpy(slot, &text, sizeof text);
        return true;
    case OPT_U32:
    case OPT_U64:
        return set_number(p, o, text, src);
    case OPT_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return complain(p, src, "%s: bad value %s (expected true or false)", o->name, text);
        *(bool *)(void *)slot = text[0] == 't';
        return true;
    }
    return false;
}

/* ---- the config file --------------------------------------------------------------------------- */

/* Texts from files live as long as the process, also those that the command line overrides: the list
 * tells leak checkers. */
struct kept {
    struct kept *next;
    char text[];
};

static const char *keep(const char *text)
{
    static struct kept *all;
    size_t n = strlen(text) + 1;
    struct kept *k = mem_zalloc(1, sizeof *k + n);
    memcpy(k->text, text, n);
    k->next = all;
    all = k;
    return k->text;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return s;
}

/* How many letters must be changed, put in or left out to make one of the other; NEAR_MAX + 1 is far. */
enum { NEAR_MAX = 2, SECTION_MAX = 40 };

static size_t distance(const char *a, const char *b)
{
    size_t row[SECTION_MAX + 1];
    size_t n = strlen(b);
    if (n > SECTION_MAX)
        return NEAR_MAX + 1;
    for (size_t i = 0; i <= n; i++)
        row[i] = i;
    for (; *a != '\0'; a++) {
        size_t diagonal = row[0]++;
        for (size_t i = 1; i <= n; i++) {
            size_t best = diagonal + (*a != b[i - 1]);
            diagonal = row[i];
            best = best < row[i] + 1 ? best : row[i] + 1;
            row[i] = best < row[i - 1] + 1 ? best : row[i - 1] + 1;
        }
    }
    return row[n];
}

/* Other programs' sections are theirs; one that is nearly ours is a slip, and would go unnoticed. */
static bool open_section(const struct opt_program *p, const char *name, bool *is_ours,
                         const struct source *src)
{
    size_t far = distance(name, p->name);
    *is_ours = far == 0;
    if (far == 0 || far > NEAR_MAX || strchr(p->name, ' ') != NULL) /* verbs are too short */
        return true;
    char want[2 * SECTION_MAX];
    (void)snprintf(want, sizeof want, "[%s]; is it [%s]?", name, p->name);
    return complain(p, src, "unknown section %s%s", want, "");
}

static bool parse_config_line(const struct opt_program *p, char *line, bool *is_ours,
                              const struct source *src)
{
    char *s = trim(line);
    if (*s == '\0' || *s == '#')
        return true;
    size_t len = strlen(s);
    if (*s == '[' && s[len - 1] == ']') {
        s[len - 1] = '\0';
        return open_section(p, s + 1, is_ours, src);
    }
    if (!*is_ours)
        return true;
    char *eq = strchr(s, '=');
    if (eq == NULL)
        return complain(p, src, "expected \"name = value\", found %s%s", s, "");
    *eq = '\0';
    char *name = trim(s);
    const struct opt *o = find(p, name, strlen(name));
    if (o == NULL)
        return complain(p, src, "unknown option %s%s", name, "");
    const char *value = trim(eq + 1);
    return set_value(p, o, o->type == OPT_STR ? keep(value) : value, src);
}

static bool complain_config(const struct opt_program *p, const char *path, int error)
{
    char remedy[160];
    if (error == EACCES)
        (void)snprintf(remedy, sizeof remedy, "let the user %u read it and the directories above",
                       (unsigned)geteuid());
    else
        (void)snprintf(remedy, sizeof remedy, "`%s --print-defaults` prints one to begin with",
                       p->name);
    fprintf(stderr, "%s: cannot read the configuration file %s: %s; %s\n", p->name, path,
            strerror(error), remedy);
    return false;
}

static bool read_config(const struct opt_program *p, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return complain_config(p, path, errno);
    struct source src = {path, 0};
    char line[1024];
    bool is_ours = false;
    bool ok = true;
    while (ok && fgets(line, sizeof line, f) != NULL) {
        src.line++;
        ok = parse_config_line(p, line, &is_ours, &src);
    }
    int error = ferror(f) ? errno : 0; /* a directory can be opened */
    (void)fclose(f);
    return error == 0 ? ok : complain_config(p, path, error);
}

/* ---- the configuration ------------------------------------------------------------------------- */

static void print_value(const struct opt_program *p, const struct opt *o)
{
    const char *slot = (const char *)p->values + o->offset;
    const char *s = NULL;
    uint64_t v = 0;
    uint32_t v32 = 0;
    switch (o->type) {
    case OPT_STR:
        memcpy(&s, slot, sizeof s);
        printf("%s", s != NULL ? s : "");
        break;
    case OPT_U32:
        memcpy(&v32, slot, sizeof v32);
        printf("%" PRIu32, v32);
        break;
    case OPT_U64:
        memcpy(&v, slot, sizeof v);
        printf("%" PRIu64, v);
        break;
    case OPT_BOOL:
        printf("%s", *(const bool *)(const void *)slot ? "true" : "false");
        break;
    }
}

void opt_print_config(const struct opt_program *p, bool with_values)
{
    printf("[%s]\n", p->name);
    for (size_t i = 0; i < p->n_opts; i++) {
        const struct opt *o = &p->opts[i];
        printf("# ");
        opt_print_wrapped(o->doc, "# ");
        const char *s = NULL;
        if (o->type == OPT_STR)
            memcpy(&s, (const char *)p->values + o->offset, sizeof s);
        bool is_unset = o->type == OPT_STR && s == NULL;
        printf("%s%s = ", with_values && !is_unset ? "" : "# ", o->name);
        if (with_values)
            print_value(p, o);
        else
            printf("%s", o->def != NULL ? o->def : "");
        printf("\n");
    }
}

/* ---- the command line -------------------------------------------------------------------------- */

static bool set_defaults(const struct opt_program *p)
{
    struct source src = {"built-in default", 0};
    for (size_t i = 0; i < p->n_opts; i++) {
        const struct opt *o = &p->opts[i];
        if (o->def != NULL && !set_value(p, o, o->def, &src))
            return false;
    }
    return true;
}

/* The value of a --name[=value] argument; *i moves past what was used. */
static const char *take_value(int argc, char **argv, int *i, const char *eq)
{
    if (eq != NULL)
        return eq + 1;
    if (*i + 1 >= argc)
        return NULL;
    return argv[++*i];
}

static bool parse_one(const struct opt_program *p, int argc, char **argv, int *i)
{
    struct source src = {"command line", 0};
    const char *name = argv[*i] + 2;
    const char *eq = strchr(name, '=');
    size_t len = eq != NULL ? (size_t)(eq - name) : strlen(name);
    const struct opt *o = find(p, name, len);
    if (o == NULL && len > 3 && strncmp(name, "no-", 3) == 0 && eq == NULL) {
        o = find(p, name + 3, len - 3);
        if (o != NULL && o->type == OPT_BOOL)
            return set_value(p, o, "false", &src);
        o = NULL;
    }
    if (o == NULL)
        return complain(p, &src, "unknown option %s%s", argv[*i], "");
    if (o->type == OPT_BOOL)
        return set_value(p, o, eq != NULL ? eq + 1 : "true", &src);
    const char *value = take_value(argc, argv, i, eq);
    if (value == NULL)
        return complain(p, &src, "--%s needs a value %s", o->name, o->meta != NULL ? o->meta : "");
    return set_value(p, o, value, &src);
}

/* --config is read before the other arguments, so that they win wherever it stands. */
static bool apply_config(const struct opt_program *p, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *path = NULL;
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[++i];
        if (path != NULL && !read_config(p, path))
            return false;
    }
    return true;
}

static bool scan_arguments(const struct opt_program *p, int argc, char **argv, int *ret_operands,
                           bool *ret_print)
{
    int n_operands = 0;
    char **operands = mem_zalloc((size_t)argc + 1, sizeof *operands);
    bool ok = true;
    bool only_operands = false;
    for (int i = 1; i < argc && ok; i++) {
        const char *a = argv[i];
        if (only_operands || strncmp(a, "--", 2) != 0) {
            operands[n_operands++] = argv[i];
            if (p->operands == NULL) {
                struct source src = {"command line", 0};
                ok = complain(p, &src, "unexpected argument %s%s", a, "");
            }
        } else if (strcmp(a, "--") == 0) {
            only_operands = true;
        } else if (strcmp(a, "--print-config") == 0) {
            *ret_print = true;
        } else if (strcmp(a, "--config") == 0) {
            i++;
        } else if (strncmp(a, "--config=", 9) != 0) {
            ok = parse_one(p, argc, argv, &i);
        }
    }
    *ret_operands = argc - n_operands;
    for (int i = 0; ok && i < n_operands; i++)
        argv[argc - n_operands + i] = operands[i];
    free(operands);
    return ok;
}

static bool has_flag(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], flag) == 0)
            return true;
    }
    return false;
}

static void print_version(const struct opt_program *p)
{
    printf("%s %s\n", p->name, opt_version());
}

static void print_defaults(const struct opt_program *p)
{
    opt_print_config(p, false);
}

/* Flags that print something of the table and end the program. */
static const struct {
    const char *flag;
    void (*print)(const struct opt_program *p);
} PRINTERS[] = {
    {"--help", opt_print_help},           {"--version", print_version},
    {"--print-defaults", print_defaults}, {"--print-man", opt_print_man},
    {"--print-words", opt_print_words},
};

bool opt_parse(const struct opt_program *p, int argc, char **argv, int *ret_operands, int *ret_exit)
{
    bool print = false;
    *ret_exit = 0;
    for (size_t i = 0; i < ARRAY_LEN(PRINTERS); i++) {
        if (has_flag(argc, argv, PRINTERS[i].flag)) {
            PRINTERS[i].print(p);
            return false;
        }
    }
    *ret_exit = 2;
    if (!set_defaults(p) || !apply_config(p, argc, argv) ||
        !scan_arguments(p, argc, argv, ret_operands, &print))
        return false;
    if (print) {
        opt_print_config(p, true);
        *ret_exit = 0;
        return false;
    }
    return true;
}

const char *opt_default_run_dir(void)
{
    static char dir[128];
    const char *run = getenv("HALO_RUN");
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    if (run != NULL && *run != '\0')
        return run;
    if (xdg != NULL && *xdg == '/')
        (void)snprintf(dir, sizeof dir, "%s/halo", xdg);
    else
        (void)snprintf(dir, sizeof dir, "/tmp/halo-%u", (unsigned)geteuid());
    return dir;
}

const char *opt_version(void)
{
    return HALO_VERSION " (" HALO_BUILD_ID ")";
}

bool opt_common_setup(const char *service, const char **run, const char *log_level)
{
    enum log_level level = LOG_INFO;
    (void)log_level_from(log_level, &level); /* the table allowed only levels */
    log_init(service, level);
    timeslice_shorten();
    if (*run == NULL)
        *run = opt_default_run_dir();
    struct stat st;
    if (stat(*run, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr,
                "halo-%s: the run directory %s %s; create it with mode 0700, "
                "name another with --run, or start the stack with `halo up`\n",
                service, *run, access(*run, F_OK) == 0 ? "is no directory" : "does not exist");
        return false;
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (st.st_uid != geteuid() && st.st_uid != 0)) {
        fprintf(stderr,
                "halo-%s: the run directory %s can be written by others (mode %o, uid %u); "
                "use a directory of your own: chmod 0700 %s\n",
                service, *run, (unsigned)(st.st_mode & 0777), (unsigned)st.st_uid, *run);
        return false;
    }
    if (strlen(*run) > 72) {
        fprintf(stderr,
                "halo-%s: the run directory's name is too long for a Unix socket (%zu bytes, "
                "at most 72): %s\n",
                service, strlen(*run), *run);
        return false;
    }
    return true;
}
