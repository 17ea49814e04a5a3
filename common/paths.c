/* SPDX-License-Identifier: MIT */
#include "common/paths.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"

static bool own_directory(char *path, size_t cap)
{
    ssize_t n = readlink("/proc/self/exe", path, cap - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

static char *if_executable(struct buf *path)
{
    char *p = buf_detach(path);
    if (access(p, X_OK) == 0)
        return p;
    free(p);
    return NULL;
}

/* Without links, "." and "..". */
static char *if_readable(struct buf *path)
{
    char *found = access(path->ptr, R_OK) == 0 ? realpath(path->ptr, NULL) : NULL;
    buf_fini(path);
    return found;
}

/* Its folder in services/ of a build tree: that of its name, halo-bench and halo-ppl stand beside the engine. */
static const char *build_folder(const char *program)
{
    static const char PREFIX[] = "halo-";
    if (strcmp(program, "halo-bench") == 0 || strcmp(program, "halo-ppl") == 0)
        return "engine";
    return strncmp(program, PREFIX, strlen(PREFIX)) == 0 ? program + strlen(PREFIX) : program;
}

char *paths_find_binary(const char *bin, const char *program)
{
    char own[PATH_MAX];
    struct buf path = {0};
    if (bin != NULL) {
        buf_printf(&path, "%s/%s", bin, program);
        return if_executable(&path);
    }
    if (!own_directory(own, sizeof own))
        return NULL;
    buf_printf(&path, "%s/%s", own, program);
    char *found = if_executable(&path);
    if (found != NULL)
        return found;
    buf_printf(&path, "%s/../%s/%s", own, build_folder(program), program);
    return if_executable(&path);
}

char *paths_find_model(void)
{
    char dir[PATH_MAX];
    struct buf path = {0};
    if (!own_directory(dir, sizeof dir))
        return NULL;
    buf_printf(&path, "%s/../share/halo/halo-demo.h1b", dir);
    char *found = if_readable(&path);
    for (char *slash = strrchr(dir, '/'); found == NULL && slash != NULL;
         slash = strrchr(dir, '/')) {
        *slash = '\0';
        buf_printf(&path, "%s/deploy/models/halo-demo.h1b", dir);
        found = if_readable(&path);
    }
    return found;
}
