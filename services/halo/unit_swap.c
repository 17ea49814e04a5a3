/* SPDX-License-Identifier: MIT */
#include "services/halo/unit_swap.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "services/halo/process.h"

enum { UNIT_CAP = UNIT_SWAP_NAME_CAP + 32 };

static const char LASTING[] = "/etc/systemd/system";
static const char FLEETING[] = "/run/systemd/system";
static const char DROP_IN[] = "halo-swap.conf";
static const char ARGS_HEAD[] = "Environment='HALO_SWAP_ARGS=";
static const char BUILD_HEAD[] = "BindReadOnlyPaths=";
static const char NAME_CHARS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

struct unit_swap {
    char stand_in[UNIT_SWAP_NAME_CAP + 16]; /* "engine.1-swap" */
    char old_unit[UNIT_CAP]; /* "halo-engine@1.service" */
    char new_unit[UNIT_CAP]; /* "halo-engine@1-swap.service" */
    char *lasting_dir; /* folder of the old unit's drop-ins */
    char *lasting; /* the drop-in in it */
    char *fleeting_dir;
    char *before; /* what the drop-in held; NULL: there was none */
    struct buf drop_in; /* what it holds from now on */
};

/* ---- systemctl --------------------------------------------------------------------------------- */

/* Through env, which looks for it in $PATH. */
static bool systemctl(const char *verb, const char *unit, struct buf *out)
{
    const char *const words[] = {"systemctl", "--no-ask-password", verb, unit, NULL};
    return process_capture("/usr/bin/env", words, out);
}

static bool act(const char *verb, const char *unit)
{
    struct buf out = {0};
    bool ok = systemctl(verb, unit, &out);
    buf_fini(&out);
    return ok;
}

/* A property of the unit, without the newline at its end. */
static void show(const char *unit, const char *property, struct buf *out)
{
    const char *const words[] = {"systemctl", "show", "--value", "-p", property, unit, NULL};
    (void)process_capture("/usr/bin/env", words, out);
    while (out->len > 0 && out->ptr[out->len - 1] == '\n')
        out->ptr[--out->len] = '\0';
}

static uint32_t main_pid(const char *unit)
{
    struct buf out = {0};
    show(unit, "MainPID", &out);
    uint32_t pid = (uint32_t)strtoul(buf_str(&out).ptr, NULL, 10);
    buf_fini(&out);
    return pid;
}

static bool is_active(const char *unit)
{
    struct buf out = {0};
    show(unit, "ActiveState", &out);
    bool is =
        strcmp(buf_str(&out).ptr, "active") == 0 || strcmp(buf_str(&out).ptr, "activating") == 0;
    buf_fini(&out);
    return is;
}

/* What the engine printed last. */
static void say_last_line(const char *unit, char *why)
{
    const char *const words[] = {"journalctl", "-q", "--no-pager",  "-o", "cat", "-n",
                                 "1",          "-t", "halo-engine", "-u", unit,  NULL};
    struct buf out = {0};
    (void)process_capture("/usr/bin/env", words, &out);
    (void)snprintf(why, UNIT_SWAP_WHY_CAP, "%s did not start (journalctl -u %s says more): %.*s",
                   unit, unit, (int)strcspn(buf_str(&out).ptr, "\n"), buf_str(&out).ptr);
    buf_fini(&out);
}

/* ---- drop-ins ---------------------------------------------------------------------------------- */

/* Whether it can be put between quotes in a unit file. */
static bool is_quotable(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == '\'' || *text == '"' || *text == '\\')
            return false;
    }
    return true;
}

static void add_escaped(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        buf_add_char(b, *text);
        if (*text == '%')
            buf_add_char(b, '%'); /* no specifier of systemd's */
    }
}

static void add_option(struct buf *b, const char *option, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(b, " %s \"", option);
    add_escaped(b, value);
    buf_add_char(b, '"');
}

/* The rest of the line that begins so, in what an earlier swap left; "" if there is none. */
static struct str line_of(const char *text, const char *head)
{
    size_t n = strlen(head);
    for (const char *line = text; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len > n && strncmp(line, head, n) == 0)
            return (struct str){line + n, len - n};
        line += len;
        line += *line == '\n';
    }
    return STR_LIT("");
}

/* The program that the unit starts. */
static void find_program(const char *unit, struct buf *out)
{
    static const char HEAD[] = "path=";
    struct buf exec = {0};
    show(unit, "ExecStart", &exec);
    const char *path = strstr(buf_str(&exec).ptr, HEAD);
    if (path != NULL)
        buf_add(out, path + strlen(HEAD), strcspn(path + strlen(HEAD), " ;"));
    buf_fini(&exec);
}

/* Another build lies over the unit's program, in its name space alone. */
static bool add_build(struct unit_swap *s, const char *build, char *why)
{
    struct stat st;
    struct buf path = {0};
    bool is_directory = stat(build, &st) == 0 && S_ISDIR(st.st_mode);
    buf_printf(&path, is_directory ? "%s/halo-engine" : "%s", build);
    bool ok = access(path.ptr, X_OK) == 0;
    if (!ok)
        (void)snprintf(why, UNIT_SWAP_WHY_CAP, "cannot run %s: %s", path.ptr,
                       strerrordesc_np(errno));
    else if (strpbrk(path.ptr, ": ") != NULL) {
        (void)snprintf(why, UNIT_SWAP_WHY_CAP, "%s: a path without blanks and colons, please",
                       path.ptr);
        ok = false;
    }
    buf_add_cstr(&s->drop_in, BUILD_HEAD);
    add_escaped(&s->drop_in, path.ptr);
    buf_add_char(&s->drop_in, ':');
    find_program(s->old_unit, &s->drop_in);
    buf_add_char(&s->drop_in, '\n');
    buf_fini(&path);
    return ok;
}

/* What was, and what is to change: later words are stronger. */
static bool compose(struct unit_swap *s, const struct unit_change *change, char *why)
{
    struct str args = line_of(s->before, ARGS_HEAD);
    struct str build = line_of(s->before, BUILD_HEAD);
    if (!is_quotable(change->model) || !is_quotable(change->backend) ||
        !is_quotable(change->build) || !is_quotable(change->args)) {
        (void)snprintf(why, UNIT_SWAP_WHY_CAP,
                       "a unit file takes no quotes, backslashes or control characters there");
        return false;
    }
    buf_add_cstr(&s->drop_in, "# Left by `halo swap`; `systemctl revert` and a restart undo it.\n"
                              "[Service]\n");
    if (change->build != NULL && !add_build(s, change->build, why))
        return false;
    if (change->build == NULL && build.len > 0)
        buf_printf(&s->drop_in, "%s%.*s\n", BUILD_HEAD, (int)build.len, build.ptr);
    buf_add_cstr(&s->drop_in, ARGS_HEAD);
    if (args.len > 0)
        buf_add(&s->drop_in, args.ptr, args.len - 1); /* without the quote */
    add_option(&s->drop_in, "--model", change->model);
    add_option(&s->drop_in, "--backend", change->backend);
    if (change->args != NULL) {
        buf_add_char(&s->drop_in, ' ');
        add_escaped(&s->drop_in, change->args);
    }
    buf_add_cstr(&s->drop_in, "'\n");
    return true;
}

static char *read_file(const char *path)
{
    struct buf text = {0};
    char piece[512];
    size_t n;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&text, piece, n);
    (void)fclose(f);
    return text.ptr != NULL ? buf_detach(&text) : mem_strndup("", 0);
}

static bool write_file(const char *path, struct str text, char *why)
{
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.new", path); /* no drop-in by its name */
    FILE *f = fopen(temporary.ptr, "we");
    bool ok = f != NULL && fwrite(text.ptr, 1, text.len, f) == text.len;
    ok = f != NULL && fclose(f) == 0 && ok && chmod(temporary.ptr, 0644) == 0 &&
         rename(temporary.ptr, path) == 0;
    if (!ok) {
        (void)snprintf(why, UNIT_SWAP_WHY_CAP, "cannot write %s: %s; are you root?", path,
                       strerrordesc_np(errno));
        (void)unlink(temporary.ptr);
    }
    buf_fini(&temporary);
    return ok;
}

static bool make_directory(const char *path, char *why)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return true;
    (void)snprintf(why, UNIT_SWAP_WHY_CAP, "cannot make %s: %s; are you root?", path,
                   strerrordesc_np(errno));
    return false;
}

static void remove_directory(const char *path)
{
    struct buf pattern = {0};
    glob_t found = {0};
    buf_printf(&pattern, "%s/*", path);
    if (glob(pattern.ptr, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            (void)unlink(found.gl_pathv[i]);
    }
    globfree(&found);
    buf_fini(&pattern);
    (void)rmdir(path);
}

/* ---- the stand-in ------------------------------------------------------------------------------ */

/* The old unit's own environment files, in the stand-in's words: its instance has another name. */
static void add_environment_files(const struct unit_swap *s, struct buf *b)
{
    static const char OPTIONAL[] = " (ignore_errors=yes)";
    struct buf files = {0};
    show(s->old_unit, "EnvironmentFiles", &files);
    for (const char *line = buf_str(&files).ptr; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *note = strstr(line, " (");
        size_t n = note != NULL && note < line + len ? (size_t)(note - line) : len;
        bool is_optional = strncmp(line + n, OPTIONAL, strlen(OPTIONAL)) == 0;
        buf_printf(b, "EnvironmentFile=%s%.*s\n", is_optional ? "-" : "", (int)n, line);
        line += len;
        line += *line == '\n';
    }
    buf_fini(&files);
}

/* The operator's drop-ins of the old instance hold for the stand-in, too. */
static void link_drop_ins(const struct unit_swap *s)
{
    struct buf paths = {0};
    struct buf folder = {0};
    buf_printf(&folder, "/%s.d/", s->old_unit);
    show(s->old_unit, "DropInPaths", &paths);
    char *rest = NULL;
    for (char *p = paths.len > 0 ? strtok_r(paths.ptr, " ", &rest) : NULL; p != NULL;
         p = strtok_r(NULL, " ", &rest)) {
        const char *name = strrchr(p, '/');
        if (name == NULL || strstr(p, folder.ptr) == NULL || strcmp(name + 1, DROP_IN) == 0)
            continue;
        struct buf link = {0};
        buf_printf(&link, "%s%s", s->fleeting_dir, name);
        (void)symlink(p, link.ptr);
        buf_fini(&link);
    }
    buf_fini(&folder);
    buf_fini(&paths);
}

static bool prepare_stand_in(struct unit_swap *s, char *why)
{
    struct buf text = {0};
    struct buf path = {0};
    /* The last quote goes behind one more word. */
    buf_add(&text, s->drop_in.ptr, s->drop_in.len - strlen("'\n"));
    buf_add_cstr(&text, " --standby'\n");
    add_environment_files(s, &text);
    buf_printf(&path, "%s/%s", s->fleeting_dir, DROP_IN);
    bool ok = make_directory(FLEETING, why) && make_directory(s->fleeting_dir, why) &&
              write_file(path.ptr, buf_str(&text), why);
    if (ok)
        link_drop_ins(s);
    buf_fini(&path);
    buf_fini(&text);
    return ok;
}

static bool name_units(struct unit_swap *s, const char *engine, char *why)
{
    const char *dot = strchr(engine, '.');
    const char *instance = dot != NULL ? dot + 1 : "";
    if (strncmp(engine, "engine.", strlen("engine.")) != 0 || *instance == '\0' ||
        instance[strspn(instance, NAME_CHARS)] != '\0' || strlen(instance) >= UNIT_SWAP_NAME_CAP) {
        (void)snprintf(why, UNIT_SWAP_WHY_CAP, "%.64s is no engine; `halo status` lists them",
                       engine);
        return false;
    }
    struct buf b = {0};
    (void)snprintf(s->stand_in, sizeof s->stand_in, "%s-swap", engine);
    (void)snprintf(s->old_unit, sizeof s->old_unit, "halo-engine@%s.service", instance);
    (void)snprintf(s->new_unit, sizeof s->new_unit, "halo-engine@%s-swap.service", instance);
    buf_printf(&b, "%s/%s.d", LASTING, s->old_unit);
    s->lasting_dir = buf_detach(&b);
    buf_printf(&b, "%s/%s", s->lasting_dir, DROP_IN);
    s->lasting = buf_detach(&b);
    buf_printf(&b, "%s/%s.d", FLEETING, s->new_unit);
    s->fleeting_dir = buf_detach(&b);
    return true;
}

void unit_swap_leave(struct unit_swap *s)
{
    free(s->lasting_dir);
    free(s->lasting);
    free(s->fleeting_dir);
    free(s->before);
    buf_fini(&s->drop_in);
    free(s);
}

static bool check(const struct unit_swap *s, const char *engine, char *why)
{
    if (main_pid(s->old_unit) == 0)
        (void)snprintf(why, UNIT_SWAP_WHY_CAP, "%s does not run; `halo status` lists what does",
                       s->old_unit);
    else if (is_active(s->new_unit))
        (void)snprintf(why, UNIT_SWAP_WHY_CAP,
                       "%s is left from a swap that was interrupted, and may have the replies: "
                       "`halo swap %s --to %s`, then `systemctl stop %s`",
                       s->new_unit, s->stand_in, engine, s->new_unit);
    else
        return true;
    return false;
}

bool unit_swap_start(const char *engine, const struct unit_change *change, char *why,
                     struct unit_swap **ret_swap)
{
    struct unit_swap *s = mem_zalloc(1, sizeof *s);
    if (!name_units(s, engine, why) || !check(s, engine, why)) {
        unit_swap_leave(s);
        return false;
    }
    s->before = read_file(s->lasting);
    if (!compose(s, change, why)) {
        unit_swap_leave(s);
        return false;
    }
    bool ok = prepare_stand_in(s, why) && act("daemon-reload", NULL);
    if (ok && !act("start", s->new_unit)) {
        say_last_line(s->new_unit, why);
        ok = false;
    }
    if (!ok) {
        unit_swap_end(s);
        return false;
    }
    *ret_swap = s;
    return true;
}

const char *unit_swap_stand_in(const struct unit_swap *s)
{
    return s->stand_in;
}

uint32_t unit_swap_engine_pid(const struct unit_swap *s)
{
    return main_pid(s->old_unit);
}

uint32_t unit_swap_stand_in_pid(const struct unit_swap *s)
{
    return main_pid(s->new_unit);
}

/* ---- the engine's own unit --------------------------------------------------------------------- */

static void put_back(const struct unit_swap *s)
{
    char why[UNIT_SWAP_WHY_CAP];
    if (s->before != NULL)
        (void)write_file(s->lasting, str_from(s->before), why);
    else
        (void)unlink(s->lasting);
    (void)rmdir(s->lasting_dir); /* if it is empty */
}

bool unit_swap_restart(struct unit_swap *s, char *why)
{
    if (!make_directory(s->lasting_dir, why) || !write_file(s->lasting, buf_str(&s->drop_in), why))
        return false;
    bool ok = act("daemon-reload", NULL) && act("restart", s->old_unit);
    if (ok)
        return true;
    say_last_line(s->old_unit, why);
    put_back(s);
    (void)act("daemon-reload", NULL);
    (void)act("reset-failed", s->old_unit);
    (void)act("restart", s->old_unit);
    return false;
}

void unit_swap_end(struct unit_swap *s)
{
    (void)act("stop", s->new_unit);
    remove_directory(s->fleeting_dir);
    (void)act("daemon-reload", NULL);
    (void)act("reset-failed", s->new_unit);
    unit_swap_leave(s);
}
