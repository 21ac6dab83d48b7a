/* A libnvidia-ml.so.1 that answers from a scenario file. It defines what a detector calls and no more, so any
 * other function is missing, as on an old driver. The layouts are those that nvidia-ml-py declares. */
#include "scenario.h"

typedef int status;
enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, BAD_VERSION = 25 };

typedef struct device {
    int gpu;         /* number of the gpu statement */
    int slice;       /* number of the slice statement, or -1 */
} device;

#define MAX_DEVICES 64
static device devices[MAX_DEVICES], slices[MAX_DEVICES];
static int started;

#define BEGIN                                   \
    do {                                        \
        if (!started)                           \
            return UNINITIALIZED;               \
        int fault_ = scenario_fault(__func__);  \
        if (fault_)                             \
            return fault_;                      \
    } while (0)

static const char *gpu_line(const device *d) { return scenario_line("gpu", d->gpu); }
static const char *line_of(const device *d) { return d->slice < 0 ? gpu_line(d) : scenario_line("slice", d->slice); }
static uint64_t value(const device *d, const char *key, uint64_t fallback) { return scenario_value(line_of(d), key, fallback); }

static status put(char *out, unsigned size, const char *text)
{
    if (strlen(text) >= size)
        return TOO_SMALL;
    strcpy(out, text);
    return OK;
}

static status put_setting(char *out, unsigned size, const char *key, const char *fallback)
{
    char text[LINE_CHARS];
    scenario_text(scenario_line("driver", 0), key, fallback, text, sizeof text);
    return put(out, size, text);
}

status nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    scenario_load();
    int fault = scenario_fault(__func__);
    if (fault)
        return fault;
    for (int i = 0; i < MAX_DEVICES; i++) {
        devices[i] = (device){i, -1};
        slices[i] = (device){(int)scenario_value(scenario_line("slice", i), "gpu", 0), i};
    }
    started = 1;
    return OK;
}
status nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

/* A library that is trouble to the end: with `fail call=unload`, its destructor hangs or crashes. */
__attribute__((destructor)) static void unload(void) { scenario_fault("unload"); }
const char *nvmlErrorString(status code) { (void)code; return "stub"; }

status nvmlSystemGetDriverVersion(char *out, unsigned size) { BEGIN; return put_setting(out, size, "version", "580.159.04"); }
status nvmlSystemGetNVMLVersion(char *out, unsigned size) { BEGIN; return put_setting(out, size, "library", "13.580.159.04"); }
status nvmlSystemGetCudaDriverVersion_v2(int *out) { BEGIN; *out = (int)scenario_value(scenario_line("driver", 0), "cuda", 13000); return OK; }
status nvmlDeviceGetCount_v2(unsigned *out) { BEGIN; *out = (unsigned)scenario_number_of("gpu"); return OK; }

status nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out)
{
    BEGIN;
    if (index >= (unsigned)scenario_number_of("gpu"))
        return INVALID;
    int broken = (int)scenario_value(scenario_line("gpu", (int)index), "broken", 0);
    *out = &devices[index];
    return broken;
}

status nvmlDeviceGetName(device *d, char *out, unsigned size)
{
    char name[128], part[64], whole[256];
    BEGIN;
    scenario_text(gpu_line(d), "name", "NVIDIA H200", name, sizeof name);
    if (d->slice < 0)
        return put(out, size, name);
    scenario_text(line_of(d), "name", "1g.18gb", part, sizeof part);
    snprintf(whole, sizeof whole, "%s MIG %s", name, part);
    return put(out, size, whole);
}

status nvmlDeviceGetUUID(device *d, char *out, unsigned size)
{
    char text[96];
    BEGIN;
    if (d->slice < 0)
        snprintf(text, sizeof text, "GPU-5a%06x-1111-4222-8333-%012x", (unsigned)d->gpu, (unsigned)d->gpu);
    else
        snprintf(text, sizeof text, "MIG-6b%06x-1111-4222-8333-%012x", (unsigned)d->slice, (unsigned)d->slice);
    return put(out, size, text);
}

struct memory_v1 { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

static void measure(const device *d, struct memory_v2 *m)
{
    m->total = value(d, "total_mib", 143771) << 20;
    m->reserved = value(d, "reserved_mib", d->slice < 0 ? 615 : 0) << 20;
    m->used = value(d, "used_mib", 0) << 20;
    m->free = m->total - m->reserved - m->used;
}

status nvmlDeviceGetMemoryInfo(device *d, struct memory_v1 *out)
{
    struct memory_v2 m;
    BEGIN;
    if (value(d, "no_memory", 0))
        return NOT_SUPPORTED;
    measure(d, &m);
    *out = (struct memory_v1){m.total, m.free, m.used + m.reserved}; /* version 1 counts the reserve as used */
    return OK;
}

status nvmlDeviceGetMemoryInfo_v2(device *d, struct memory_v2 *out)
{
    BEGIN;
    if (value(d, "no_memory", 0))
        return NOT_SUPPORTED;
    if (out->version != (sizeof(struct memory_v2) | 2u << 24))
        return BAD_VERSION;
    measure(d, out);
    return OK;
}

status nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor)
{
    char text[32];
    BEGIN;
    scenario_text(gpu_line(d), "cc", "9.0", text, sizeof text);
    return sscanf(text, "%d.%d", major, minor) == 2 ? OK : NOT_SUPPORTED;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
status nvmlDeviceGetPciInfo_v3(device *d, struct pci *out)
{
    BEGIN;
    memset(out, 0, sizeof *out);
    out->bus = (unsigned)scenario_value(gpu_line(d), "bus", 0x18 + 0x10 * (uint64_t)d->gpu);
    out->id = (unsigned)scenario_value(gpu_line(d), "device", 0x2335) << 16 | 0x10de;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus & 0xff);
    memcpy(out->legacy, out->bus_id + 4, 12);
    return OK;
}

status nvmlDeviceGetNumGpuCores(device *d, unsigned *out)
{
    BEGIN;
    *out = (unsigned)scenario_value(gpu_line(d), "cores", 16896);
    return *out ? OK : NOT_SUPPORTED;
}
status nvmlDeviceGetMemoryBusWidth(device *d, unsigned *out) { BEGIN; *out = (unsigned)scenario_value(gpu_line(d), "bus_bits", 6144); return OK; }
status nvmlDeviceGetMaxClockInfo(device *d, unsigned kind, unsigned *out)
{
    BEGIN;
    *out = (unsigned)scenario_value(gpu_line(d), "memory_mhz", 3201);
    return kind == 2 ? OK : NOT_SUPPORTED;
}
status nvmlDeviceGetEccMode(device *d, unsigned *current, unsigned *pending)
{
    BEGIN;
    *current = *pending = (unsigned)scenario_value(gpu_line(d), "ecc", 1);
    return OK;
}

/* Links: `links` per GPU; a pair is NVLink unless a link statement says otherwise. */
static const char *pair_line(const device *a, const device *b)
{
    const char *line;
    for (int n = 0; (line = scenario_line("link", n)); n++)
        if ((int)scenario_value(line, "a", 99) == a->gpu && (int)scenario_value(line, "b", 99) == b->gpu)
            return line;
    return NULL;
}
status nvmlDeviceGetNvLinkState(device *d, unsigned link, unsigned *out)
{
    BEGIN;
    *out = 1;
    return link < scenario_value(gpu_line(d), "links", 18) ? OK : INVALID;
}
status nvmlDeviceGetP2PStatus(device *a, device *b, unsigned what, unsigned *out)
{
    char kind[32];
    BEGIN;
    scenario_text(pair_line(a, b), "kind", scenario_value(gpu_line(a), "links", 18) ? "nvlink" : "pcie", kind, sizeof kind);
    *out = what != 2 || !strcmp(kind, "nvlink") ? 0 : 5;
    return OK;
}
status nvmlDeviceGetTopologyCommonAncestor(device *a, device *b, unsigned *out)
{
    BEGIN;
    *out = (unsigned)scenario_value(pair_line(a, b), "level", a->gpu / 4 == b->gpu / 4 ? 40 : 50);
    return OK;
}

/* MIG. Instances are numbered with a gap, as they are after one of them was destroyed. */
status nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending)
{
    BEGIN;
    int mode = (int)scenario_value(gpu_line(d), "mig", 2);
    *current = *pending = (unsigned)mode;
    return mode == 2 ? NOT_SUPPORTED : OK;
}
status nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *out) { (void)d; BEGIN; *out = 8; return OK; }
status nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned number, device **out)
{
    BEGIN;
    for (int i = 0; i < scenario_number_of("slice"); i++)
        if (slices[i].gpu == d->gpu && scenario_value(scenario_line("slice", i), "number", 0) == number) {
            *out = &slices[i];
            return OK;
        }
    return NOT_FOUND;
}
struct attributes { unsigned sms, copy, dec, enc, jpeg, ofa, gi, ci; unsigned long long mib; };
status nvmlDeviceGetAttributes_v2(device *d, struct attributes *out)
{
    BEGIN;
    if (d->slice < 0)
        return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    out->sms = (unsigned)value(d, "units", 16);
    out->mib = value(d, "total_mib", 18144);
    return OK;
}

struct process { unsigned pid; unsigned long long used; unsigned gi, ci; };
status nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, struct process *out)
{
    unsigned have = 0;
    const char *line;
    BEGIN;
    for (int n = 0; d->slice < 0 && (line = scenario_line("process", n)); n++) {
        if ((int)scenario_value(line, "gpu", 0) != d->gpu)
            continue;
        if (out && have < *count) {
            uint64_t mib = scenario_value(line, "mib", 0);
            out[have] = (struct process){(unsigned)scenario_value(line, "pid", 4242), mib ? mib << 20 : ~0ULL, ~0u, ~0u};
        }
        have++;
    }
    int enough = out ? have <= *count : have == 0;
    *count = have;
    return enough ? OK : TOO_SMALL;
}
status nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size)
{
    const char *line;
    char name[128];
    BEGIN;
    for (int n = 0; (line = scenario_line("process", n)); n++)
        if (scenario_value(line, "pid", 4242) == pid && scenario_text(line, "name", "", name, sizeof name))
            return put(out, size, name);
    return NOT_FOUND;
}

/* What a GPU does right now; `use_percent=none` and the like are what a driver does not tell. */
static status tell(device *d, const char *key, uint64_t fallback, uint64_t scale, unsigned *out)
{
    char text[32];
    if (scenario_text(line_of(d), key, "", text, sizeof text) && !strcmp(text, "none"))
        return NOT_SUPPORTED;
    *out = (unsigned)(value(d, key, fallback) * scale);
    return OK;
}
struct utilization { unsigned gpu, memory; };
status nvmlDeviceGetUtilizationRates(device *d, struct utilization *out)
{
    BEGIN;
    out->memory = 40;
    return tell(d, "use_percent", 0, 1, &out->gpu);
}
status nvmlDeviceGetPowerUsage(device *d, unsigned *out) { BEGIN; return tell(d, "power_w", 75, 1000, out); }
status nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *out) { BEGIN; return tell(d, "limit_w", 700, 1000, out); }
