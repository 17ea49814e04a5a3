/* SPDX-License-Identifier: MIT */
/* Each case runs in a child of its own, because a sandbox is for ever. */
#include "common/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"

enum { DONE = 7 };

struct outcome {
    int status; /* of waitpid */
    char text[4096]; /* what it wrote to stderr */
};

/* Enters the sandbox and does what is asked for. */
static struct outcome in_sandbox(const char *mode, unsigned rights, void (*act)(void))
{
    struct outcome o = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        log_init("test", LOG_INFO);
        if (!sandbox_begin(mode) || !sandbox_enter(mode, rights))
            _exit(1);
        act();
        _exit(DONE);
    }
    (void)close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], o.text + n, sizeof o.text - 1 - n)) > 0;)
        n += (size_t)got;
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &o.status, 0), pid);
    return o;
}

static void assert_passes(unsigned rights, void (*act)(void))
{
    struct outcome o = in_sandbox("on", rights, act);
    if (!WIFEXITED(o.status) || WEXITSTATUS(o.status) != DONE)
        fail_msg("status %d: %s", o.status, o.text);
}

static void assert_ends(unsigned rights, void (*act)(void), const char *name)
{
    char want[80];
    struct outcome o = in_sandbox("on", rights, act);
    (void)snprintf(want, sizeof want, "ev=forbidden-call name=%s number=", name);
    assert_true(WIFSIGNALED(o.status));
    assert_int_equal(WTERMSIG(o.status), SIGSYS);
    assert_non_null(strstr(o.text, want));
}

static void do_nothing(void)
{
}

static void fail_to_open_a_file(void)
{
    if (open("/etc/hostname", O_RDONLY) >= 0 || errno != EACCES)
        abort();
}

static void write_into_a_folder(void)
{
    (void)!open("/tmp", O_RDWR | O_DIRECTORY);
}

static void open_a_folder(void)
{
    if (open("/proc/self/fd", O_RDONLY | O_DIRECTORY) < 0)
        abort();
}

static void open_an_internet_socket(void)
{
    (void)!socket(AF_INET, SOCK_STREAM, 0);
}

static void open_a_unix_socket(void)
{
    if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
        abort();
}

static void start_a_process(void)
{
    (void)!fork();
}

static void run_a_program(void)
{
    char *argv[] = {NULL};
    (void)execve("/bin/true", argv, argv);
}

static void map_memory_to_run(void)
{
    (void)!mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void kill_another(void)
{
    (void)kill(getpid(), 0);
}

static void *do_nothing_in_a_thread(void *arg)
{
    return arg;
}

static void start_a_thread(void)
{
    pthread_t t;
    if (pthread_create(&t, NULL, do_nothing_in_a_thread, NULL) != 0 || pthread_join(t, NULL) != 0)
        abort();
}

static void give_up(void)
{
    abort();
}

static void make_a_call_of_nobody(void)
{
    (void)syscall(SYS_swapon, "", 0);
}

static void services_do_what_they_need(void **state)
{
    (void)state;
    const unsigned services[] = {SANDBOX_GATEWAY, SANDBOX_TOKENIZER, SANDBOX_ROUTER,
                                 SANDBOX_ENGINE};
    for (size_t i = 0; i < 4; i++) {
        assert_passes(services[i], do_nothing);
        assert_passes(services[i], open_a_folder);
        assert_passes(services[i], open_a_unix_socket);
        assert_passes(services[i], start_a_thread);
        assert_ends(services[i], make_a_call_of_nobody, "swapon");
    }
}

static void services_behind_the_gateway_reach_no_networks_or_processes(void **state)
{
    (void)state;
    const unsigned services[] = {SANDBOX_TOKENIZER, SANDBOX_ROUTER, SANDBOX_ENGINE};
    for (size_t i = 0; i < 3; i++) {
        assert_ends(services[i], open_an_internet_socket, "socket");
        assert_ends(services[i], start_a_process, "clone");
        assert_ends(services[i], run_a_program, "execve");
        assert_ends(services[i], map_memory_to_run, "mmap");
        assert_ends(services[i], kill_another, "kill");
    }
}

static void tokenizer_and_engine_open_no_files(void **state)
{
    (void)state;
    assert_passes(SANDBOX_TOKENIZER, fail_to_open_a_file);
    assert_passes(SANDBOX_ENGINE, fail_to_open_a_file);
    assert_ends(SANDBOX_TOKENIZER, write_into_a_folder, "openat");
    assert_ends(SANDBOX_ENGINE, write_into_a_folder, "openat");
}

static void features_add_rights(void **state)
{
    (void)state;
    assert_passes(SANDBOX_ENGINE | SANDBOX_REMOTE, open_an_internet_socket);
    assert_ends(SANDBOX_ENGINE | SANDBOX_REMOTE, map_memory_to_run, "mmap");
    assert_passes(SANDBOX_ENGINE | SANDBOX_GPU, map_memory_to_run);
    assert_ends(SANDBOX_ENGINE | SANDBOX_GPU, open_an_internet_socket, "socket");
    assert_passes(SANDBOX_GATEWAY, open_an_internet_socket);
}

static void an_abort_is_still_an_abort(void **state)
{
    (void)state;
    struct outcome o = in_sandbox("on", SANDBOX_ROUTER, give_up);
    assert_true(WIFSIGNALED(o.status));
    assert_int_equal(WTERMSIG(o.status), SIGABRT);
}

/* A thread from before must be in it, too: the one that makes the call is not the one that entered. */
static int ready[2];
static int go[2];

static void *wait_and_call(void *arg)
{
    char byte;
    (void)!read(go[0], &byte, 1);
    open_an_internet_socket();
    (void)!write(ready[1], "", 1);
    return arg;
}

static void let_the_other_thread_call(void)
{
    char byte;
    (void)!write(go[1], "", 1);
    (void)!read(ready[0], &byte, 1);
}

static void threads_from_before_are_in_it(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t t;
        if (pipe(ready) != 0 || pipe(go) != 0 || !sandbox_begin("on") ||
            pthread_create(&t, NULL, wait_and_call, NULL) != 0 ||
            !sandbox_enter("on", SANDBOX_ROUTER))
            _exit(1);
        let_the_other_thread_call();
        _exit(DONE);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void switched_off_it_forbids_nothing_and_says_so(void **state)
{
    (void)state;
    struct outcome o = in_sandbox("off", SANDBOX_ROUTER, open_an_internet_socket);
    assert_true(WIFEXITED(o.status));
    assert_int_equal(WEXITSTATUS(o.status), DONE);
    assert_non_null(strstr(o.text, "level=warn svc=test ev=sandbox-off"));
    assert_non_null(strstr(o.text, "why=\"--sandbox off\""));
}

static void what_is_only_logged_goes_on(void **state)
{
    (void)state;
    struct outcome o = in_sandbox("log", SANDBOX_ROUTER, open_an_internet_socket);
    assert_true(WIFEXITED(o.status));
    assert_int_equal(WEXITSTATUS(o.status), DONE);
}

/* Sanitizers call what the filter forbids, so there is none. */
static void a_build_with_sanitizers_says_that_it_has_no_filter(void **state)
{
    (void)state;
    struct outcome o = in_sandbox("on", SANDBOX_ROUTER, open_an_internet_socket);
    assert_true(WIFEXITED(o.status));
    assert_non_null(strstr(o.text, "ev=sandbox-off"));
    assert_non_null(strstr(o.text, "sanitizers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_do_what_they_need),
        cmocka_unit_test(services_behind_the_gateway_reach_no_networks_or_processes),
        cmocka_unit_test(tokenizer_and_engine_open_no_files),
        cmocka_unit_test(features_add_rights),
        cmocka_unit_test(an_abort_is_still_an_abort),
        cmocka_unit_test(threads_from_before_are_in_it),
        cmocka_unit_test(switched_off_it_forbids_nothing_and_says_so),
        cmocka_unit_test(what_is_only_logged_goes_on),
    };
    const struct CMUnitTest sanitized[] = {
        cmocka_unit_test(a_build_with_sanitizers_says_that_it_has_no_filter),
        cmocka_unit_test(switched_off_it_forbids_nothing_and_says_so),
    };
    if (sandbox_is_possible())
        return cmocka_run_group_tests(tests, NULL, NULL);
    return cmocka_run_group_tests(sanitized, NULL, NULL);
}
