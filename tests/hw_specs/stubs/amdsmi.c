/* A libamd_smi.so that answers from a scenario file, with the layouts that the Python wrapper 7.0.x declares.
 * Every other function the wrapper binds comes from a generated file and answers NOT_SUPPORTED. */
#include "scenario.h"

typedef uint32_t status;
typedef void *handle;
enum { OK = 0, INVALID = 1, NOT_SUPPORTED = 2, NOT_INIT = 32, TOO_SMALL = 41 };
enum { VRAM = 0 };

#define MAX_DEVICES 64
static int numbers[MAX_DEVICES];
static int started, count;

static int number(handle h)
{
    int *p = h;
    return p >= numbers && p < numbers + count ? *p : -1;
}

#define BEGIN(h)                                \
    do {                                        \
        if (!started)                           \
            return NOT_INIT;                    \
        if (number(h) < 0)                      \
            return INVALID;                     \
        int fault_ = scenario_fault(__func__);  \
        if (fault_)                             \
            return (status)fault_;              \
    } while (0)

static const char *line_of(handle h) { return scenario_line("gpu", number(h)); }
static uint64_t value(handle h, const char *key, uint64_t fallback) { return scenario_value(line_of(h), key, fallback); }

status amdsmi_init(uint64_t flags)
{
    (void)flags;
    scenario_load();
    int fault = scenario_fault(__func__);
    if (fault)
        return (status)fault;
    count = scenario_number_of("gpu");
    for (int i = 0; i < MAX_DEVICES; i++)
        numbers[i] = i;
    started = 1;
    return OK;
}
status amdsmi_status_code_to_string(status code, const char **out) { (void)code; *out = "stub"; return OK; }

/* One socket per logical device. */
status amdsmi_get_socket_handles(uint32_t *n, handle *out)
{
    if (!started)
        return NOT_INIT;
    for (uint32_t i = 0; out && i < *n && i < (uint32_t)count; i++)
        out[i] = &numbers[i];
    *n = (uint32_t)count;
    return OK;
}
status amdsmi_get_processor_handles(handle socket, uint32_t *n, handle *out)
{
    if (out && *n)
        out[0] = socket;
    *n = 1;
    return OK;
}
status amdsmi_get_processor_type(handle h, uint32_t *out) { BEGIN(h); *out = 1; return OK; }

struct version { uint32_t major, minor, release, pad; const char *build; };
status amdsmi_get_lib_version(struct version *out) { *out = (struct version){26, 0, 2, 0, "stub"}; return OK; }

struct asic {
    char market_name[256]; uint32_t vendor_id; char vendor_name[256]; uint32_t subvendor_id; uint64_t device_id;
    uint32_t rev_id; char serial[256]; uint32_t oam_id, compute_units; uint64_t graphics_version;
    uint32_t subsystem_id, reserved[21];
};
status amdsmi_get_gpu_asic_info(handle h, struct asic *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    scenario_text(line_of(h), "name", "AMD Instinct MI300X", out->market_name, sizeof out->market_name);
    strcpy(out->vendor_name, "Advanced Micro Devices Inc. [AMD/ATI]");
    out->vendor_id = out->subvendor_id = 0x1002;
    out->device_id = value(h, "device", 0x74a1);
    out->subsystem_id = (uint32_t)out->device_id;
    out->compute_units = (uint32_t)value(h, "units", 304);
    out->graphics_version = value(h, "gfx", 0x942);
    snprintf(out->serial, sizeof out->serial, "%016llx", 0x5a00ULL + (unsigned long long)number(h));
    return OK;
}

status amdsmi_get_gpu_memory_total(handle h, uint32_t kind, uint64_t *out)
{
    BEGIN(h);
    *out = (kind == VRAM ? value(h, "total_mib", 196592) : 1024) << 20;
    return OK;
}
status amdsmi_get_gpu_memory_usage(handle h, uint32_t kind, uint64_t *out)
{
    BEGIN(h);
    *out = (kind == VRAM ? value(h, "used_mib", 283) : 0) << 20;
    return OK;
}

static status put(handle h, const char *key, const char *fallback, char *out, uint32_t size)
{
    char text[64];
    scenario_text(line_of(h), key, fallback, text, sizeof text);
    if (!strcmp(text, "none"))
        return NOT_SUPPORTED;
    if (strlen(text) >= size)
        return TOO_SMALL;
    strcpy(out, text);
    return OK;
}
status amdsmi_get_gpu_compute_partition(handle h, char *out, uint32_t size) { BEGIN(h); return put(h, "compute", "SPX", out, size); }
status amdsmi_get_gpu_memory_partition(handle h, char *out, uint32_t size) { BEGIN(h); return put(h, "memory", "NPS1", out, size); }

status amdsmi_get_gpu_device_bdf(handle h, uint64_t *out)
{
    BEGIN(h);
    *out = value(h, "bus", 5 + 0x20 * (uint64_t)number(h)) << 8 | value(h, "function", 0);
    return OK;
}
status amdsmi_get_gpu_device_uuid(handle h, uint32_t *size, char *out)
{
    BEGIN(h);
    if (*size < 37)
        return TOO_SMALL;
    snprintf(out, *size, "%08x-74a1-1000-8000-%012x", (unsigned)number(h), (unsigned)number(h));
    return OK;
}
struct driver { char version[256], date[256], name[256]; };
status amdsmi_get_gpu_driver_info(handle h, struct driver *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    scenario_text(scenario_line("driver", 0), "version", "6.14.14", out->version, sizeof out->version);
    strcpy(out->name, "amdgpu");
    return OK;
}
struct enumeration { uint32_t render, card, hsa, hip; char uuid[256]; };
status amdsmi_get_gpu_enumeration_info(handle h, struct enumeration *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    out->render = 128u + (uint32_t)number(h);
    out->hip = (uint32_t)value(h, "hip", (uint64_t)number(h));
    return OK;
}
status amdsmi_get_gpu_ecc_enabled(handle h, uint64_t *out) { BEGIN(h); *out = value(h, "ecc", 0xffff); return OK; }

status amdsmi_topo_get_link_type(handle a, handle b, uint64_t *hops, uint32_t *kind)
{
    BEGIN(a);
    if (number(b) < 0)
        return INVALID;
    int xgmi = (int)value(a, "xgmi", 1);
    *hops = xgmi ? 1 : 2;
    *kind = xgmi ? 2 : 1;
    return OK;
}

struct process {
    char name[256]; uint32_t pid; uint64_t mem; struct { uint64_t gfx, enc; uint32_t reserved[12]; } engines;
    struct { uint64_t gtt, cpu, vram; uint32_t reserved[10]; } memory; char container[256];
    uint32_t cu_occupancy, reserved[11];
};
status amdsmi_get_gpu_process_list(handle h, uint32_t *n, struct process *out)
{
    uint32_t have = 0;
    const char *line;
    BEGIN(h);
    for (int i = 0; (line = scenario_line("process", i)); i++) {
        if ((int)scenario_value(line, "gpu", 0) != number(h))
            continue;
        if (out && have < *n) {
            memset(&out[have], 0, sizeof *out);
            scenario_text(line, "name", "python3", out[have].name, sizeof out[have].name);
            out[have].pid = (uint32_t)scenario_value(line, "pid", 4242);
            out[have].mem = out[have].memory.vram = scenario_value(line, "mib", 0) << 20;
        }
        have++;
    }
    *n = have;
    return OK;
}

/* What a GPU does right now. */
struct usage { uint32_t gfx, umc, mm, reserved[13]; };
status amdsmi_get_gpu_activity(handle h, struct usage *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    out->gfx = (uint32_t)value(h, "use_percent", 0);
    return OK;
}
struct power { uint64_t socket; uint32_t current, average; uint64_t gfx, soc, mem; uint32_t limit, pad; uint64_t reserved[18]; };
status amdsmi_get_power_info(handle h, struct power *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    out->current = (uint32_t)value(h, "power_w", 140);
    out->average = (uint32_t)value(h, "average_w", 0xffff);
    out->limit = (uint32_t)value(h, "limit", 750000000);
    return OK;
}

/* What holds a GPU back. */
struct power_cap { uint64_t cap, usual, dpm, least, most, reserved[3]; };
status amdsmi_get_power_cap_info(handle h, uint32_t sensor, struct power_cap *out)
{
    BEGIN(h);
    (void)sensor;
    memset(out, 0, sizeof *out);
    out->cap = value(h, "power_cap", 750000000);
    out->usual = value(h, "usual_cap", 750000000);
    return OK;
}
struct violation {
    uint64_t at, since, counted[7], share[6];
    uint8_t active[6], pad[2];
    uint64_t more[8 * 8 * 8]; uint8_t flags[4 * 8 * 8]; uint64_t reserved[3 * 8 * 8];
};
status amdsmi_get_violation_status(handle h, struct violation *out)
{
    BEGIN(h);
    memset(out, 0, sizeof *out);
    /* prochot, ppt, socket, vr, hbm, clock below limit */
    uint64_t which = value(h, "slowed", 6);
    if (which < 6) {
        out->share[which] = value(h, "slowed_percent", 40);
        out->active[which] = 1;
    }
    return OK;
}
