/* SPDX-License-Identifier: MIT */
#include "services/halo/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *print_color(enum color c)
{
    static const char *const SEQUENCES[] = {"\033[0m", "\033[32m", "\033[33m", "\033[31m",
                                            "\033[2m"};
    const char *no = getenv("NO_COLOR");
    if (!isatty(STDOUT_FILENO) || (no != NULL && *no != '\0'))
        return "";
    return SEQUENCES[c];
}

void print_duration(uint64_t seconds, char *text, size_t cap)
{
    unsigned long long s = seconds;
    if (s < 60)
        (void)snprintf(text, cap, "%llu s", s);
    else if (s < 3600)
        (void)snprintf(text, cap, "%llu min %llu s", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(text, cap, "%llu h %llu min", s / 3600, s % 3600 / 60);
    else
        (void)snprintf(text, cap, "%llu d %llu h", s / 86400, s % 86400 / 3600);
}
