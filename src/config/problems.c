#include "config/problems.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/arena.h"

struct entry {
    struct problem problem;
    size_t sequence;
};

struct problems {
    struct arena arena;
    struct entry entries[PROBLEMS_MAX];
    size_t count;
    size_t errors;
    size_t sequence;
    bool is_sorted;
    bool is_full; /* the last entry says that there were more */
};

struct problems *problems_new(void)
{
    struct arena first = {NULL, false};
    struct problems *p = arena_alloc(&first, 1, sizeof(*p));

    if (p != NULL)
        p->arena = first;
    return p;
}

void problems_free(struct problems *p)
{
    if (p == NULL)
        return;
    struct arena arena = p->arena; /* p lives in it too */
    arena_fini(&arena);
}

/* Texts quote what the file holds: nothing of it may reach a terminal as a control sequence. */
static void make_printable(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != 0; at++) {
        bool is_c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;

        if (is_c1)
            at[1] = '?';
        if (is_c1 || *at < 0x20 || *at == 0x7f)
            *at = '?';
    }
}

static const char *copy_printable(struct arena *arena, const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = arena_copy(arena, text);
    if (copy != NULL)
        make_printable(copy);
    return copy;
}

static void append(struct problems *p, enum problem_level level, struct problem_place place,
                   const char *suggestion, const char *text)
{
    struct entry *entry = &p->entries[p->count++];
    const char *kept = copy_printable(&p->arena, text);

    entry->problem = (struct problem){
        .level = level,
        .file = copy_printable(&p->arena, place.file),
        .line = place.line,
        .column = place.column,
        .text = kept != NULL ? kept : "out of memory",
        .suggestion = copy_printable(&p->arena, suggestion),
    };
    entry->sequence = p->sequence++;
    p->is_sorted = false;
}

void problems_add(struct problems *p, enum problem_level level, struct problem_place place,
                  const char *suggestion, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    if (p == NULL)
        return;
    if (level == PROBLEM_ERROR)
        p->errors++;
    if (p->is_full)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (p->count < PROBLEMS_MAX - 1) {
        append(p, level, place, suggestion, text);
        return;
    }
    p->is_full = true;
    append(p, PROBLEM_ERROR, (struct problem_place){.file = place.file, .line = UINT32_MAX},
           "mend these first", "there are more problems than can be shown");
}

static int compare(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    int by_file = strcmp(a->problem.file != NULL ? a->problem.file : "",
                         b->problem.file != NULL ? b->problem.file : "");

    if (by_file != 0)
        return by_file;
    if (a->problem.line != b->problem.line)
        return a->problem.line < b->problem.line ? -1 : 1;
    if (a->problem.column != b->problem.column)
        return a->problem.column < b->problem.column ? -1 : 1;
    return a->sequence < b->sequence ? -1 : 1;
}

size_t problems_count(const struct problems *p)
{
    return p->count;
}

const struct problem *problems_at(struct problems *p, size_t i)
{
    if (!p->is_sorted) {
        qsort(p->entries, p->count, sizeof(p->entries[0]), compare);
        p->is_sorted = true;
    }
    return &p->entries[i].problem;
}

size_t problems_errors(const struct problems *p)
{
    return p->errors;
}

size_t problem_format(const struct problem *problem, char *out, size_t size)
{
    char place[64] = "";

    if (problem->line != 0 && problem->line != UINT32_MAX)
        snprintf(place, sizeof(place), ":%u:%u", problem->line, problem->column);
    int len = snprintf(out, size, "%s%s%s%s: %s%s%s", problem->file != NULL ? problem->file : "",
                       place, problem->file != NULL ? ": " : "",
                       problem->level == PROBLEM_ERROR ? "error" : "warning", problem->text,
                       problem->suggestion != NULL ? "; " : "",
                       problem->suggestion != NULL ? problem->suggestion : "");
    if (len < 0)
        return 0;
    return (size_t)len < size ? (size_t)len : size - 1;
}

void problems_print(struct problems *p, int fd)
{
    char line[4096];

    for (size_t i = 0; i < p->count; i++) {
        size_t len = problem_format(problems_at(p, i), line, sizeof(line) - 1);

        line[len++] = '\n';
        if (write(fd, line, len) < 0)
            return; /* nobody is left to tell */
    }
}
