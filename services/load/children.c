/* SPDX-License-Identifier: MIT */
#include "services/load/children.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/program.h"

enum { ARGS_MAX = 64, LOG_END_BYTES = 2000, FILES_AT_ONCE = 8, STUB_WORDS = 3, STUB_FAILED = 127 };

/* What a stub is called with: our name, STUB, our pid, and then the child's own words. */
static const char STUB[] = "--exec-child";

/* ---- starting ---------------------------------------------------------------------------------- */

bool children_init(struct children *c, const char *bin)
{
    const char *tmp = getenv("TMPDIR");
    *c = (struct children){.bin = bin};
    int n = snprintf(c->run, sizeof c->run, "%s/halo-load-XXXXXX",
                     tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    if (n > 0 && mkdtemp(c->run) != NULL)
        return true;
    (void)fprintf(stderr, "halo-load: cannot make a run directory %s: %s\n", c->run,
                  strerrordesc_np(errno));
    c->run[0] = '\0';
    return false;
}

static void log_path(const struct children *c, const char *service, char *ret, size_t cap)
{
    (void)snprintf(ret, cap, "%s/%s.log", c->run, service);
}

/* The words of `more` are cut in place. */
static size_t split(char *more, const char **argv, size_t n, size_t cap)
{
    for (char *word; more != NULL && (word = strsep(&more, " ")) != NULL;) {
        if (*word != '\0' && n < cap)
            argv[n++] = word;
    }
    return n;
}

static enum err spawn(const struct children *c, const char *service, const char **argv,
                      pid_t *ret_pid)
{
    char log[PATH_MAX];
    char run[96];
    log_path(c, service, log, sizeof log);
    (void)snprintf(run, sizeof run, "HALO_RUN=%s", c->run);
    int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    char no_notify[] = "NOTIFY_SOCKET";
    char no_listen[] = "LISTEN_PID";
    char *changes[] = {run, no_notify, no_listen};
    char **env = program_environment(changes, 3);
    char parent[16];
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    char *words[STUB_WORDS + ARGS_MAX + 1] = {0};
    const char *const stub[STUB_WORDS] = {"halo-load", STUB, parent};
    for (size_t i = 0; i < STUB_WORDS; i++)
        words[i] = mem_strndup(stub[i], strlen(stub[i]));
    for (size_t i = 0; argv[i] != NULL; i++)
        words[STUB_WORDS + i] = mem_strndup(argv[i], strlen(argv[i]));
    enum err e = program_start(&(struct program){.path = "/proc/self/exe",
                                                 .argv = words,
                                                 .env = env,
                                                 .group = PROGRAM_GROUP,
                                                 .out_fd = fd,
                                                 .fd3 = -1},
                               ret_pid);
    for (size_t i = 0; words[i] != NULL; i++)
        free(words[i]);
    free(env);
    (void)close(fd);
    return e;
}

bool children_start(struct children *c, const char *service, const char *const *args,
                    const char *more, struct processes *processes)
{
    const char *argv[ARGS_MAX + 1] = {0};
    char program[64];
    (void)snprintf(program, sizeof program, "halo-%s", service);
    char *path = paths_find_binary(c->bin, program);
    char *words = more != NULL ? mem_strndup(more, strlen(more)) : NULL;
    size_t n = 0;
    argv[n++] = path != NULL ? path : program;
    argv[n++] = "--run";
    argv[n++] = c->run;
    for (; *args != NULL && n < ARGS_MAX; args++)
        argv[n++] = *args;
    (void)split(words, argv, n, ARGS_MAX);
    pid_t pid = 0;
    enum err e = path != NULL ? spawn(c, service, argv, &pid) : ERR_NOT_FOUND;
    if (e == ERR_OK) {
        c->list[c->n].program = service;
        c->list[c->n++].pid = pid;
        processes_add(processes, service, pid);
    } else {
        (void)fprintf(stderr,
                      "halo-load: cannot start %s: %s; name its folder with --bin, or install it\n",
                      argv[0], err_text(e));
    }
    free(words);
    free(path);
    return e == ERR_OK;
}

bool children_is_stub(int argc, char **argv)
{
    return argc > STUB_WORDS && strcmp(argv[1], STUB) == 0;
}

int children_stub(char **argv)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != (pid_t)strtol(argv[2], NULL, 10))
        return STUB_FAILED;
    (void)execv(argv[STUB_WORDS], &argv[STUB_WORDS]);
    (void)fprintf(stderr, "cannot execute %s: %s\n", argv[STUB_WORDS], strerrordesc_np(errno));
    return STUB_FAILED;
}

/* ---- following --------------------------------------------------------------------------------- */

/* The last bytes of what it has printed. */
static void read_log(const struct children *c, const char *service, size_t most, struct buf *out)
{
    char path[PATH_MAX];
    log_path(c, service, path, sizeof path);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fseek(f, 0, SEEK_END) == 0) {
        long size = ftell(f);
        long from = size > (long)most ? size - (long)most : 0;
        if (size > 0 && fseek(f, from, SEEK_SET) == 0) {
            char *p = buf_reserve(out, most);
            out->len += fread(p, 1, most, f);
            buf_add_cstr(out, "");
        }
    }
    (void)fclose(f);
}

bool children_are_alive(const struct children *c)
{
    for (size_t i = 0; i < c->n; i++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)c->list[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == 0)
            continue;
        struct buf said = {0};
        read_log(c, c->list[i].program, LOG_END_BYTES, &said);
        (void)fprintf(stderr, "halo-load: halo-%s has ended; it said:\n%s", c->list[i].program,
                      buf_str(&said).ptr);
        buf_fini(&said);
        return false;
    }
    return true;
}

bool children_find(const struct children *c, const char *service, const char *mark, char *ret,
                   size_t cap)
{
    struct buf said = {0};
    read_log(c, service, 64 * 1024, &said);
    const char *at = strstr(buf_str(&said).ptr, mark);
    size_t n = at != NULL ? strcspn(at + strlen(mark), " \n") : 0;
    bool ok = at != NULL && n < cap;
    if (ok)
        (void)snprintf(ret, cap, "%.*s", (int)n, at + strlen(mark));
    buf_fini(&said);
    return ok;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void children_fini(struct children *c)
{
    for (size_t i = 0; i < c->n; i++)
        (void)kill(c->list[i].pid, SIGKILL); /* they hold nothing that is worth an orderly end */
    for (size_t i = 0; i < c->n; i++)
        (void)waitpid(c->list[i].pid, NULL, 0);
    c->n = 0;
    if (c->run[0] != '\0')
        (void)nftw(c->run, remove_one, FILES_AT_ONCE, FTW_DEPTH | FTW_PHYS);
    c->run[0] = '\0';
}
