/*
 * What the clients of a source go by, of one configuration: the ports that are listened on, who may
 * log in, where to they may want to go. It never changes, but for the files of Unix sockets; a
 * reload makes another one.
 *
 * Threads: any.
 */
#ifndef UTUN_ROLE_CLIENT_TABLE_H
#define UTUN_ROLE_CLIENT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "config/config.h"
#include "role/listen_port.h"
#include "role/outbound.h"
#include "role/proxy_users.h"

struct client_table {
    const struct config *config; /* owned */
    struct proxy_users *users;   /* NULL: nobody has to log in */
    struct outbound outbound;
    struct listen_port *ports; /* whoever makes the table binds those that have no port */
    size_t port_count;
    uint16_t *named; /* all numbers that the configuration has for ports of this machine */
    size_t named_count;
};

#define CLIENT_TABLE_NONE SIZE_MAX

/*
 * Becomes an owner of the configuration. The ports of before (NULL: none), the table that it is to
 * replace, stay what they have got. On error d says why: proxy_users_new's, ERR_NOMEM.
 */
enum err client_table_new(struct client_table **out, const struct config *config,
                          const struct client_table *before, struct err_detail *d) MUST_USE;

/* NULL is fine. */
void client_table_free(struct client_table *t);

/* The index of the port, or of the Unix socket where path is not NULL; or CLIENT_TABLE_NONE. */
size_t client_table_find(const struct client_table *t, enum listener_kind kind, uint16_t configured,
                         const char *path);

/* Whether it has that port of another table. */
bool client_table_has(const struct client_table *t, const struct listen_port *port);

/*
 * The files of Unix sockets become that user's, who has to remove them at the end; a warning
 * ("sandbox.socket_owner") for each that cannot.
 */
void client_table_give_files(const struct client_table *t, uid_t uid, gid_t gid);

/*
 * The files of Unix sockets that before has too get the rights that they are to have now; a warning
 * ("listener.rights") for each that cannot.
 */
void client_table_set_rights(const struct client_table *t, const struct client_table *before);

/*
 * Removes the files of Unix sockets, which must still be open, but for those that keep (NULL: none)
 * has too. One thread at a time. NULL is fine.
 */
void client_table_remove_files(struct client_table *t, const struct client_table *keep);

#endif
