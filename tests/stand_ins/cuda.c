/* A stand-in for libcuda.so.1 with the driver API's ABI: devices of host memory, whose two kernels this processor runs. The profile that
 * STAND_IN_CUDA names has "count", for each device "INDEX.pci", and "INDEX.CALL !CODE" for a call that fails there; "INDEX.wrong N" makes
 * the first N words of every answer wrong. CUDA_VISIBLE_DEVICES shows the one device, or part, that has it as "INDEX.uuid", or none. */
#include <stdint.h>
#include "profile.h"

static int current = 0, only = -1;
static char fill, compare;

static int says(int device, const char *call) {
    char name[96];
    const char *text;
    snprintf(name, sizeof name, "%d.%s", device, call);
    return ask(name, &text, 0);
}
static long number(int device, const char *what, long otherwise) {
    char name[96];
    const char *text;
    if (device < 0) snprintf(name, sizeof name, "%s", what);
    else snprintf(name, sizeof name, "%d.%s", device, what);
    return ask(name, &text, -1) ? otherwise : atol(text);
}
static uint32_t value(uint32_t index, uint32_t seed) {
    float x = (float)(index % 1000);
    for (int step = 0; step < 8; step++) x = 3.0f * x + 1.0f;
    return (index * 2654435761u) ^ (index >> 7) ^ seed ^ (uint32_t)x;
}

int cuInit(unsigned flags) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    load("STAND_IN_CUDA");
    for (int i = 0; visible && i < entry_count; i++)
        if (strstr(entries[i].name, ".uuid") && !strcmp(entries[i].value, visible)) only = atoi(entries[i].name);
    return visible && only < 0 ? 100 : says(only < 0 ? 0 : only, "cuInit");
}
int cuGetErrorName(int code, const char **out) {
    static const struct { int code; const char *name; } names[] = {
        {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {100, "CUDA_ERROR_NO_DEVICE"}, {214, "CUDA_ERROR_ECC_UNCORRECTABLE"}, {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"}, {802, "CUDA_ERROR_SYSTEM_NOT_READY"}, {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}, {999, "CUDA_ERROR_UNKNOWN"}};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) if (names[i].code == code) { *out = names[i].name; return 0; }
    return 1;
}
int cuDeviceGetCount(int *out) { *out = only < 0 ? (int)number(-1, "count", 0) : 1; return *out ? 0 : 100; }
int cuDeviceGet(int *out, int ordinal) { *out = only < 0 ? ordinal : only; return says(*out, "cuDeviceGet"); }
int cuDeviceGetPCIBusId(char *out, int size, int device) {
    char name[32];
    const char *text;
    int code;
    snprintf(name, sizeof name, "%d.pci", device);
    if ((code = ask(name, &text, 1))) return code;
    snprintf(out, size, "%s", text);
    return 0;
}
int cuDevicePrimaryCtxRetain(void **out, int device) { *out = (void *)(long)(device + 1); return says(device, "cuDevicePrimaryCtxRetain"); }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { current = (int)(long)context - 1; return 0; }
int cuCtxSynchronize(void) { return says(current, "cuCtxSynchronize"); }
int cuMemAlloc_v2(void **out, size_t size) { int code = says(current, "cuMemAlloc"); *out = code ? NULL : malloc(size); return code; }
int cuMemFree_v2(void *memory) { free(memory); return 0; }
int cuMemAllocHost_v2(void **out, size_t size) { *out = malloc(size); return *out ? 0 : 2; }
int cuMemFreeHost(void *memory) { free(memory); return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { /* "INDEX.memory", and from the third answer on "INDEX.memory.later" */
    static int answers;
    *total = (size_t)number(current, "memory", 1l << 30);
    *free_bytes = answers++ < 2 ? *total : (size_t)number(current, "memory.later", (long)*total);
    return 0;
}
int cuModuleLoadData(void **out, const char *ptx) { *out = &current; return strstr(ptx, ".entry fill") ? says(current, "cuModuleLoadData") : 218; }
int cuModuleGetFunction(void **out, void *module, const char *name) {
    *out = !strcmp(name, "fill") ? &fill : !strcmp(name, "compare") ? &compare : NULL;
    return *out ? 0 : 500;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                   void **arguments, void **extra) {
    uint32_t *words = *(uint32_t **)arguments[0];
    uint64_t count = *(uint64_t *)arguments[1];
    uint32_t seed = *(uint32_t *)arguments[2];
    uint64_t wrong = (uint64_t)number(current, "wrong", 0);
    for (uint64_t i = 0; i < count; i++) {
        if (function == &fill) words[i] = value((uint32_t)i, seed) ^ (i < wrong);
        else if (words[i] != value((uint32_t)i, seed)) ++**(uint64_t **)arguments[3];
    }
    return says(current, "cuLaunchKernel");
}
static int copy(void *to, const void *from, size_t size) { memcpy(to, from, size); return says(current, "cuMemcpy"); }
int cuMemcpyHtoD_v2(void *to, const void *from, size_t size) { return copy(to, from, size); }
int cuMemcpyDtoH_v2(void *to, const void *from, size_t size) { return copy(to, from, size); }
int cuMemcpyDtoD_v2(void *to, const void *from, size_t size) { return copy(to, from, size); }
