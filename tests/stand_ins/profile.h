/* A profile: lines of "NAME VALUE", read once from the file that the environment names. Values: a number, a text, "!N" for the error
 * code N of the library that is stood in for, "hang" for a call that never comes back. A name that is missing is not supported. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 4096

static struct { char name[96]; char value[160]; } entries[ENTRIES];
static int entry_count = -1;

static void load(const char *variable) {
    char line[256];
    const char *path = getenv(variable);
    FILE *file = path ? fopen(path, "r") : NULL;
    if (entry_count >= 0) return;
    entry_count = 0;
    while (file && entry_count < ENTRIES && fgets(line, sizeof line, file)) {
        char *space = strchr(line, ' ');
        if (!space) continue;
        *space = 0;
        space[strcspn(space + 1, "\n") + 1] = 0;
        snprintf(entries[entry_count].name, sizeof entries[0].name, "%.95s", line);
        snprintf(entries[entry_count].value, sizeof entries[0].value, "%.159s", space + 1);
        entry_count++;
    }
    if (file) fclose(file);
}

/* 0 and the text in *value, or the code of an error. */
static int ask(const char *name, const char **value, int not_supported) {
    for (int i = 0; i < entry_count; i++) {
        if (strcmp(entries[i].name, name)) continue;
        if (!strcmp(entries[i].value, "hang")) for (;;) pause();
        if (entries[i].value[0] == '!') return atoi(entries[i].value + 1);
        *value = entries[i].value;
        return 0;
    }
    return not_supported;
}
