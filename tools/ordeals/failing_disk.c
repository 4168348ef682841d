/* Failing disk: preloaded, it lets the operating system's answers about the store's files be errors.
 *
 * FAILING_DISK names a file of four 32-bit numbers that the ordeal and this share: how many calls are still to go
 * well, how many behind them fail, with which errno (0: none), and how many calls were made. It looks at calls on files whose
 * path contains "retour.db". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

struct plan {
    int32_t good_left;
    int32_t bad_left;
    int32_t error;
    int32_t calls;
};

static struct plan *plan_of(void)
{
    static struct plan *shared;
    const char *path;
    int file;

    if (shared || !(path = getenv("FAILING_DISK")))
        return shared;
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0) {
        void *here = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (here != MAP_FAILED)
            shared = here;
    }
    return shared;
}

/* Whether this call on `file` is to fail; then errno is set. */
static int fails(int file)
{
    char link[64], path[4096];
    ssize_t length;
    struct plan *plan = plan_of();

    if (!plan)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!strstr(path, "retour.db"))
        return 0;
    __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
    if (!plan->error || __atomic_fetch_sub(&plan->good_left, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    if (__atomic_fetch_sub(&plan->bad_left, 1, __ATOMIC_SEQ_CST) <= 0)
        return 0;
    errno = plan->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *octets, size_t count, off64_t at)
{
    return fails(file) ? -1 : REAL(pwrite64)(file, octets, count, at);
}

ssize_t pwrite(int file, const void *octets, size_t count, off_t at)
{
    return fails(file) ? -1 : REAL(pwrite)(file, octets, count, at);
}

ssize_t write(int file, const void *octets, size_t count)
{
    return fails(file) ? -1 : REAL(write)(file, octets, count);
}

ssize_t pread64(int file, void *octets, size_t count, off64_t at)
{
    return fails(file) ? -1 : REAL(pread64)(file, octets, count, at);
}

int fsync(int file)
{
    return fails(file) ? -1 : REAL(fsync)(file);
}

int fdatasync(int file)
{
    return fails(file) ? -1 : REAL(fdatasync)(file);
}

int ftruncate64(int file, off64_t length)
{
    return fails(file) ? -1 : REAL(ftruncate64)(file, length);
}

int ftruncate(int file, off_t length)
{
    return fails(file) ? -1 : REAL(ftruncate)(file, length);
}
