/* SPDX-License-Identifier: MIT */
#include "common/check.h"

#include <stdlib.h>

#include "common/log.h"

_Noreturn void check_failed(const char *what, const char *file, int line)
{
    log_error("bug", S("condition", what), S("file", file), I("line", line));
    abort();
}
