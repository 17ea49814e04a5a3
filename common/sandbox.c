/* SPDX-License-Identifier: MIT */
#include "common/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/check.h"
#include "common/log.h"

#ifdef __SANITIZE_ADDRESS__
#define IS_SANITIZED true
#elif defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

enum {
    ALL = SANDBOX_GATEWAY | SANDBOX_TOKENIZER | SANDBOX_ROUTER | SANDBOX_ENGINE,
    GATEWAY = SANDBOX_GATEWAY,
    TOKENIZER = SANDBOX_TOKENIZER,
    ROUTER = SANDBOX_ROUTER,
    ENGINE = SANDBOX_ENGINE,
    GPU = SANDBOX_GPU,
    REMOTE = SANDBOX_REMOTE,
    CALLS_MAX = 512, /* numbers that have a name in the log */
};

enum rule_kind { RULE_ALLOW, RULE_ALLOW_IF, RULE_ALLOW_SELF, RULE_REFUSE, RULE_REFUSE_IF };

struct rule {
    const char *call;
    unsigned who;
    unsigned but; /* not for who has one of these */
    enum rule_kind kind;
    unsigned arg;
    uint64_t mask;
    uint64_t value;
    uint16_t error; /* errno of a refusal */
};

static const struct rule RULES[] = {
#define ALLOW(call, who) {#call, who, 0, RULE_ALLOW, 0, 0, 0, 0},
#define ALLOW_IF(call, who, arg, mask, value) {#call, who, 0, RULE_ALLOW_IF, arg, mask, value, 0},
#define ALLOW_SELF(call, who) {#call, who, 0, RULE_ALLOW_SELF, 0, UINT32_MAX, 0, 0},
#define REFUSE(call, who, error) {#call, who, 0, RULE_REFUSE, 0, 0, 0, error},
#define REFUSE_IF(call, who, but, arg, mask, value, error)                                         \
    {#call, who, but, RULE_REFUSE_IF, arg, mask, value, error},
#include "common/sandbox.def"
#undef ALLOW
#undef ALLOW_IF
#undef ALLOW_SELF
#undef REFUSE
#undef REFUSE_IF
};

/* ---- capabilities ------------------------------------------------------------------------------ */

/* Kept until sandbox_enter: root may read a model of another user, and serve port 443. */
static const unsigned KEPT[] = {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_BIND_SERVICE};

static uint64_t kept_mask(void)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(KEPT); i++)
        mask |= UINT64_C(1) << KEPT[i];
    return mask;
}

/* Of the calling thread, and of threads that it creates. systemd has left a service none, and forbids
 * the call. */
static bool limit_capabilities(uint64_t mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, data) != 0)
        return false;
    uint32_t excess = 0;
    for (size_t i = 0; i < ARRAY_LEN(data); i++) {
        uint32_t part = (uint32_t)(mask >> (32 * i));
        excess |= (data[i].permitted & ~part) | data[i].inheritable;
        data[i].permitted &= part;
        data[i].effective &= part;
        data[i].inheritable = 0;
    }
    return excess == 0 || syscall(SYS_capset, &head, data) == 0;
}

/* What an exec could give back. Only who has CAP_SETPCAP may, and nobody else needs to. */
static void limit_bounds(uint64_t mask)
{
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++) {
        if ((mask >> cap & 1) == 0)
            (void)prctl(PR_CAPBSET_DROP, cap);
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static bool is_off(const char *mode)
{
    return strcmp(mode, "off") == 0;
}

bool sandbox_begin(const char *mode)
{
    if (is_off(mode))
        return true;
    limit_bounds(kept_mask());
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && limit_capabilities(kept_mask()))
        return true;
    log_error("sandbox-refused", S("why", strerrordesc_np(errno)),
              S("hint", "rights could not be given up; --sandbox off starts without"));
    return false;
}

/* ---- the filter -------------------------------------------------------------------------------- */

static char *call_names[CALLS_MAX];

static void name_calls(void)
{
    for (int i = 0; i < CALLS_MAX; i++)
        call_names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
}

static void forget_names(void)
{
    for (int i = 0; i < CALLS_MAX; i++) {
        free(call_names[i]);
        call_names[i] = NULL;
    }
}

/* The call was not made. Logging allocates nothing and takes no lock. */
static void on_forbidden(int sig, siginfo_t *info, void *context)
{
    int call = info->si_syscall;
    const char *name = call >= 0 && call < CALLS_MAX ? call_names[call] : NULL;
    (void)context;
    log_error("forbidden-call", S("name", name != NULL ? name : "?"), I("number", call),
              S("hint", "the process ends; --sandbox log finds out what it wants"));
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
    _exit(128 + sig); /* unless it is blocked */
}

static bool watch_forbidden(void)
{
    struct sigaction a = {.sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO | SA_NODEFER};
    (void)sigemptyset(&a.sa_mask);
    return sigaction(SIGSYS, &a, NULL) == 0;
}

static int add_rule(scmp_filter_ctx filter, const struct rule *r)
{
    int call = seccomp_syscall_resolve_name(r->call);
    if (call == __NR_SCMP_ERROR)
        return 0; /* not on this architecture */
    struct scmp_arg_cmp cmp = {r->arg, SCMP_CMP_MASKED_EQ, r->mask, r->value};
    switch (r->kind) {
    case RULE_ALLOW:
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    case RULE_ALLOW_SELF:
        cmp.datum_b = (uint32_t)getpid();
        return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &cmp);
    case RULE_ALLOW_IF:
        return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &cmp);
    case RULE_REFUSE:
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(r->error), call, 0);
    case RULE_REFUSE_IF:
        return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(r->error), call, 1, &cmp);
    }
    return -EINVAL;
}

/* For all threads, or none. Returns 0 or a negative errno. */
static int load_filter(unsigned rights, bool only_logs)
{
    /* A trap and not a kill, so that the log names the call; the call is not made either way. */
    scmp_filter_ctx filter = seccomp_init(only_logs ? SCMP_ACT_LOG : SCMP_ACT_TRAP);
    if (filter == NULL)
        return -ENOMEM;
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; i < ARRAY_LEN(RULES) && rc == 0; i++) {
        if ((RULES[i].who & rights) != 0 && (RULES[i].but & rights) == 0)
            rc = add_rule(filter, &RULES[i]);
    }
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc;
}

bool sandbox_is_possible(void)
{
    return !IS_SANITIZED;
}

bool sandbox_enter(const char *mode, unsigned rights)
{
    if (is_off(mode)) {
        log_warn("sandbox-off", S("why", "--sandbox off"));
        return true;
    }
    if (!sandbox_is_possible()) {
        log_warn("sandbox-off", S("why", "a build with sanitizers needs more system calls"));
        return true;
    }
    name_calls();
    int rc = watch_forbidden() && limit_capabilities(0) ? 0 : -errno;
    if (rc == 0)
        rc = load_filter(rights, strcmp(mode, "log") == 0);
    if (rc == 0)
        return true;
    forget_names();
    log_error("sandbox-refused", S("why", strerrordesc_np(-rc)),
              S("hint", "the kernel takes no filter; --sandbox off starts without"));
    return false;
}
