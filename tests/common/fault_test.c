/* SPDX-License-Identifier: MIT */
#include "common/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"

static void a_build_for_use_has_no_faults(void **state)
{
    (void)state;
    log_init("test", LOG_ERROR);
    assert_int_equal(setenv("HALO_FAULT", "test/lost_frame:1", 1), 0);
    assert_false(fault_is_possible());
    assert_false(FAULT_HITS(lost_frame));
    assert_false(fault_hits(FAULT_lost_frame));
}

static void a_fault_hits_its_service_from_its_time_on(void **state)
{
    (void)state;
    log_init("other", LOG_ERROR);
    assert_int_equal(setenv("HALO_FAULT", "test/lost_frame:3", 1), 0);
    for (int i = 0; i < 5; i++)
        assert_false(fault_hits(FAULT_lost_frame));
    log_init("test", LOG_ERROR);
    assert_false(fault_hits(FAULT_slow_peer));
    assert_false(fault_hits(FAULT_lost_frame));
    assert_false(fault_hits(FAULT_lost_frame));
    assert_true(fault_hits(FAULT_lost_frame));
    assert_true(fault_hits(FAULT_lost_frame));
}

static void a_fault_with_a_file_hits_once(void **state)
{
    (void)state;
    char path[] = "/tmp/halo-fault-XXXXXX";
    char text[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(text, sizeof text, "test/slow_peer:1:%s", path);
    assert_int_equal(setenv("HALO_FAULT", text, 1), 0);
    assert_true(fault_hits(FAULT_slow_peer));
    assert_false(fault_hits(FAULT_slow_peer));
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest without[] = {cmocka_unit_test(a_build_for_use_has_no_faults)};
    const struct CMUnitTest with[] = {
        cmocka_unit_test(a_fault_hits_its_service_from_its_time_on),
        cmocka_unit_test(a_fault_with_a_file_hits_once),
    };
    if (fault_is_possible())
        return cmocka_run_group_tests(with, NULL, NULL);
    return cmocka_run_group_tests(without, NULL, NULL);
}
