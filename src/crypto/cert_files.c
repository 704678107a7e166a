#include "crypto/cert_files.h"

#include "crypto/pem.h"

enum err cert_files_write(const struct cert_files *files, const struct cert_issue_result *issued,
                          struct err_detail *d)
{
    const char *cert_what = files->cert_what != NULL ? files->cert_what : "certificate";
    const char *key_what = files->key_what != NULL ? files->key_what : "private key";
    struct file_bytes cert = {NULL, 0};
    struct file_bytes key = {NULL, 0};
    enum err e = pem_encode_cert(&cert, issued->cert);

    if (e == ERR_OK && files->key_path != NULL)
        e = pem_encode_key(&key, issued->key);
    if (e == ERR_OK) {
        const struct file_new pair[] = {
            {files->cert_path, cert_what, cert.data, cert.len, FILE_PUBLIC},
            {files->key_path, key_what, key.data, key.len, FILE_SECRET},
        };
        e = file_create_all(pair, files->key_path != NULL ? 2 : 1, files->overwrite, d);
    } else {
        err_set(d, e, "%s: %s", cert_what, err_text(e));
    }
    file_bytes_free(&key);
    file_bytes_free(&cert);
    return e;
}
