#include "net/established.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/key_schedule.h"
#include "tunnel/handshake.h"

void established_init(struct established *e)
{
    memset(e, 0, sizeof(*e));
    e->fd = -1;
}

void established_fini(struct established *e)
{
    if (e->fd >= 0)
        close(e->fd);
    session_keys_free(e->keys);
    free(e->leftover);
    handshake_result_free(e->info);
    established_init(e);
}
