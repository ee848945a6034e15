/* A stand-in for libhsa-runtime64.so.1 with the ABI of ROCm's runtime: one processor, and devices of host memory. The profile that
 * STAND_IN_HSA names has "count", for each device "INDEX.pci" and "INDEX.target", "INDEX.memory" in bytes, "INDEX.CALL !CODE" for a call that
 * fails there (without INDEX for hsa_init; "INDEX.place" for asking where it is), and "INDEX.wrong N": the first N words of all that is filled there are wrong. Where the headers
 * of the real runtime are at hand the compiler holds this file against them. */
#include <stdint.h>
#include "profile.h"
#if __has_include(<hsa/hsa_ext_amd.h>)
#include <hsa/hsa.h>
#include <hsa/hsa_ext_amd.h>
_Static_assert(HSA_AGENT_INFO_NAME == 0 && HSA_AGENT_INFO_DEVICE == 17 && HSA_DEVICE_TYPE_GPU == 1, "agents");
_Static_assert(HSA_AMD_AGENT_INFO_BDFID == 0xA006 && HSA_AMD_AGENT_INFO_DOMAIN == 0xA00F, "places");
_Static_assert(HSA_AMD_MEMORY_POOL_INFO_SEGMENT == 0 && HSA_AMD_MEMORY_POOL_INFO_GLOBAL_FLAGS == 1, "pools");
_Static_assert(HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_ALLOWED == 5 && HSA_AMD_SEGMENT_GLOBAL == 0, "pools");
_Static_assert(HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_FINE_GRAINED == 2 && HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_COARSE_GRAINED == 4, "flags");
_Static_assert(HSA_SIGNAL_CONDITION_LT == 2 && HSA_WAIT_STATE_BLOCKED == 0, "signals");
#else
typedef struct { uint64_t handle; } hsa_agent_t, hsa_signal_t, hsa_amd_memory_pool_t;
typedef unsigned hsa_status_t, hsa_agent_info_t, hsa_amd_memory_pool_info_t, hsa_signal_condition_t, hsa_wait_state_t;
typedef int64_t hsa_signal_value_t;
#endif

enum { PROCESSOR = 1, FIRST = 2, FINE_POOL = 1000, COARSE_POOL = 2000, NO_ARGUMENT = 0x1001, NO_RESOURCES = 0x1008 };
static const char known[][8] __attribute__((used)) = {"gfx90a", "gfx942", "gfx1100"};
static uint64_t current = FIRST;

static int says(uint64_t agent, const char *call) {
    char name[96];
    const char *text;
    snprintf(name, sizeof name, "%d.%s", (int)(agent - FIRST), call);
    return ask(name, &text, 0);
}
static const char *word(uint64_t agent, const char *what, const char *otherwise) {
    char name[96];
    const char *text;
    snprintf(name, sizeof name, "%d.%s", (int)(agent - FIRST), what);
    return ask(name, &text, -1) ? otherwise : text;
}

hsa_status_t hsa_init(void) {
    const char *text, *visible = getenv("ROCR_VISIBLE_DEVICES");
    load("STAND_IN_HSA");
    return visible && !*visible ? NO_RESOURCES : ask("hsa_init", &text, 0);
}
hsa_status_t hsa_status_string(hsa_status_t status, const char **out) {
    *out = status == NO_RESOURCES ? "HSA_STATUS_ERROR_OUT_OF_RESOURCES: The runtime failed to allocate the necessary resources." : "HSA_STATUS_ERROR: ...";
    return 0;
}
hsa_status_t hsa_iterate_agents(hsa_status_t (*each)(hsa_agent_t, void *), void *data) {
    const char *text;
    int count = ask("count", &text, -1) ? 0 : atoi(text);
    hsa_status_t code = 0;
    for (uint64_t agent = PROCESSOR; !code && agent < (uint64_t)(FIRST + count); agent++) code = each((hsa_agent_t){agent}, data);
    return code;
}
hsa_status_t hsa_agent_get_info(hsa_agent_t agent, hsa_agent_info_t what, void *out) {
    unsigned domain = 0, bus = 0, slot = 0;
    sscanf(word(agent.handle, "pci", ""), "%x:%x:%x", &domain, &bus, &slot);
    switch ((unsigned)what) {
    case 0: strcpy(out, agent.handle == PROCESSOR ? "a processor" : word(agent.handle, "target", "gfx942")); return 0;
    case 17: *(uint32_t *)out = agent.handle != PROCESSOR; return 0;
    case 0xA006: *(uint32_t *)out = bus << 8 | slot << 3; return says(agent.handle, "place");
    case 0xA00F: *(uint32_t *)out = domain; return 0;
    case 0xA015: *(uint64_t *)out = strtoull(word(agent.handle, "memory", "1073741824"), NULL, 0); return 0;
    }
    return NO_ARGUMENT;
}
hsa_status_t hsa_amd_agent_iterate_memory_pools(hsa_agent_t agent, hsa_status_t (*each)(hsa_amd_memory_pool_t, void *), void *data) {
    hsa_status_t code = says(agent.handle, "pools");
    if (!code) code = each((hsa_amd_memory_pool_t){FINE_POOL + agent.handle}, data);
    if (!code && agent.handle != PROCESSOR) code = each((hsa_amd_memory_pool_t){COARSE_POOL + agent.handle}, data);
    return code;
}
hsa_status_t hsa_amd_memory_pool_get_info(hsa_amd_memory_pool_t pool, hsa_amd_memory_pool_info_t what, void *out) {
    if (what == 0) *(uint32_t *)out = 0;
    else if (what == 1) *(uint32_t *)out = pool.handle > COARSE_POOL ? 4 : 2;
    else if (what == 5) *(_Bool *)out = 1;
    else return NO_ARGUMENT;
    return 0;
}
hsa_status_t hsa_amd_memory_pool_allocate(hsa_amd_memory_pool_t pool, size_t size, uint32_t flags, void **out) {
    if (pool.handle > COARSE_POOL) current = pool.handle - COARSE_POOL;
    hsa_status_t code = pool.handle > COARSE_POOL ? says(current, "hsa_amd_memory_pool_allocate") : 0;
    *out = code ? NULL : malloc(size);
    return code;
}
hsa_status_t hsa_amd_memory_pool_free(void *memory) { free(memory); return 0; }
hsa_status_t hsa_amd_agents_allow_access(uint32_t count, const hsa_agent_t *agents, const uint32_t *flags, const void *memory) {
    return count == 1 && agents[0].handle >= FIRST && !flags && memory ? 0 : NO_ARGUMENT;
}
hsa_status_t hsa_amd_memory_fill(void *memory, uint32_t value, size_t count) {
    size_t wrong = strtoul(word(current, "wrong", "0"), NULL, 0);
    for (size_t i = 0; i < count; i++) ((uint32_t *)memory)[i] = value ^ (i < wrong);
    return says(current, "hsa_amd_memory_fill");
}
hsa_status_t hsa_signal_create(hsa_signal_value_t value, uint32_t count, const hsa_agent_t *consumers, hsa_signal_t *out) {
    int64_t *signal = malloc(sizeof *signal);
    *signal = value;
    out->handle = (uint64_t)signal;
    return 0;
}
hsa_status_t hsa_signal_destroy(hsa_signal_t signal) { free((void *)signal.handle); return 0; }
hsa_signal_value_t hsa_signal_wait_scacquire(hsa_signal_t signal, hsa_signal_condition_t condition, hsa_signal_value_t value, uint64_t hint,
                                             hsa_wait_state_t state) {
    while (condition == 2 && *(int64_t *)signal.handle >= value) pause();
    return *(int64_t *)signal.handle;
}
hsa_status_t hsa_amd_memory_async_copy(void *to, hsa_agent_t to_agent, const void *from, hsa_agent_t from_agent, size_t size, uint32_t count,
                                       const hsa_signal_t *before, hsa_signal_t done) {
    if (to_agent.handle < PROCESSOR || from_agent.handle < PROCESSOR || count || before) return NO_ARGUMENT;
    memcpy(to, from, size);
    *(int64_t *)done.handle = says(current, "copied") ? -1 : 0;
    return says(current, "hsa_amd_memory_async_copy");
}
