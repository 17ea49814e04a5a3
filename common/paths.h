/* SPDX-License-Identifier: MIT */
/* Where things are, seen from our own executable: installed (bin/, share/halo/) or in a build tree. */
#ifndef HALO_COMMON_PATHS_H
#define HALO_COMMON_PATHS_H

/* Path of a binary: in `bin` if given, else beside us, else in its folder of the build tree. The
 * caller frees it; NULL if it is not there. Links are not followed: an upgrade may turn them. */
char *paths_find_binary(const char *bin, const char *program);

/* The demo model: share/halo/halo-demo.h1b beside bin/, or deploy/models/halo-demo.h1b in a folder
 * above us. The caller frees it; NULL if it is not there. */
char *paths_find_model(void);

#endif
