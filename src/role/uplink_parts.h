/* Steps of an uplink, private to uplink.c (its life) and uplink_reload.c (another configuration).
 */
#ifndef UTUN_ROLE_UPLINK_PARTS_H
#define UTUN_ROLE_UPLINK_PARTS_H

#include "role/uplink.h"

/* The timers of the next refresh, and of the next try to return to a better dest: starts what the
 * configuration asks for, stops what it does not. A refresh is due at once where the session shows
 * a certificate that has been renewed; a failback that is awaited stays as it is. */
void uplink_set_refresh(struct uplink *u);
void uplink_set_failback(struct uplink *u);

/* Dials what the configuration names, beside the session in use if there is one. Whatever became
 * of a dial that has ended, its dest is not wanted any more. */
void uplink_start_anew(struct uplink *u);

#endif
