/* usage: replay_X FOLDER: runs the target on every file of its corpus, without libFuzzer. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "target.h"

/* False when the file cannot be read. */
static int run(const char *path, size_t size)
{
    /* No byte more than there is, so that a sanitizer sees a read beyond. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    FILE *f = fopen(path, "rb");
    int is_read = data != NULL && f != NULL && fread(data, 1, size, f) == size;

    if (f != NULL)
        fclose(f);
    if (is_read)
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    return is_read;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    unsigned done = 0;

    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER (%s)\n", argv[0], argc == 2 ? strerror(errno) : "one");
        return 2;
    }
    while ((entry = readdir(folder)) != NULL) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        printf("%s\n", entry->d_name);
        fflush(stdout); /* before it may crash */
        if (!run(path, (size_t)st.st_size)) {
            fprintf(stderr, "%s: cannot be read\n", path);
            return 1;
        }
        done++;
    }
    closedir(folder);
    if (done == 0)
        fprintf(stderr, "%s: no input in it\n", argv[1]);
    return done == 0;
}
