/* A stand-in for libnvidia-ml.so.1 with NVML's ABI, serving the profile that STAND_IN_NVML names: the system's values by their function's
 * name, a device's as INDEX.FUNCTION, with the arguments that matter behind it (0.nvmlDeviceGetTotalEccErrors.1.0). Pairs and structures
 * are numbers with spaces between. */
#include <dlfcn.h>
#include "profile.h"

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char address[32]; } Pci;
typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } Memory2;
typedef struct { unsigned char cluster[16]; u32 status, clique; unsigned char state; } Fabric;
typedef struct { u32 version; u64 counts[11]; u32 exceeded; } Sram;
typedef struct { u32 version; Fabric of; u32 mask; unsigned char summary; } FabricV;
typedef struct { u32 field, scope; long long timestamp, latency; u32 type; int result; union { double d; u64 u; } value; } Field;

enum { NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT = 7, VERSION_MISMATCH = 25 };

static int numbers(void *device, const char *function, const char *behind, u64 *out, int wanted) {
    char name[96];
    const char *text;
    char *end;
    int code;
    if (device) snprintf(name, sizeof name, "%d.%s%s", (int)(long)device - 1, function, behind);
    else snprintf(name, sizeof name, "%s%s", function, behind);
    if ((code = ask(name, &text, NOT_SUPPORTED))) return code;
    for (int i = 0; i < wanted; i++, text = end) out[i] = strtoull(text, &end, 0);
    return 0;
}

static int words(void *device, const char *function, char *out, u32 size) {
    char name[96];
    const char *text;
    int code;
    if (device) snprintf(name, sizeof name, "%d.%s", (int)(long)device - 1, function);
    else snprintf(name, sizeof name, "%s", function);
    if ((code = ask(name, &text, NOT_SUPPORTED))) return code;
    if (strlen(text) + 1 > size) return INSUFFICIENT;
    strcpy(out, text);
    return 0;
}

#define TEXT(function) int function(void *device, char *out, u32 size) { return words(device, #function, out, size); }
#define NUMBER(function) \
    int function(void *device, u32 *out) { u64 n; int code = numbers(device, #function, "", &n, 1); if (!code) *out = (u32)n; return code; }
#define PAIR(function) \
    int function(void *device, u32 *one, u32 *two) { \
        u64 n[2]; int code = numbers(device, #function, "", n, 2); if (!code) { *one = (u32)n[0]; *two = (u32)n[1]; } return code; }
#define NUMBER_OF(function) \
    int function(void *device, u32 which, u32 *out) { \
        char behind[16]; u64 n; snprintf(behind, sizeof behind, ".%u", which); \
        int code = numbers(device, #function, behind, &n, 1); if (!code) *out = (u32)n; return code; }

int nvmlInitWithFlags(u32 flags) {
    u64 n;
    int code;
    load("STAND_IN_NVML");
    code = numbers(NULL, "nvmlInitWithFlags", "", &n, 1);
    return code == NOT_SUPPORTED ? 0 : code;
}
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "an error of the stand-in"; }
int nvmlSystemGetDriverVersion(char *out, u32 size) { return words(NULL, "nvmlSystemGetDriverVersion", out, size); }
int nvmlSystemGetNVMLVersion(char *out, u32 size) { return words(NULL, "nvmlSystemGetNVMLVersion", out, size); }
int nvmlSystemGetCudaDriverVersion(int *out) {
    u64 n;
    int code = numbers(NULL, "nvmlSystemGetCudaDriverVersion", "", &n, 1);
    if (!code) *out = (int)n;
    return code;
}
int nvmlSystemGetConfComputeSettings(u32 *out) { /* version, environment, for one device, for developers, for several */
    u64 n[4];
    int code = numbers(NULL, "nvmlSystemGetConfComputeSettings", "", n, 4);
    if (out[0] != (1 << 24 | 5 * sizeof *out)) return VERSION_MISMATCH;
    for (int i = 0; !code && i < 4; i++) out[i + 1] = (u32)n[i];
    return code;
}
int nvmlDeviceGetCount_v2(u32 *out) {
    u64 n;
    int code = numbers(NULL, "nvmlDeviceGetCount", "", &n, 1);
    if (!code) *out = (u32)n;
    return code;
}
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **out) {
    u64 n;
    int code;
    *out = (void *)(long)(index + 1);
    code = numbers(*out, "nvmlDeviceGetHandleByIndex", "", &n, 1);
    return code == NOT_SUPPORTED ? 0 : code;
}
TEXT(nvmlDeviceGetName)
TEXT(nvmlDeviceGetUUID)
TEXT(nvmlDeviceGetSerial)
TEXT(nvmlDeviceGetVbiosVersion)
int nvmlDeviceGetGspFirmwareVersion(void *device, char *out) { return words(device, "nvmlDeviceGetGspFirmwareVersion", out, 80); }
int nvmlDeviceGetPciInfo_v3(void *device, Pci *out) {
    u64 n[4];
    int code = numbers(device, "nvmlDeviceGetPciInfo", "", n, 4);
    memset(out, 0, sizeof *out);
    if (code) return code;
    out->domain = n[0], out->bus = n[1], out->device = n[2], out->id = n[3];
    snprintf(out->address, sizeof out->address, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
    return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **out) {
    u32 domain, bus, count = 0;
    Pci pci;
    nvmlDeviceGetCount_v2(&count);
    if (sscanf(address, "%x:%x", &domain, &bus) != 2) return NOT_FOUND;
    for (*out = (void *)1; (long)*out <= count; *out = (void *)((long)*out + 1))
        if (!nvmlDeviceGetPciInfo_v3(*out, &pci) && pci.domain == domain && pci.bus == bus) return 0;
    return NOT_FOUND;
}
PAIR(nvmlDeviceGetCudaComputeCapability)
PAIR(nvmlDeviceGetEccMode)
PAIR(nvmlDeviceGetMigMode)
NUMBER(nvmlDeviceGetDefaultEccMode)
NUMBER(nvmlDeviceGetMaxMigDeviceCount)
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, u32 index, void **out) { /* the profile has the part's own INDEX */
    char behind[16];
    u64 n = 0;
    snprintf(behind, sizeof behind, ".%u", index);
    int code = numbers(device, "nvmlDeviceGetMigDeviceHandleByIndex", behind, &n, 1);
    *out = (void *)(long)(n + 1);
    return code == NOT_SUPPORTED ? NOT_FOUND : code;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *out) {
    u64 n[2];
    int code = numbers(device, "nvmlDeviceGetMemoryInfo", "", n, 2);
    if (!code) out->total = n[0], out->used = n[1], out->free = n[0] - n[1];
    return code;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory2 *out) { /* of it only what is used; no process has any of it */
    if (out->version != (2 << 24 | sizeof *out)) return VERSION_MISMATCH;
    return numbers(device, "nvmlDeviceGetMemoryInfo_v2", "", &out->used, 1);
}
int nvmlDeviceGetTotalEccErrors(void *device, u32 type, u32 counter, u64 *out) {
    char behind[32];
    snprintf(behind, sizeof behind, ".%u.%u", type, counter);
    return numbers(device, "nvmlDeviceGetTotalEccErrors", behind, out, 1);
}
int nvmlDeviceGetSramEccErrorStatus(void *device, Sram *out) {
    u64 n;
    int code = numbers(device, "nvmlDeviceGetSramEccErrorStatus", "", &n, 1);
    if (out->version != (1 << 24 | sizeof *out)) return VERSION_MISMATCH;
    if (!code) out->exceeded = (u32)n;
    return code;
}
int nvmlDeviceGetRemappedRows(void *device, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    u64 n[4];
    int code = numbers(device, "nvmlDeviceGetRemappedRows", "", n, 4);
    if (!code) *corrected = n[0], *uncorrected = n[1], *pending = n[2], *failed = n[3];
    return code;
}
int nvmlDeviceGetRepairStatus(void *device, u32 out[3]) {
    u64 n[2];
    int code = numbers(device, "nvmlDeviceGetRepairStatus", "", n, 2);
    if (out[0] != (1 << 24 | 12)) return VERSION_MISMATCH;
    if (!code) out[1] = (u32)n[0], out[2] = (u32)n[1];
    return code;
}
NUMBER(nvmlDeviceGetUnrepairableMemoryFlag_v1)
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth)
NUMBER(nvmlDeviceGetPcieReplayCounter)
NUMBER(nvmlDeviceGetPersistenceMode)
NUMBER(nvmlDeviceGetVirtualizationMode)
NUMBER(nvmlDeviceGetComputeMode)
NUMBER(nvmlDeviceGetEnforcedPowerLimit)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit)
NUMBER(nvmlDeviceGetPowerUsage)
NUMBER_OF(nvmlDeviceGetTemperature)
NUMBER_OF(nvmlDeviceGetTemperatureThreshold)
NUMBER_OF(nvmlDeviceGetClockInfo)
NUMBER_OF(nvmlDeviceGetMaxClockInfo)
NUMBER_OF(nvmlDeviceGetNvLinkState)
int nvmlDeviceGetNvLinkErrorCounter(void *device, u32 link, u32 counter, u64 *out) {
    char behind[32];
    snprintf(behind, sizeof behind, ".%u.%u", link, counter);
    return numbers(device, "nvmlDeviceGetNvLinkErrorCounter", behind, out, 1);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, u64 *out) {
    return numbers(device, "nvmlDeviceGetCurrentClocksThrottleReasons", "", out, 1);
}
static int processes(void *device, const char *function, u32 *count, void *out) {
    /* Of several numbers the last is what is said where CUDA is not loaded, and those before it what is said there, answer by answer: of
     * what has come since the first answer one is this program, listed under its own number or what FUNCTION.own says (0: not at all). */
    static int answers;
    char text[32];
    u64 n[4], own;
    u32 room = *count;
    int code = words(device, function, text, sizeof text), there, at = 0;
    if (code) return code;
    there = sscanf(text, "%llu %llu %llu %llu", n, n + 1, n + 2, n + 3);
    if (there > 1) at = !dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD) ? there - 1 : answers < there - 1 ? answers : there - 2;
    *count = (u32)n[at];
    if (room < n[at]) return INSUFFICIENT;
    answers++;
    memset(out, 0, n[at] * 24);
    if (numbers(device, function, ".own", &own, 1)) own = getpid();
    for (u64 i = 0; i < n[at]; i++) *(u32 *)((char *)out + 24 * i) = !i && own && n[at] > n[0] ? (u32)own : 5000000 + (u32)i;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, u32 *count, void *out) {
    return processes(device, "nvmlDeviceGetComputeRunningProcesses", count, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, u32 *count, void *out) {
    return processes(device, "nvmlDeviceGetGraphicsRunningProcesses", count, out);
}
int nvmlDeviceGetFieldValues(void *device, int count, Field *fields) {
    for (int i = 0; i < count; i++) {
        char behind[16];
        u64 n = 0;
        snprintf(behind, sizeof behind, ".%u", fields[i].field);
        fields[i].result = numbers(device, "nvmlDeviceGetFieldValues", behind, &n, 1);
        fields[i].value.u = n;
    }
    return 0;
}
int nvmlDeviceGetGpuFabricInfo(void *device, Fabric *out) {
    u64 n[2];
    int code = numbers(device, "nvmlDeviceGetGpuFabricInfo", "", n, 2);
    if (!code) out->state = n[0], out->status = n[1];
    return code;
}
int nvmlDeviceGetGpuFabricInfoV(void *device, FabricV *out) { /* mask and summary; the rest as in the older function's line */
    u64 n[2];
    int code = numbers(device, "nvmlDeviceGetGpuFabricInfoV", "", n, 2), three = out->version == (3 << 24 | sizeof *out);
    if (!three && out->version != (2 << 24 | 36)) return VERSION_MISMATCH;
    if (code || (code = nvmlDeviceGetGpuFabricInfo(device, &out->of))) return code;
    out->mask = n[0];
    if (three) out->summary = n[1];
    return 0;
}
