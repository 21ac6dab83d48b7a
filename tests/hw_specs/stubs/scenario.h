/* Reads a scenario file for the stub drivers: one statement per line, `kind key=value; key=value`.
 * The file's path is in STUB_SCENARIO. Statements that a stub does not know are for the other one. */
#ifndef M35_SCENARIO_H
#define M35_SCENARIO_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINES 256
#define LINE_CHARS 512

static char scenario_lines[MAX_LINES][LINE_CHARS];
static int scenario_count;

static void scenario_load(void)
{
    const char *path = getenv("STUB_SCENARIO");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[LINE_CHARS];
    scenario_count = 0;
    while (file && scenario_count < MAX_LINES && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0] && line[0] != '#')
            snprintf(scenario_lines[scenario_count++], LINE_CHARS, "%s", line);
    }
    if (file)
        fclose(file);
}

/* The n-th statement of a kind, or NULL. */
static const char *scenario_line(const char *kind, int n)
{
    size_t length = strlen(kind);
    for (int i = 0; i < scenario_count; i++)
        if (!strncmp(scenario_lines[i], kind, length) && scenario_lines[i][length] == ' ' && n-- == 0)
            return scenario_lines[i] + length + 1;
    return NULL;
}

static int scenario_number_of(const char *kind)
{
    int n = 0;
    while (scenario_line(kind, n))
        n++;
    return n;
}

/* Copy the value of a key, or the fallback, into `out`. Returns whether the key was there. */
static int scenario_text(const char *line, const char *key, const char *fallback, char *out, size_t size)
{
    size_t length = strlen(key);
    snprintf(out, size, "%s", fallback);
    while (line && *line) {
        while (*line == ' ' || *line == ';')
            line++;
        size_t span = strcspn(line, ";");
        if (span > length && !strncmp(line, key, length) && line[length] == '=') {
            snprintf(out, size, "%.*s", (int)(span - length - 1), line + length + 1);
            return 1;
        }
        line += span;
    }
    return 0;
}

static uint64_t scenario_value(const char *line, const char *key, uint64_t fallback)
{
    char text[LINE_CHARS];
    return scenario_text(line, key, "", text, sizeof text) ? strtoull(text, NULL, 0) : fallback;
}

/* Do what `fail call=NAME; how=code|hang|crash|print; code=N` asks for; returns the code to answer with. */
static int scenario_fault(const char *call)
{
    const char *line;
    char text[LINE_CHARS];
    for (int n = 0; (line = scenario_line("fail", n)); n++) {
        scenario_text(line, "call", "", text, sizeof text);
        if (strcmp(text, call))
            continue;
        scenario_text(line, "how", "code", text, sizeof text);
        if (!strcmp(text, "hang"))
            for (;;)
                pause();
        if (!strcmp(text, "crash"))
            raise(SIGSEGV);
        if (!strcmp(text, "print")) {
            printf("{\"reading\": \"%s\"}\n\x1b[31m%%$\xff\xfe not for you\n", call);
            fflush(stdout);
            continue;
        }
        return (int)scenario_value(line, "code", 999);
    }
    return 0;
}

#endif
