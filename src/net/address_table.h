/*
 * A number for each of many addresses, in a table of fixed size: an IPv4 address counts by itself,
 * an IPv6 address by its /64 (one customer's network). When more addresses come than it holds, one
 * with the smallest number is forgotten: strangers can make it forgetful, but never make it grow.
 * Not locked.
 */
#ifndef UTUN_NET_ADDRESS_TABLE_H
#define UTUN_NET_ADDRESS_TABLE_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

/* Addresses that are remembered at once; 128 KiB. */
#define ADDRESS_TABLE_ENTRIES 8192

struct address_table;

/* ERR_NOMEM, ERR_RANDOM. */
enum err address_table_new(struct address_table **out) MUST_USE;

/* NULL is fine. */
void address_table_free(struct address_table *t);

/* The address's number, NULL when it has none. Valid until the next address_table_enter. */
uint64_t *address_table_find(struct address_table *t, const struct sockaddr *address) MUST_USE;

/*
 * The same, but one that has none gets 0, in the place of another perhaps. NULL for any family but
 * IPv4 and IPv6.
 */
uint64_t *address_table_enter(struct address_table *t, const struct sockaddr *address) MUST_USE;

#endif
