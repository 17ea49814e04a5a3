/* SPDX-License-Identifier: MIT */
/* What the engine's sources take from parts that need more than libc, for a driver that has neither model
 * files nor a manager: see tests/gpu/run. */
#include "common/notify.h"

#include <stdlib.h>

#include "services/engine/model.h"

void notify_progress(void)
{
}

/* Of a random model. */
void model_close(struct model *m)
{
    if (m == NULL)
        return;
    free(m->layers);
    free(m->rope_cos);
    free(m->rope_sin);
    free(m);
}

uint64_t model_head_bytes(const struct model *m)
{
    return (uint64_t)m->config.n_vocab * m->config.n_hidden * sizeof *m->head;
}

bool model_has_head_in_file(const struct model *m)
{
    (void)m;
    return false;
}

void model_fetch_head(const struct model *m, uint32_t row0, uint32_t row1)
{
    (void)m;
    (void)row0;
    (void)row1;
}

void model_release_head(const struct model *m, uint32_t row0, uint32_t row1)
{
    (void)m;
    (void)row0;
    (void)row1;
}

void model_release_embedding(const struct model *m)
{
    (void)m;
}
