#include "config/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/arena.h"
#include "config/effective.h"
#include "config/places.h"
#include "config/reader.h"
#include "config/rules.h"
#include "config/schema.h"
#include "config/toml.h"
#include "config/value.h"

#define SESSION_OUTPUT_MIN     ((size_t)192 * 1024)
#define HANDSHAKE_MAX_MLKEM    ((size_t)64 * 1024)
#define HANDSHAKE_MAX_MCELIECE ((size_t)2 * 1024 * 1024)

struct config_private {
    _Atomic uint32_t owners;
    struct arena arena;
    struct places places;
    enum config_role role; /* what it was asked for, to ask again */
    struct config_overrides overrides;
};

/* NULL without memory. */
static struct config *config_new(const char *path)
{
    struct arena arena = {NULL, false};
    struct config *config = arena_alloc(&arena, 1, sizeof(*config));
    struct config_private *private = arena_alloc(&arena, 1, sizeof(*private));
    const char *own_path = arena_copy(&arena, path);

    if (arena.is_exhausted) {
        arena_fini(&arena);
        return NULL;
    }
    private->arena = arena;
    atomic_init(&private->owners, 1);
    config->private = private;
    config->path = own_path;
    places_init(&private->places, &private->arena, config->path);
    return config;
}

static const char *copy(struct arena *arena, const char *text)
{
    return text != NULL ? arena_copy(arena, text) : NULL;
}

static void remember_request(struct config_private *private, enum config_role role,
                             const struct config_overrides *overrides)
{
    static const struct config_overrides none;
    const struct config_overrides *o = overrides != NULL ? overrides : &none;
    struct arena *arena = &private->arena;

    private->role = role;
    private->overrides = (struct config_overrides){
        .listen_ip = copy(arena, o->listen_ip),
        .listen_port = copy(arena, o->listen_port),
        .dest_host = copy(arena, o->dest_host),
        .dest_tunnel_port = copy(arena, o->dest_tunnel_port),
        .tunnel_port = copy(arena, o->tunnel_port),
        .metrics_port = copy(arena, o->metrics_port),
        .log_level = copy(arena, o->log_level),
        .log_format = copy(arena, o->log_format),
    };
}

const struct config *config_share(const struct config *config)
{
    if (config->private != NULL)
        atomic_fetch_add_explicit(&config->private->owners, 1, memory_order_relaxed);
    return config;
}

struct arena *config_arena(struct config *config)
{
    return &config->private->arena;
}

void config_free(const struct config *config)
{
    if (config == NULL || config->private == NULL)
        return;
    if (atomic_fetch_sub_explicit(&config->private->owners, 1, memory_order_acq_rel) > 1)
        return;
    struct arena arena = config->private->arena; /* config lives in it too */
    arena_fini(&arena);
}

static void settle_sizes(size_t *session_output, size_t *send_buffer, size_t budget)
{
    if (*session_output < SESSION_OUTPUT_MIN)
        *session_output = SESSION_OUTPUT_MIN;
    if (*send_buffer > budget)
        *send_buffer = budget;
}

/* What follows from the values once they are known to be good; the arena says if memory ran out. */
static void settle(struct config *config)
{
    struct config_source *source = &config->source;
    struct config_dest *dest = &config->dest;
    struct config_crypto *crypto = &config->crypto;

    settle_sizes(&source->session_output_max_bytes, &source->send_buffer_max_bytes,
                 source->memory_budget_bytes);
    settle_sizes(&dest->session_output_max_bytes, &dest->send_buffer_max_bytes,
                 dest->memory_budget_bytes);
    if (crypto->max_handshake_size_bytes == 0)
        crypto->max_handshake_size_bytes =
            crypto->kem_mode == CONFIG_KEM_MLKEM768 ? HANDSHAKE_MAX_MLKEM : HANDSHAKE_MAX_MCELIECE;
    if (config->has_source && source->mode == CONFIG_MODE_TRANSPARENT &&
        source->exposed_port_count == 0) {
        source->exposed_ports =
            arena_alloc(&config->private->arena, 1, sizeof(*source->exposed_ports));
        if (source->exposed_ports == NULL)
            return;
        source->exposed_ports[0] = (struct config_exposed_port){
            .port = source->listen_port, .protocol = CONFIG_TCP, .listen_mode = CONFIG_LISTEN_USER};
        source->exposed_port_count = 1;
    }
}

static enum err report_no_memory(struct problems *problems, const char *path)
{
    problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path}, NULL,
                 "out of memory");
    return ERR_NOMEM;
}

enum err config_parse(struct config **out, const char *text, size_t len, const char *path,
                      enum config_role role, const struct config_overrides *overrides,
                      struct problems *problems)
{
    struct config *config = config_new(path);
    struct problem_place place = {.file = path};
    size_t errors_before = problems_errors(problems);
    struct toml_doc *doc = NULL;
    struct toml_error error;

    *out = NULL;
    if (config == NULL)
        return report_no_memory(problems, path);
    struct config_private *private = config->private;
    enum err e = toml_parse(&doc, text, len, &error);
    if (e != ERR_OK) {
        place.line = error.line;
        place.column = error.column;
        problems_add(problems, PROBLEM_ERROR, place, error.advice, "%s", error.text);
        goto out;
    }
    reader_read(&(struct reader){.config = config,
                                 .role = role,
                                 .overrides = overrides,
                                 .arena = &private->arena,
                                 .places = &private->places,
                                 .problems = problems},
                toml_root(doc));
    if (!private->arena.is_exhausted)
        rules_check(config, role, &private->places, problems);
    if (problems_errors(problems) > errors_before) {
        e = ERR_CONFIG;
        goto out;
    }
    settle(config);
    remember_request(private, role, overrides);
    if (private->arena.is_exhausted) {
        e = report_no_memory(problems, path);
        goto out;
    }
    *out = config;
    config = NULL;
out:
    toml_free(doc);
    config_free(config);
    return e;
}

static enum err report_unreadable(struct problems *problems, const char *path, int errnum)
{
    const char *suggestion = "run utun as a user who may read it, or change its owner or mode";

    if (errnum == ENOENT)
        suggestion = "create it, or name another file with --config";
    else if (errnum == EISDIR)
        suggestion = "name a file with --config";
    else if (errnum != EACCES && errnum != EPERM)
        suggestion = NULL;
    else if (geteuid() == 0)
        suggestion = "root has no rights to others' files here: make root its owner";
    problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path}, suggestion,
                 "cannot read the configuration: %s", strerror(errnum));
    return err_from_errno(errnum);
}

enum reading {
    READING_FIRST, /* a pipe is fine, and its writer is waited for */
    READING_AGAIN, /* by a role that runs: it waits for nobody */
};

static enum err open_file(int *fd, const char *path, enum reading reading,
                          struct problems *problems)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (reading == READING_AGAIN ? O_NONBLOCK : 0);
    struct stat st;

    *fd = open(path, flags);
    if (*fd < 0 || fstat(*fd, &st) != 0)
        return report_unreadable(problems, path, errno);
    if (reading == READING_FIRST || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return ERR_OK;
    problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path},
                 "put a file there; its content is read whenever it changes",
                 "the configuration is not a regular file, and is not read again");
    return ERR_IO;
}

/* Reads up to one byte more than a configuration may have, so that the parser sees what is over. */
static enum err read_file(const char *path, enum reading reading, char *text, size_t size,
                          size_t *len, struct problems *problems)
{
    int fd;
    enum err e = open_file(&fd, path, reading, problems);

    *len = 0;
    while (e == ERR_OK && *len < size) {
        ssize_t got = read(fd, text + *len, size - *len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            e = report_unreadable(problems, path, errno);
        if (got <= 0)
            break;
        *len += (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    return e;
}

static enum err load(struct config **out, const char *path, enum reading reading,
                     enum config_role role, const struct config_overrides *overrides,
                     struct problems *problems)
{
    size_t size = TOML_TEXT_MAX + 1;
    char *text = malloc(size);
    size_t len;

    *out = NULL;
    if (text == NULL)
        return report_no_memory(problems, path);
    enum err e = read_file(path, reading, text, size, &len, problems);
    if (e == ERR_OK)
        e = config_parse(out, text, len, path, role, overrides, problems);
    free(text);
    return e;
}

enum err config_load(struct config **out, const char *path, enum config_role role,
                     const struct config_overrides *overrides, struct problems *problems)
{
    return load(out, path, READING_FIRST, role, overrides, problems);
}

enum err config_reload(struct config **out, const struct config *config, struct problems *problems)
{
    const struct config_private *private = config->private;

    return load(out, config->path, READING_AGAIN, private->role, &private->overrides, problems);
}

struct problem_place config_place(const struct config *config, const char *section, const char *key)
{
    enum schema_section_id id;

    if (!schema_find_section(section, &id))
        return (struct problem_place){.file = config->path};
    return places_get(&config->private->places, id, 0, key);
}

bool config_is_given(const struct config *config, enum schema_section_id section, size_t index,
                     const char *key, struct problem_place *place)
{
    const struct places *places = &config->private->places;

    *place = (struct problem_place){.file = config->path};
    if (!places_has(places, section, index, key))
        return false;
    *place = places_get(places, section, index, key);
    return true;
}

static enum err check_value(struct config *config, const struct schema_key *key, const char *text,
                            struct problems *problems, struct err_detail *d)
{
    uint64_t field[4] = {0}; /* room for any type's */
    const struct value value = {
        .key = key,
        .field = field,
        .config_path = config->path,
        .arena = &config->private->arena,
        .problems = problems,
    };

    if (value_from_text(&value, text) != PLACE_GOOD) {
        const struct problem *p = problems_at(problems, 0);

        return err_set(d, ERR_CONFIG, "%s%s%s", p->text, p->suggestion != NULL ? "; " : "",
                       p->suggestion != NULL ? p->suggestion : "");
    }
    return value.arena->is_exhausted ? err_set(d, ERR_NOMEM, "out of memory") : ERR_OK;
}

enum err config_check_value(const char *section, const char *key, const char *text,
                            struct err_detail *d)
{
    struct config *config = config_new("");
    struct problems *problems = problems_new();
    enum schema_section_id id;
    enum err e;

    bool is_known = schema_find_section(section, &id);
    assert(is_known && schema_find(id, key) != NULL);
    if (config != NULL && problems != NULL)
        e = check_value(config, schema_find(id, key), text, problems, d);
    else
        e = err_set(d, ERR_NOMEM, "out of memory");
    problems_free(problems);
    config_free(config);
    return e;
}

static const char *word_of(enum schema_section_id section, const char *key, int value)
{
    for (const struct schema_word *word = schema_find(section, key)->words; word->word != NULL;
         word++) {
        if (word->value == value)
            return word->word;
    }
    return "?";
}

const char *config_mode_name(enum config_mode mode)
{
    return word_of(SCHEMA_SOURCE, "mode", (int)mode);
}

const char *config_protocol_name(enum config_protocol protocol)
{
    return word_of(SCHEMA_EXPOSED_PORTS, "protocol", (int)protocol);
}

const char *config_kem_mode_name(enum config_kem_mode mode)
{
    return word_of(SCHEMA_CRYPTO, "kem_mode", (int)mode);
}
