/*
 * machine.c: see machine.h. GPUs are asked through NVIDIA's own libraries, which are there where a GPU
 * can be used, and need no header for the few functions of theirs that are called.
 */
#include "machine.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { NAME_BYTES = 256 };

/* ---- the processor ---- */

/* What stands behind `word` and its colon in /proc/cpuinfo, for the first processor. */
static bool cpuinfo(const char *word, struct buf *out)
{
    char line[1024];
    FILE *f = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (f && !found && fgets(line, sizeof(line), f)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, word, strlen(word)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        utf8_clean(colon, strcspn(colon, "\n"), out);
        found = *colon != '\n' && *colon != '\0';
    }
    if (f)
        fclose(f);
    return found;
}

void machine_processor(struct buf *out)
{
    struct utsname u;
    // ARM's has no name there, only numbers.
    if (!cpuinfo("model name", out) && uname(&u) == 0)
        buf_adds(out, u.machine);
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    buf_addf(out, "%s%ld thread%s", out->len ? ", " : "", threads, threads == 1 ? "" : "s");
}

void machine_host(struct buf *out)
{
    struct utsname u;
    if (uname(&u) == 0)
        utf8_clean(u.nodename, strlen(u.nodename), out);
}

/* ---- the GPU ---- */

/* A function of a library, into the pointer `to`; false: there is none. */
static bool find(void *library, const char *name, void *to)
{
    void *f = dlsym(library, name);
    memcpy(to, &f, sizeof(f));
    return f != NULL;
}

/* Functions of both libraries return 0 where all is well. */
void machine_gpu(int index, struct buf *out)
{
    int (*init)(unsigned), (*get)(int *, int), (*tell)(char *, int, int), device;
    char name[NAME_BYTES] = "";
    void *cuda = dlopen("libcuda.so.1", RTLD_LAZY);
    if (!cuda)
        return;
    if (find(cuda, "cuInit", &init) && find(cuda, "cuDeviceGet", &get) &&
        find(cuda, "cuDeviceGetName", &tell) && init(0) == 0 && get(&device, index) == 0 &&
        tell(name, NAME_BYTES - 1, device) == 0)
        utf8_clean(name, strlen(name), out);
    dlclose(cuda);
}

/* As the kernel's module says it. */
static void module_version(struct buf *out)
{
    char text[NAME_BYTES];
    FILE *f = fopen("/sys/module/nvidia/version", "r");
    if (f && fgets(text, sizeof(text), f))
        utf8_clean(text, strcspn(text, "\n"), out);
    if (f)
        fclose(f);
}

void machine_driver(struct buf *out)
{
    int (*init)(void), (*end)(void), (*tell)(char *, unsigned);
    char text[NAME_BYTES] = "";
    void *ml = dlopen("libnvidia-ml.so.1", RTLD_LAZY);
    if (ml && find(ml, "nvmlInit_v2", &init) && find(ml, "nvmlShutdown", &end) &&
        find(ml, "nvmlSystemGetDriverVersion", &tell) && init() == 0) {
        if (tell(text, NAME_BYTES - 1) != 0)
            text[0] = '\0';
        end();
    }
    if (ml)
        dlclose(ml);
    if (*text)
        utf8_clean(text, strlen(text), out);
    else
        module_version(out);
}
