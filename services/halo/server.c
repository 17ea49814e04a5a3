/* SPDX-License-Identifier: MIT */
#include "services/halo/server.h"

#include <stdio.h>

#include "services/halo/api.h"
#include "services/halo/stack_info.h"

char *server_find(const char *verb, const char *url, const char *run)
{
    if (url != NULL)
        return api_base(url);
    const char *dir = run != NULL ? run : stack_info_default_run();
    struct stack_info info;
    stack_info_read(dir, &info);
    char *base = info.has_facts ? api_base(info.url) : NULL;
    if (info.pid == 0)
        stack_info_say_none(dir);
    else if (base == NULL)
        (void)fprintf(stderr, "halo %s: the stack in %s is not ready; look at `halo status`\n",
                      verb, dir);
    stack_info_fini(&info);
    return base;
}
