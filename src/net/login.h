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
    /* One more who may ask, and one less, after whom it may go. NULL: it outlives all who ask. */
    void (*share)(const struct login *login);
    void (*release)(const struct login *login);
};

#endif
