/* SPDX-License-Identifier: MIT */
/* What our own manager (systemd, or `halo up`) is told, over sd_notify(3). Beside the fields that
 * systemd knows: X_HALO_CHILD, X_HALO_STATE, X_HALO_MS with each change of a child, and X_HALO_ERROR
 * with the reason when the start fails. */
#ifndef HALO_SUPERVISOR_REPORT_H
#define HALO_SUPERVISOR_REPORT_H

#include "services/supervisor/child.h"

void report_child(const struct child *c);

/* Also one line on stderr. */
void report_error(const char *why);

#endif
