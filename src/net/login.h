/* Who may use an entry point (SOCKS5, HTTP proxy), asked of whoever knows. */
#ifndef UTUN_NET_LOGIN_H
#define UTUN_NET_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embed it in what knows the users, and fill it in. */
struct login {
    /* Takes the same time wherever a wrong password differs. Any bytes may come, of any length. */
    bool (*is_right)(const struct login *login, const uint8_t *name, size_t name_len,
                     const uint8_t *password, size_t password_len);
};

#endif
