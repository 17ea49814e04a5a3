/* SPDX-License-Identifier: MIT */
/* Stands for any service in the supervisor's tests. Its file name says which one it is (tests link
 * halo-router and so on to it); $HALO_FAKE is a list of "name=behaviour" words:
 *
 *   ready          (default) says READY at once, feeds its watchdog, ends at SIGTERM
 *   slow           says READY after 300 ms
 *   fail           prints a line on stderr and exits with 3 before it is ready
 *   fail-again     ready in its first life, fails in all later ones
 *   deaf           ignores SIGTERM
 *   silent         ready, but never feeds its watchdog
 *   mute           never says READY
 *   leave          ready; at SIGUSR1 says STOPPING and exits with 0 after 50 ms
 *   litter         starts a process of its own that outlives it
 *
 * SIGUSR1 makes it exit with 5. Each start and end is a line in $HALO_RUN/events. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/loop.h"
#include "common/notify.h"

static char who[64]; /* "router", "engine.2" */

static void record(const char *what)
{
    char path[256];
    char line[128];
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(path, sizeof path, "%s/events", getenv("HALO_RUN"));
    int n = snprintf(line, sizeof line, "%ld.%03ld %s %s %d\n", (long)now.tv_sec,
                     now.tv_nsec / 1000000, who, what, (int)getpid());
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    ASSERT(fd >= 0 && write(fd, line, (size_t)n) == n);
    (void)close(fd);
}

static bool behaves(const char *behaviour)
{
    char word[128];
    const char *list = getenv("HALO_FAKE");
    (void)snprintf(word, sizeof word, " %s=%s ", who, behaviour);
    char padded[512];
    (void)snprintf(padded, sizeof padded, " %s ", list != NULL ? list : "");
    return strstr(padded, word) != NULL;
}

static void name_ourselves(int argc, char **argv)
{
    const char *base = strrchr(argv[0], '/');
    base = base != NULL ? base + 1 : argv[0];
    const char *instance = NULL;
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--name") == 0)
            instance = argv[i + 1];
    }
    (void)snprintf(who, sizeof who, "%s%s%s", base + strlen("halo-"), instance != NULL ? "." : "",
                   instance != NULL ? instance : "");
}

static bool is_first_life(void)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/lived.%s", getenv("HALO_RUN"), who);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static int refuse(void)
{
    (void)fprintf(stderr, "starting up\nhalo-%s: the moon is in the wrong phase\n\n", who);
    record("refused");
    return 3;
}

static void litter(void)
{
    char name[] = "sleep";
    char seconds[] = "600";
    char *argv[] = {name, seconds, NULL};
    pid_t pid;
    ASSERT(posix_spawnp(&pid, name, NULL, NULL, argv, environ) == 0);
    (void)fprintf(stderr, "litter %d\n", (int)pid);
}

static struct loop *loop;

static void say_ready(struct loop_timer *t)
{
    (void)t;
    record("ready");
    notify_ready("at your service");
}

static void exit_soon(struct loop_timer *t)
{
    (void)t;
    record("left");
    exit(0);
}

static void on_terminate(void *ctx)
{
    (void)ctx;
    record("term");
    if (!behaves("deaf"))
        loop_stop(loop);
}

static void on_usr1(struct loop_watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    static struct loop_timer timer = {.fire = exit_soon};
    if (!behaves("leave")) {
        record("crash");
        exit(5);
    }
    loop_watch_remove(loop, w);
    notify_stopping();
    loop_timer_set(loop, &timer, 50);
}

/* SIGUSR1 comes through a pipe, so that it is handled on the loop. */
static int usr1_pipe[2];

static void forward_usr1(int sig)
{
    (void)sig;
    ssize_t n = write(usr1_pipe[1], "x", 1);
    (void)n;
}

int main(int argc, char **argv)
{
    static struct loop_timer ready = {.fire = say_ready};
    static struct loop_watch usr1 = {.ready = on_usr1};
    name_ourselves(argc, argv);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("halo-%s 9.9.9 (fake)\n", who);
        return 0;
    }
    record("start");
    bool is_first = is_first_life();
    if (behaves("fail") || (behaves("fail-again") && !is_first))
        return refuse();
    if (behaves("litter"))
        litter();
    ASSERT(loop_new(&loop) == ERR_OK);
    ASSERT(loop_on_terminate(loop, on_terminate, NULL) == ERR_OK);
    ASSERT(pipe(usr1_pipe) == 0);
    usr1.fd = usr1_pipe[0];
    ASSERT(loop_watch_add(loop, &usr1, 1) == ERR_OK); /* EPOLLIN */
    (void)signal(SIGUSR1, forward_usr1);
    if (!behaves("silent"))
        notify_watchdog_start(loop);
    if (!behaves("mute"))
        loop_timer_set(loop, &ready, behaves("slow") ? 300 : 0);
    loop_run(loop);
    loop_free(loop);
    record("end");
    return 0;
}
