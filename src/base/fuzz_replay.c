// SPDX-License-Identifier: Apache-2.0
// Replays a committed corpus through a fuzz target in the ordinary test run, and a fixed number of
// seeded mutations of every file with it, so that each run also looks a little further.
#include "base/buf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS_PER_FILE = 200, FILE_BYTES_MAX = 1 << 20 };

static uint64_t state = 0x2545f4914f6cdd1du;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void mutate(uint8_t *p, size_t *n)
{
    for (unsigned edits = 1 + (unsigned)(next_random() % 4); edits > 0 && *n > 0; edits--) {
        size_t at = next_random() % *n;
        switch (next_random() % 4) {
        case 0:
            p[at] ^= (uint8_t)(1u << (next_random() % 8));
            break;
        case 1:
            p[at] = (uint8_t)next_random();
            break;
        case 2:
            *n = at; // cut off
            break;
        default:
            memmove(p + at, p + at + 1, *n - at - 1);
            (*n)--;
            break;
        }
    }
}

static void run_copy(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1); // its own block: reading past the end is seen
    CHECK(exact != NULL);
    if (n > 0)
        memcpy(exact, p, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static bool replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    uint8_t *content = xalloc(FILE_BYTES_MAX), *changed = xalloc(FILE_BYTES_MAX);
    size_t n = fread(content, 1, FILE_BYTES_MAX, f);
    fclose(f);
    run_copy(content, n);
    for (int i = 0; i < MUTATIONS_PER_FILE; i++) {
        size_t changed_bytes = n;
        memcpy(changed, content, n);
        mutate(changed, &changed_bytes);
        run_copy(changed, changed_bytes);
    }
    free(content);
    free(changed);
    return true;
}

int main(int argc, char **argv)
{
    AUTO(arena) a = arena_open();
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (d == NULL) {
            printf("not ok 1 - no corpus at %s\n1..1\n", argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(d)) != NULL;)
            if (e->d_name[0] != '.')
                files += replay_file(str_fmt(a, "%s/%s", argv[i], e->d_name).p);
        closedir(d);
    }
    printf("%s 1 - %d corpus files and %d mutations of each\n1..1\n", files > 0 ? "ok" : "not ok",
           files, MUTATIONS_PER_FILE);
    return files == 0;
}
