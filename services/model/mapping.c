/* SPDX-License-Identifier: MIT */
#include "services/model/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum err mapping_init(struct mapping *m, const char *path, struct why *why)
{
    *m = (struct mapping){.bytes = (const uint8_t *)"", .size = 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return why_errno(why, path, "cannot open", errno);
    struct stat st;
    enum err e = ERR_OK;
    if (fstat(fd, &st) != 0) {
        e = why_errno(why, path, "cannot stat", errno);
    } else if (!S_ISREG(st.st_mode)) {
        e = why_errno(why, path, "not a regular file", EINVAL);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            e = why_errno(why, path, "cannot map", errno);
        } else {
            *m = (struct mapping){.bytes = p, .size = (size_t)st.st_size};
            (void)madvise(p, m->size, MADV_SEQUENTIAL);
        }
    }
    (void)close(fd);
    return e;
}

void mapping_fini(struct mapping *m)
{
    if (m->size > 0)
        (void)munmap((void *)(uintptr_t)m->bytes, m->size);
    *m = (struct mapping){0};
}

void mapping_release(const void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)p / page * page;
    uintptr_t end = (uintptr_t)p + n;
    /* An address inside a read-only shared mapping: nothing is lost. */
    if (end > start)
        (void)madvise((void *)start, end - start, MADV_DONTNEED);
}
