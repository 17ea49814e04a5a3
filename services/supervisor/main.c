/* SPDX-License-Identifier: MIT */
/* halo-supervisor: starts the processes of a stack in order, keeps them running, stops them. */
#include <stdlib.h>
#include <sys/stat.h>

#include "common/opt.h"
#include "services/supervisor/exec_child.h"
#include "services/supervisor/report.h"
#include "services/supervisor/supervisor.h"

enum { EXIT_USAGE = 2 };

int main(int argc, char **argv)
{
    static struct supervisor s;
    char why[SUPERVISOR_WHY_CAP];
    int rc;
    if (exec_child_is_asked(argc, argv))
        return exec_child_main(argc, argv);
    if (!options_parse(argc, argv, &s.options, &rc))
        return rc;
    if (!opt_common_setup("supervisor", &s.options.run, s.options.log_level))
        return EXIT_USAGE;
    (void)umask(077);

    bool ok = supervisor_init(&s, why) == ERR_OK;
    if (ok)
        supervisor_run(&s);
    else
        report_error(why);

    supervisor_fini(&s);
    return ok && !s.has_failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
