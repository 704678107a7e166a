/*
 * hostile dest PORT FILES ATTACK [NAME=VALUE]...      a source that attacks the dest at PORT
 * hostile source PORT FILES ATTACK [NAME=VALUE]...    a dest at PORT, which a source comes to
 *
 * FILES is a folder with ca.crt, peer.crt and peer.key, and perhaps other.crt and other.key. Names:
 * echo, sink, spring, datagrams, away (ports of services), seed, count, patience_ms, kem_mode
 * (mlkem768 where it is not said). Exit status 0: the daemon did what it should, as far as that is
 * seen from here.
 */
#include "hostile.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tls_context *load(const struct world *world, const char *folder, const char *name)
{
    char cert[512];
    char key[512];
    char ca[512];
    const struct identity_files files = {
        .cert_path = cert,
        .key_path = key,
        .ca_path = ca,
        .use = world->engine_role == TUNNEL_DEST ? IDENTITY_SOURCE : IDENTITY_DEST,
    };
    struct identity *identity = NULL;
    struct tls_context *tls = NULL;
    struct err_detail d = {""};

    snprintf(cert, sizeof(cert), "%s/%s.crt", folder, name);
    snprintf(key, sizeof(key), "%s/%s.key", folder, name);
    snprintf(ca, sizeof(ca), "%s/ca.crt", folder);
    if (access(cert, R_OK) != 0)
        return NULL;
    demand(identity_load(&identity, &files, &d) == ERR_OK &&
               tls_context_new(&tls, identity, world->kem_mode, TLS_AUTH_MUTUAL, &d) == ERR_OK,
           "%s: %s", cert, d.text);
    identity_free(identity);
    return tls;
}

static int listen_at(uint16_t port)
{
    const struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    demand(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
               bind(fd, (const struct sockaddr *)&here, sizeof(here)) == 0 && listen(fd, 64) == 0,
           "cannot listen at port %u", port);
    return fd;
}

static enum kem_mode mode_of(const char *name)
{
    for (unsigned mode = KEM_HYBRID; mode <= KEM_MCELIECE460896; mode++) {
        if (strcmp(kem_mode_name(mode), name) == 0)
            return (enum kem_mode)mode;
    }
    fail("unknown kem_mode: %s", name);
}

static void set(struct world *world, const char *word)
{
    const char *value = strchr(word, '=');
    uint64_t number;

    demand(value != NULL, "NAME=VALUE is expected, not %s", word);
    number = strtoull(value + 1, NULL, 10);
    if (strncmp(word, "echo=", 5) == 0)
        world->echo = (uint16_t)number;
    else if (strncmp(word, "sink=", 5) == 0)
        world->sink = (uint16_t)number;
    else if (strncmp(word, "spring=", 7) == 0)
        world->spring = (uint16_t)number;
    else if (strncmp(word, "datagrams=", 10) == 0)
        world->datagrams = (uint16_t)number;
    else if (strncmp(word, "away=", 5) == 0)
        world->away = (uint16_t)number;
    else if (strncmp(word, "seed=", 5) == 0)
        world->seed = number;
    else if (strncmp(word, "count=", 6) == 0)
        world->count = number;
    else if (strncmp(word, "patience_ms=", 12) == 0)
        patience_ms = number;
    else if (strncmp(word, "kem_mode=", 9) == 0)
        world->kem_mode = mode_of(value + 1);
    else
        fail("unknown name: %s", word);
}

static const struct attack *find(const struct attack *attacks, const char *name)
{
    while (attacks->name != NULL && strcmp(attacks->name, name) != 0)
        attacks++;
    return attacks->name == NULL ? NULL : attacks;
}

static const struct attack *choose(const struct world *world, const char *name)
{
    const struct attack *const on_dest[] = {
        attacks_on_session, attacks_by_chance, attacks_on_stream, attacks_on_tunnel,
        attacks_on_credit,  attacks_by_key,    attacks_by_offer,
    };
    const struct attack *const on_source[] = {attacks_on_session, attacks_by_chance,
                                              attacks_on_source, attacks_by_answer,
                                              attacks_by_answer_in_session};
    const struct attack *attack = NULL;

    if (world->engine_role == TUNNEL_DEST) {
        for (size_t i = 0; i < sizeof(on_dest) / sizeof(on_dest[0]) && attack == NULL; i++)
            attack = find(on_dest[i], name);
    } else {
        for (size_t i = 0; i < sizeof(on_source) / sizeof(on_source[0]) && attack == NULL; i++)
            attack = find(on_source[i], name);
    }
    demand(attack != NULL, "unknown attack: %s", name);
    return attack;
}

int main(int argc, char **argv)
{
    struct world world = {.listener = -1, .kem_mode = KEM_MLKEM768};

    demand(argc >= 5, "usage: hostile dest|source PORT FILES ATTACK [NAME=VALUE]...");
    (void)signal(SIGPIPE, SIG_IGN);
    world.engine_role = strcmp(argv[1], "dest") == 0 ? TUNNEL_DEST : TUNNEL_SOURCE;
    world.port = (uint16_t)strtoul(argv[2], NULL, 10);
    for (int i = 5; i < argc; i++)
        set(&world, argv[i]);
    world.tls = load(&world, argv[3], "peer");
    world.other = load(&world, argv[3], "other");
    demand(world.tls != NULL, "no certificate in %s", argv[3]);
    if (world.engine_role == TUNNEL_SOURCE)
        world.listener = listen_at(world.port);
    choose(&world, argv[4])->run(&world);
    tls_context_free(world.tls);
    tls_context_free(world.other);
    if (world.listener >= 0)
        close(world.listener);
    return 0;
}
