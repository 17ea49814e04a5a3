/* SPDX-License-Identifier: MIT */
#include "common/fault.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#ifdef HALO_FAULTS

static const char *const NAMES[] = {
#define FAULT(name, doc) #name,
#include "common/fault.def"
#undef FAULT
};

bool fault_is_possible(void)
{
    return true;
}

/* Whether the text begins with that word and then `end`; then it is moved behind. */
static bool skip(const char **text, const char *word, char end)
{
    size_t n = strlen(word);
    if (strncmp(*text, word, n) != 0 || (*text)[n] != end)
        return false;
    *text += n + 1;
    return true;
}

bool fault_hits(enum fault f)
{
    static atomic_ullong n_times;
    const char *text = getenv("HALO_FAULT");
    if (text == NULL || !skip(&text, log_service(), '/') || !skip(&text, NAMES[f], ':'))
        return false;
    char *rest;
    unsigned long long at = strtoull(text, &rest, 10);
    if (atomic_fetch_add(&n_times, 1) + 1 < at || (*rest == ':' && unlink(rest + 1) != 0))
        return false;
    if (f != FAULT_no_memory && f != FAULT_clock_jump && *rest == ':') /* the log needs both */
        log_warn("fault", S("name", NAMES[f]));
    return true;
}

void fault_spin(void)
{
    static volatile bool is_forever = true;
    while (is_forever) {
    }
}

void fault_dawdle(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

#else

bool fault_is_possible(void)
{
    return false;
}

bool fault_hits(enum fault f)
{
    (void)f;
    return false;
}

void fault_spin(void)
{
}

void fault_dawdle(void)
{
}

#endif
