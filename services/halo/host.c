/* SPDX-License-Identifier: MIT */
#include "services/halo/host.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"

enum {
    HOT_MILLIDEGREES = 95000,
    PROBE_BYTES = 256 << 20, /* larger than any cache */
    PROBE_MS = 250,
    SLOW_PERCENT = 70, /* of the baseline; shared machines vary by a quarter */
};

/* 2026-01-01: this program was written later. */
#define EARLIEST_UNIX_S UINT64_C(1767225600)

/* The first line of a file. */
static bool read_text(const char *path, char *text, int cap)
{
    FILE *f = fopen(path, "re");
    bool ok = f != NULL && fgets(text, cap, f) != NULL;
    if (f != NULL)
        (void)fclose(f);
    return ok;
}

/* ---- kernel and processor ---------------------------------------------------------------------- */

void host_check_kernel(struct checks *c)
{
    struct utsname u;
    char *dot = NULL;
    unsigned long major = 0;
    unsigned long minor = 0;
    if (uname(&u) == 0) {
        major = strtoul(u.release, &dot, 10);
        minor = *dot == '.' ? strtoul(dot + 1, NULL, 10) : 0;
    }
    if (major == 0) {
        checks_add(c, OUTCOME_WARN, "kernel", "none", "its release is not readable");
        return;
    }
    bool has_pidfd = major > 5 || (major == 5 && minor >= 3);
    bool has_slices = major > 6 || (major == 6 && minor >= 12);
    checks_add(c, has_pidfd ? OUTCOME_OK : OUTCOME_WARN, "kernel",
               "use Linux 5.3 or later: before, the death of a process is noticed late",
               "%s %s, %s%s", u.sysname, u.release, u.machine,
               has_slices ? ", short time slices" : "");
}

/* The value of a line "key : value" of /proc/cpuinfo; "" if there is none. */
static void read_cpuinfo(const char *key, char *value, size_t cap)
{
    char line[8192];
    size_t n = strlen(key);
    FILE *f = fopen("/proc/cpuinfo", "re");
    value[0] = '\0';
    while (f != NULL && value[0] == '\0' && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, n) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(value, cap, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
        }
    }
    if (f != NULL)
        (void)fclose(f);
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)) != NULL; p += n) {
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    }
    return false;
}

void host_check_processor(struct checks *c)
{
    /* Best first; what halo-engine picks. */
    static const struct {
        const char *flag;
        const char *kernels;
    } LEVELS[] = {{"avx512_vnni", "AVX-512 VNNI"},
                  {"avx_vnni", "AVX-VNNI"},
                  {"avx2", "AVX2"},
                  {"asimddp", "NEON with dot products"}};
    char flags[8192];
    char name[128];
    read_cpuinfo("flags", flags, sizeof flags);
    if (flags[0] == '\0')
        read_cpuinfo("Features", flags, sizeof flags);
    read_cpuinfo("model name", name, sizeof name);
    const char *kernels = NULL;
    for (size_t i = 0; i < ARRAY_LEN(LEVELS) && kernels == NULL; i++)
        kernels = has_word(flags, LEVELS[i].flag) ? LEVELS[i].kernels : NULL;
    checks_add(c, kernels != NULL ? OUTCOME_OK : OUTCOME_WARN, "processor",
               "use one with AVX2 or NEON dot products: the scalar kernels are many times slower",
               "%s, %ld online, kernels for %s", name[0] != '\0' ? name : "unnamed",
               sysconf(_SC_NPROCESSORS_ONLN), kernels != NULL ? kernels : "scalar C only");
}

/* ---- GPU, temperature, clock ------------------------------------------------------------------- */

void host_check_gpu(struct checks *c)
{
    static const struct {
        const char *path;
        const char *what;
        const char *remedy;
    } DEVICES[] = {
        {"/dev/kfd", "AMD GPU (ROCm)", "add the user of the engine to the groups render and video"},
        {"/dev/nvidiactl", "NVIDIA GPU", "let the user of the engine open /dev/nvidia*"},
    };
    for (size_t i = 0; i < ARRAY_LEN(DEVICES); i++) {
        if (access(DEVICES[i].path, F_OK) != 0)
            continue;
        bool is_open = access(DEVICES[i].path, R_OK | W_OK) == 0;
        checks_add(c, is_open ? OUTCOME_OK : OUTCOME_WARN, "GPU", DEVICES[i].remedy, "%s at %s%s",
                   DEVICES[i].what, DEVICES[i].path,
                   is_open ? "; engines take it if its library is there, and log gpu-found"
                           : ", not open to us; engines compute on the processor");
        return;
    }
    checks_add(c, OUTCOME_OK, "GPU", NULL, "none found; engines compute on the processor");
}

void host_check_temperature(struct checks *c)
{
    glob_t zones;
    long most = -1;
    char where[64] = "";
    if (glob("/sys/class/thermal/thermal_zone*/temp", 0, NULL, &zones) == 0) {
        for (size_t i = 0; i < zones.gl_pathc; i++) {
            char text[64];
            long v = read_text(zones.gl_pathv[i], text, sizeof text) ? strtol(text, NULL, 10) : -1;
            if (v > most) {
                most = v;
                (void)snprintf(where, sizeof where, "%s", zones.gl_pathv[i]);
            }
        }
        globfree(&zones);
    }
    if (most < 0)
        checks_add(c, OUTCOME_OK, "temperature", NULL, "no sensor here");
    else
        checks_add(c, most < HOT_MILLIDEGREES ? OUTCOME_OK : OUTCOME_WARN, "temperature",
                   "cool the machine: hot processors run slower", "%.0f °C (%s)",
                   (double)most / 1000, where);
}

void host_check_clock(struct checks *c)
{
    struct timex t = {0};
    bool is_synchronised = adjtimex(&t) != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
    bool is_plausible = clock_unix_ms() / 1000 >= EARLIEST_UNIX_S;
    checks_add(c, is_plausible ? OUTCOME_OK : OUTCOME_FAIL, "clock",
               "set the time: certificates and logs depend on it", "%s%s",
               is_plausible ? "plausible" : "before 2026",
               is_synchronised ? ", synchronised" : ", the kernel knows of no synchronisation");
}

/* ---- memory ------------------------------------------------------------------------------------ */

static void baseline_path(struct buf *out)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state != NULL && *state == '/')
        buf_printf(out, "%s/halo/baseline", state);
    else
        buf_printf(out, "%s/.local/state/halo/baseline", home != NULL ? home : "");
}

/* Bytes a second that one thread reads; 0 if there is no memory for it. */
static double read_speed(void)
{
    uint64_t *p =
        mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 0;
    (void)madvise(p, PROBE_BYTES, MADV_HUGEPAGE);
    memset(p, 1, PROBE_BYTES);
    double best = 0;
    uint64_t sink = 0;
    uint64_t end = clock_now_ms() + PROBE_MS;
    do {
        uint64_t t0 = clock_now_ns();
        uint64_t sums[8] = {0};
        for (size_t i = 0; i < PROBE_BYTES / sizeof *p; i += 8) {
            for (size_t k = 0; k < 8; k++)
                sums[k] += p[i + k];
        }
        for (size_t k = 0; k < 8; k++)
            sink += sums[k];
        double speed = PROBE_BYTES / ((double)(clock_now_ns() - t0) * 1e-9);
        best = speed > best ? speed : best;
    } while (clock_now_ms() < end);
    __asm__ volatile("" ::"r"(sink)); /* the sums are wanted */
    (void)munmap(p, PROBE_BYTES);
    return best;
}

static double read_baseline(const char *path)
{
    static const char KEY[] = "memory_read_bytes_per_s ";
    char text[64];
    bool is_ours = read_text(path, text, sizeof text) && strncmp(text, KEY, strlen(KEY)) == 0;
    return is_ours ? strtod(text + strlen(KEY), NULL) : 0;
}

/* Makes the directories of the path, too. */
static bool write_baseline(const char *path, double speed)
{
    struct buf dir = {0};
    for (const char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        buf_reset(&dir);
        buf_add(&dir, path, (size_t)(p - path));
        (void)mkdir(buf_str(&dir).ptr, 0700); /* what is wrong shows below */
    }
    buf_fini(&dir);
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fprintf(f, "memory_read_bytes_per_s %.0f\n", speed) > 0;
    return f != NULL && fclose(f) == 0 && ok;
}

void host_check_bandwidth(struct checks *c, bool does_store)
{
    static const char WHAT[] = "memory speed";
    struct buf path = {0};
    baseline_path(&path);
    double before = read_baseline(path.ptr);
    if (!does_store && before <= 0) {
        checks_add(c, OUTCOME_OK, WHAT, NULL,
                   "not measured: `halo doctor --store-baseline` keeps a figure to compare with");
        buf_fini(&path);
        return;
    }
    double now = read_speed();
    if (does_store && !write_baseline(path.ptr, now))
        checks_add(c, OUTCOME_FAIL, WHAT, "make its directory writable", "cannot write %s: %s",
                   path.ptr, strerrordesc_np(errno));
    else if (does_store)
        checks_add(c, OUTCOME_OK, WHAT, NULL, "one thread reads %.1f GB/s; kept in %s", now * 1e-9,
                   path.ptr);
    else
        checks_add(
            c, now * 100 >= before * SLOW_PERCENT ? OUTCOME_OK : OUTCOME_WARN, WHAT,
            "see what else runs (`top`), and whether the processor is throttled; replies are "
            "as much slower",
            "one thread reads %.1f GB/s, %.0f %% of the baseline", now * 1e-9, now / before * 100);
    buf_fini(&path);
}
