/* SPDX-License-Identifier: MIT */
/* halo down: stops a stack and makes sure that nothing of it is left. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/control.h"
#include "services/halo/print.h"
#include "services/halo/process.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum {
    ASK_TIMEOUT_MS = 3000,
    KILL_TIMEOUT_MS = 10000,
};

struct options {
    const char *run;
    uint32_t timeout_s;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_U32_ROW(struct options, timeout_s, "timeout-s", "120", 0, 86400, "S",
                "time to finish the replies in flight; then what is left is killed"),
};

/* The processes of the stack, the supervisor first. */
static size_t list_pids(const char *run, pid_t supervisor, pid_t **ret_pids)
{
    struct control_reply reply;
    (void)control_ask(run, "status", "", ASK_TIMEOUT_MS, &reply);
    pid_t *pids = mem_zalloc(reply.n_children + 1, sizeof *pids);
    size_t n = 0;
    pids[n++] = supervisor;
    for (size_t i = 0; i < reply.n_children; i++) {
        if (reply.children[i].pid > 0)
            pids[n++] = (pid_t)reply.children[i].pid;
    }
    control_reply_fini(&reply);
    *ret_pids = pids;
    return n;
}

static bool stop_all(const char *run, const struct options *o, int supervisor_fd, pid_t supervisor)
{
    pid_t *pids;
    size_t n = list_pids(run, supervisor, &pids);
    (void)pidfd_send_signal(supervisor_fd, SIGTERM, NULL, 0);
    bool is_gone = process_wait_all(pids, n, o->timeout_s * 1000);
    if (!is_gone) {
        (void)fprintf(stderr, "halo down: not stopped after %u s; killing it\n", o->timeout_s);
        (void)pidfd_send_signal(supervisor_fd, SIGKILL, NULL, 0); /* its children follow it */
        is_gone = process_wait_all(pids, n, KILL_TIMEOUT_MS);
    }
    for (size_t i = 0; i < n && !is_gone; i++) {
        if (pids[i] > 0)
            (void)fprintf(stderr, "halo down: process %d is still there\n", (int)pids[i]);
    }
    free(pids);
    return is_gone;
}

int verb_down(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo down",
        .summary = "Stops a stack: replies in flight are finished, then all processes end.",
        .example = "halo down --run /run/user/1000/halo",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    const char *run = o.run != NULL ? o.run : opt_default_run_dir();
    struct stack_info info;
    stack_info_read(run, &info);
    pid_t supervisor = info.pid;
    bool is_systemd = info.is_systemd;
    stack_info_fini(&info);
    if (is_systemd) {
        (void)fprintf(stderr,
                      "halo down: systemd runs the stack in %s; stop it with `systemctl "
                      "stop halo.target`\n",
                      run);
        return EXIT_FAILURE;
    }
    int fd = supervisor > 0 ? pidfd_open(supervisor, 0) : -1;
    if (fd < 0) {
        char why[STACK_INFO_WHY_CAP];
        if (access(run, F_OK) != 0 || stack_info_trusts(run, why, sizeof why)) {
            (void)printf("no stack runs in %s\n", run);
            return EXIT_SUCCESS;
        }
        (void)fprintf(stderr, "halo down: %s\n", why);
        return EXIT_FAILURE;
    }
    uint64_t began = clock_now_ms();
    bool is_gone = stop_all(run, &o, fd, supervisor);
    (void)close(fd);
    if (is_gone)
        (void)printf("stopped after %.1f s; nothing is left\n",
                     (double)(clock_now_ms() - began) / 1000.0);
    return is_gone ? EXIT_SUCCESS : EXIT_FAILURE;
}
