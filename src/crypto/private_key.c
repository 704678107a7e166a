#include "crypto/private_key.h"

#include "crypto/pem.h"
#include "crypto/signer.h"

static struct signer *keeper;

void private_key_use(struct signer *signer)
{
    keeper = signer;
}

enum err private_key_read(EVP_PKEY **out, const char *path, const char *what,
                          enum file_access access, struct err_detail *d)
{
    if (keeper != NULL)
        return signer_load(keeper, out, path, what, access, d);
    return pem_read_key(out, path, what, access, d);
}
