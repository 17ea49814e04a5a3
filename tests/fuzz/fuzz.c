/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "services/model/config_json.h"
#include "services/model/expect.h"
#include "services/model/ternarize.h"

enum { WEIGHTS_MAX = 1 << 20 }; /* of a model that is read whole */

void fuzz_file(const uint8_t *data, size_t size, char path[32], int *ret_fd)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, 32, "/proc/self/fd/%d", fd);
    *ret_fd = fd;
}

static void read_tensor(struct source *s, const struct expect *x)
{
    const struct source_tensor *t = x->tensor;
    struct why why;
    struct ternary_form form = {0};
    size_t n = (size_t)(t->rows * t->cols);
    float *floats = malloc(n * sizeof *floats);
    int8_t *codes = malloc(n);
    if (floats == NULL || codes == NULL)
        abort();
    enum err e = ERR_OK;
    if (x->role == EXPECT_LINEAR || t->kind == SOURCE_CODES) {
        e = ternarize_study(s, t, true, 0, &why, &form);
        if (!e)
            e = ternarize_rows(s, t, &form, 0, t->rows, floats, codes, &why);
    } else {
        e = s->ops->read_floats(s, t, 0, t->rows, floats, &why);
    }
    (void)e;
    ternary_form_fini(&form);
    free(floats);
    free(codes);
}

void fuzz_read_all(struct source *s)
{
    struct why why;
    char *config = NULL;
    if (config_json_write(&s->config, &why, &config) != ERR_OK)
        return;
    free(config);
    struct expect *list = NULL;
    size_t n = 0;
    if (expect_all(s, &why, &list, &n) != ERR_OK)
        return;
    uint64_t n_weights = 0;
    for (size_t i = 0; i < n && n_weights <= WEIGHTS_MAX; i++)
        n_weights += list[i].tensor->rows * list[i].tensor->cols;
    for (size_t i = 0; i < n && n_weights <= WEIGHTS_MAX; i++)
        read_tensor(s, &list[i]);
    free(list);
}
