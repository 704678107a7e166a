#include "role/proxy_users.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "crypto/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

/* What a login of RFC 1929 can carry. */
#define FIELD_MAX 255

struct user {
    uint8_t name[KDF_SIZE];
    uint8_t login[KDF_SIZE]; /* name and password */
};

struct proxy_users {
    struct login login; /* first: its functions go from it to the rest */
    _Atomic unsigned owners;
    size_t count;
    struct user items[PROXY_USERS_MAX];
};

static enum err hash(struct user *user, struct kdf_bytes name, struct kdf_bytes password)
{
    uint8_t len[2] = {(uint8_t)(name.len >> 8), (uint8_t)name.len};
    const struct kdf_bytes parts[] = {{len, sizeof(len)}, name, password};
    enum err e = kdf_hash(user->name, name);

    return e == ERR_OK ? kdf_hash_parts(user->login, parts, 3) : e;
}

/* All are compared, each in the same time. */
static bool is_right(const struct login *login, const uint8_t *name, size_t name_len,
                     const uint8_t *password, size_t password_len)
{
    const struct proxy_users *users = (const struct proxy_users *)(const void *)login;
    struct {
        struct user user;
    } tmp;
    bool is_known = false;

    if (name_len > FIELD_MAX || password_len > FIELD_MAX)
        return false;
    enum err e = hash(&tmp.user, (struct kdf_bytes){name, name_len},
                      (struct kdf_bytes){password, password_len});
    for (size_t i = 0; e == ERR_OK && i < users->count; i++)
        is_known |= secret_equal(users->items[i].login, tmp.user.login, KDF_SIZE);
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    return is_known;
}

/* The login is the first of a struct that is never constant itself. */
static struct proxy_users *users_of(const struct login *login)
{
    return (struct proxy_users *)(uintptr_t)(const void *)login;
}

static void share(const struct login *login)
{
    (void)proxy_users_share(users_of(login));
}

static void release(const struct login *login)
{
    proxy_users_free(users_of(login));
}

/* NULL, or what is wrong with the line. */
static const char *take_line(struct proxy_users *users, const uint8_t *line, size_t len)
{
    const uint8_t *colon = memchr(line, ':', len);
    struct user *user = &users->items[users->count];
    struct kdf_bytes name = {line, colon == NULL ? 0 : (size_t)(colon - line)};
    struct kdf_bytes password = {colon == NULL ? NULL : colon + 1,
                                 colon == NULL ? 0 : len - name.len - 1};

    if (name.len == 0 || password.len == 0)
        return "is not name:password";
    if (name.len > FIELD_MAX || password.len > FIELD_MAX)
        return "has a name or a password of more than 255 bytes";
    if (users->count == PROXY_USERS_MAX)
        return "is one user too many; 1000 are the most";
    if (hash(user, name, password) != ERR_OK)
        return "cannot be hashed";
    for (size_t i = 0; i < users->count; i++) {
        if (memcmp(users->items[i].name, user->name, KDF_SIZE) == 0)
            return "has a name that was there before";
    }
    users->count++;
    return NULL;
}

static enum err take_file(struct proxy_users *users, const struct file_bytes *file,
                          const char *path, struct err_detail *d)
{
    const uint8_t *at = file->data;
    const uint8_t *end = file->data + file->len;

    for (unsigned number = 1; at < end; number++) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        const uint8_t *next = newline == NULL ? end : newline + 1;
        size_t len = (size_t)((newline == NULL ? end : newline) - at);

        if (len > 0 && at[len - 1] == '\r')
            len--;
        if (len > 0 && at[0] != '#') {
            const char *fault = take_line(users, at, len);
            if (fault != NULL)
                return err_set(d, ERR_CONFIG, "proxy_users_path %s: line %u %s", path, number,
                               fault);
        }
        at = next;
    }
    if (users->count == 0)
        return err_set(d, ERR_CONFIG,
                       "proxy_users_path %s: there is no user in it, so nobody could log in; add "
                       "a line name:password",
                       path);
    return ERR_OK;
}

enum err proxy_users_new(struct proxy_users **out, const struct config *config,
                         struct err_detail *d)
{
    const char *path = config->source.proxy_users_path;
    struct proxy_users *users = NULL;
    struct file_bytes file;

    *out = NULL;
    if (path == NULL)
        return ERR_OK;
    enum err e = file_read(
        &file, path, "list of proxy users",
        config->auth.allow_insecure_key_files ? FILE_SECRET_ANY_MODE : FILE_SECRET_FOR_GROUP, d);
    if (e != ERR_OK)
        return e;
    users = secret_new(sizeof(*users));
    if (users == NULL) {
        e = err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
        goto out;
    }
    users->login = (struct login){.is_right = is_right, .share = share, .release = release};
    atomic_init(&users->owners, 1);
    e = take_file(users, &file, path, d);
    if (e != ERR_OK)
        goto out;
    *out = users;
    users = NULL;
out:
    file_bytes_free(&file);
    proxy_users_free(users);
    return e;
}

struct proxy_users *proxy_users_share(struct proxy_users *users)
{
    if (users != NULL)
        atomic_fetch_add_explicit(&users->owners, 1, memory_order_relaxed);
    return users;
}

void proxy_users_free(struct proxy_users *users)
{
    if (users != NULL && atomic_fetch_sub_explicit(&users->owners, 1, memory_order_acq_rel) == 1)
        secret_free(users, sizeof(*users));
}

const struct login *proxy_users_login(const struct proxy_users *users)
{
    return users == NULL ? NULL : &users->login;
}
