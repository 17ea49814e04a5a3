/* SPDX-License-Identifier: MIT */
#include "services/halo/units.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"

enum {
    MAX_UNITS = 80,
    LINE_CAP = 512,
    NAME_CAP = 64,
    UNIT_CAP = NAME_CAP + 16,
};

static const char SHOW[] = "systemctl show --no-pager --timestamp=unix -p "
                           "Id,Type,LoadState,ActiveState,Result,ExecMainStatus,"
                           "MainPID,NRestarts,StatusText,StateChangeTimestamp 'halo-*.service'";

/* ---- which stack it is ------------------------------------------------------------------------- */

char *units_url(const char *run)
{
    struct stat st;
    struct buf path = {0};
    char url[LINE_CAP] = "";
    buf_printf(&path, "%s/systemd", run);
    int fd = open(path.ptr, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    buf_fini(&path);
    if (fd < 0)
        return NULL;
    bool is_trusted = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
                      (st.st_uid == 0 || st.st_uid == geteuid()) &&
                      (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    ssize_t n = is_trusted ? read(fd, url, sizeof url - 1) : 0;
    (void)close(fd);
    if (n <= 0)
        return NULL;
    url[strcspn(url, "\n")] = '\0';
    return mem_strndup(url, strlen(url));
}

/* ---- names ------------------------------------------------------------------------------------- */

/* "halo-engine@1.service" -> "engine.1" */
static void name_of_unit(const char *unit, char name[NAME_CAP])
{
    static const char PREFIX[] = "halo-";
    if (strncmp(unit, PREFIX, strlen(PREFIX)) == 0)
        unit += strlen(PREFIX);
    (void)snprintf(name, NAME_CAP, "%.*s", (int)strcspn(unit, "."), unit);
    char *at = strchr(name, '@');
    if (at != NULL)
        *at = '.';
}

/* "engine.1" -> "halo-engine@1.service" */
static void unit_of_name(const char *name, char unit[UNIT_CAP])
{
    int n = (int)strcspn(name, ".");
    if (name[n] == '.')
        (void)snprintf(unit, UNIT_CAP, "halo-%.*s@%.*s.service", n < NAME_CAP / 2 ? n : 0, name,
                       NAME_CAP / 2, name + n + 1);
    else
        (void)snprintf(unit, UNIT_CAP, "halo-%.*s.service", NAME_CAP, name);
}

/* ---- status ------------------------------------------------------------------------------------ */

struct reading {
    struct control_reply *reply;
    struct rec_child child; /* of the unit whose lines come */
    char state[16];
    char result[NAME_CAP];
    char exit_status[16];
    bool is_loaded;
    bool is_task; /* runs and ends, as halo-doctor.service */
};

static struct str keep(struct reading *r, const char *text)
{
    char *copy = arena_strdup(&r->reply->arena, str_from(text));
    ASSERT(copy != NULL);
    return str_from(copy);
}

/* systemd's state in the supervisor's words. */
static const char *state_word(const char *active)
{
    static const char *const WORDS[][2] = {{"active", "ready"},
                                           {"activating", "starting"},
                                           {"deactivating", "stopping"},
                                           {"inactive", "stopped"}};
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        if (strcmp(active, WORDS[i][0]) == 0)
            return WORDS[i][1];
    }
    return active;
}

static void end_unit(struct reading *r)
{
    char last[NAME_CAP + 32];
    struct control_reply *reply = r->reply;
    if (r->is_loaded && !r->is_task && r->child.name.len > 0 && reply->n_children < MAX_UNITS) {
        r->child.state = keep(r, state_word(r->state));
        (void)snprintf(last, sizeof last, "%s, status %s", r->result, r->exit_status);
        bool is_clean = r->result[0] == '\0' || strcmp(r->result, "success") == 0;
        r->child.last_exit = keep(r, is_clean ? "" : last);
        reply->children[reply->n_children++] = r->child;
    }
    r->child = (struct rec_child){.name = STR_LIT(""), .status = STR_LIT("")};
    r->state[0] = r->result[0] = r->exit_status[0] = '\0';
    r->is_loaded = r->is_task = false;
}

static void read_line(struct reading *r, char *line)
{
    char name[NAME_CAP];
    line[strcspn(line, "\n")] = '\0';
    char *value = strchr(line, '=');
    if (value == NULL) {
        end_unit(r); /* an empty line stands between units */
        return;
    }
    *value++ = '\0';
    if (strcmp(line, "Id") == 0) {
        name_of_unit(value, name);
        r->child.name = keep(r, name);
    } else if (strcmp(line, "Type") == 0) {
        r->is_task = strcmp(value, "oneshot") == 0;
    } else if (strcmp(line, "LoadState") == 0) {
        r->is_loaded = strcmp(value, "loaded") == 0;
    } else if (strcmp(line, "ActiveState") == 0) {
        (void)snprintf(r->state, sizeof r->state, "%s", value);
    } else if (strcmp(line, "Result") == 0) {
        (void)snprintf(r->result, sizeof r->result, "%s", value);
    } else if (strcmp(line, "ExecMainStatus") == 0) {
        (void)snprintf(r->exit_status, sizeof r->exit_status, "%s", value);
    } else if (strcmp(line, "MainPID") == 0) {
        r->child.pid = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(line, "NRestarts") == 0) {
        r->child.restarts = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(line, "StatusText") == 0) {
        r->child.status = keep(r, value);
    } else if (strcmp(line, "StateChangeTimestamp") == 0) {
        r->child.since_ms = strtoull(value + (*value == '@'), NULL, 10) * 1000;
    }
}

static enum err read_status(struct control_reply *reply)
{
    char line[LINE_CAP];
    struct reading r = {.reply = reply};
    reply->children = arena_zalloc(&reply->arena, MAX_UNITS, sizeof *reply->children);
    ASSERT(reply->children != NULL);
    FILE *f = popen(SHOW, "re"); /* constant words; NOLINT(cert-env33-c) */
    end_unit(&r);
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        read_line(&r, line);
    end_unit(&r);
    int status = f != NULL ? pclose(f) : -1;
    if (status == 0 && reply->n_children > 0)
        return ERR_OK;
    reply->detail = status != 0 ? "systemctl cannot be run"
                                : "systemd has no halo units loaded; start them "
                                  "with `systemctl start halo.target`";
    return ERR_NOT_FOUND;
}

/* ---- restart and logs -------------------------------------------------------------------------- */

/* With our terminal, for a question about rights. */
static bool run_restart(const char *unit_name)
{
    pid_t pid;
    int status = -1;
    char program[] = "systemctl";
    char verb[] = "restart";
    char unit[UNIT_CAP];
    char *argv[] = {program, verb, unit, NULL};
    (void)snprintf(unit, sizeof unit, "%s", unit_name);
    if (posix_spawnp(&pid, program, NULL, NULL, argv, environ) != 0)
        return false;
    return waitpid(pid, &status, 0) == pid && status == 0;
}

/* One process, or all one after the other. */
static enum err restart(const char *target, struct control_reply *reply)
{
    char unit[UNIT_CAP];
    bool is_one = *target != '\0';
    if (!is_one && read_status(reply) != ERR_OK)
        return ERR_NOT_FOUND;
    size_t n = is_one ? 1 : reply->n_children;
    for (size_t i = 0; i < n; i++) {
        unit_of_name(is_one ? target : reply->children[i].name.ptr, unit);
        if (run_restart(unit))
            continue;
        struct buf why = {0};
        buf_printf(&why, "`systemctl restart %s` failed; are you root? See `halo logs`", unit);
        reply->detail = arena_strdup(&reply->arena, buf_str(&why));
        ASSERT(reply->detail != NULL);
        buf_fini(&why);
        return ERR_CLOSED;
    }
    return ERR_OK;
}

enum err units_ask(const char *verb, const char *target, struct control_reply *ret_reply)
{
    *ret_reply = (struct control_reply){.detail = ""};
    ret_reply->code =
        strcmp(verb, "restart") == 0 ? restart(target, ret_reply) : read_status(ret_reply);
    return ret_reply->code;
}

int units_show_logs(const char *name, uint32_t n_lines, bool is_following)
{
    char unit[UNIT_CAP] = "halo-*.service";
    char lines[16];
    if (name != NULL)
        unit_of_name(name, unit);
    (void)snprintf(lines, sizeof lines, "%u", n_lines);
    (void)execlp("journalctl", "journalctl", "--quiet", "--no-pager", "--output=cat", "--lines",
                 lines, "--unit", unit, is_following ? "--follow" : (char *)NULL, (char *)NULL);
    (void)fprintf(stderr, "halo logs: cannot run journalctl: %s\n", strerrordesc_np(errno));
    return EXIT_FAILURE;
}
