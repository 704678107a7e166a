/*
 * How many names are being looked up, in the whole process. The system's resolver cannot be told
 * to stop: what nobody waits for any more goes on, and with it its loop, until a name server has
 * answered or has not for long enough. Who ends the process can see that it is only that
 * (role/overdue.h).
 *
 * Threads: any.
 */
#ifndef UTUN_NET_LOOKUPS_H
#define UTUN_NET_LOOKUPS_H

/* After uv_getaddrinfo has taken a request; and in its callback. */
void lookups_begin(void);
void lookups_end(void);

unsigned lookups_under_way(void);

#endif
