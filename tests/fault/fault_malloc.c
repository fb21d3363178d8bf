/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions of the program come before those of shared libraries, so that the
 * C library's own callers (strdup(), asprintf(), qsort()) end up here as well.
 * What is not refused goes to the C library or, in a sanitized program, to the
 * sanitizer, which so still sees every block.
 */
#include "tests/fault/fault_malloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_ulong n_requests, refuse_at;
static atomic_int is_armed, is_lasting, refused;
static atomic_long n_live;
static const char *symbol = "";
static const void *libc_base;
static _Thread_local int is_creating; /* inside pthread_create() */
static _Thread_local int is_running;  /* the thread has come to its function */

void fault_arm(unsigned long nth, int lasting)
{
    refused = FAULT_NOBODY;
    symbol = "";
    is_lasting = lasting;
    n_requests = 0;
    refuse_at = nth;
    is_armed = 1;
}

unsigned long fault_disarm(void)
{
    is_armed = 0;
    return n_requests;
}

enum fault_maker fault_refused(void)
{
    return (enum fault_maker)refused;
}

const char *fault_symbol(void)
{
    return symbol;
}

long fault_n_live(void)
{
    return n_live;
}

#ifdef __GLIBC__

int fault_stands(void)
{
    return 1;
}

/* Runs before AddressSanitizer is ready to check it. */
#define EARLY __attribute__((no_sanitize_address))

/* Counts a request that returns to `caller`; nonzero when it is refused. */
EARLY static int refuse(const void *caller)
{
    unsigned long n, at = refuse_at;
    Dl_info info;

    if (!is_armed || !is_running)
        return 0;
    n = ++n_requests;
    if (at == 0 || n < at || (n > at && !is_lasting))
        return 0;
    if (n == at) {
        refused = is_creating ? FAULT_THREAD : FAULT_MEMORY;
        if (dladdr(caller, &info)) {
            symbol = info.dli_sname ? info.dli_sname : info.dli_fname;
            if (info.dli_fbase == libc_base && !is_creating)
                refused = FAULT_LIBC;
        }
    }
    errno = ENOMEM;
    return 1;
}

#define REFUSED() refuse(__builtin_return_address(0))

/* A request that was granted, if it was. */
EARLY static void *grant(void *block)
{
    if (block)
        n_live++;
    return block;
}

/* REAL(NAME): a sanitizer's function, or else the C library's. */
#define DECLARE(type, name, ...)                                               \
    type __libc_##name(__VA_ARGS__);                                           \
    type __interceptor_##name(__VA_ARGS__) __attribute__((weak))
#define REAL(name) (__interceptor_##name ? __interceptor_##name : __libc_##name)

DECLARE(void *, malloc, size_t);
DECLARE(void *, calloc, size_t, size_t);
DECLARE(void *, realloc, void *, size_t);
DECLARE(void *, memalign, size_t, size_t);
DECLARE(void, free, void *);

EARLY void *malloc(size_t n)
{
    return REFUSED() ? NULL : grant(REAL(malloc)(n));
}

EARLY void *calloc(size_t n, size_t size)
{
    return REFUSED() ? NULL : grant(REAL(calloc)(n, size));
}

/* A block that may shrink where it is (asprintf() does it) asks for nothing. */
EARLY void *realloc(void *block, size_t n)
{
    int grows = !block || n > malloc_usable_size(block);
    void *moved;

    if (grows && REFUSED())
        return NULL;
    moved = REAL(realloc)(block, n);
    n_live += (moved || n == 0) * ((moved != NULL) - (block != NULL));
    return moved;
}

EARLY void *reallocarray(void *block, size_t n, size_t size)
{
    size_t n_bytes;

    if (!__builtin_mul_overflow(n, size, &n_bytes))
        return realloc(block, n_bytes);
    errno = ENOMEM;
    return NULL;
}

EARLY void *memalign(size_t align, size_t n)
{
    return REFUSED() ? NULL : grant(REAL(memalign)(align, n));
}

EARLY void *aligned_alloc(size_t align, size_t n)
{
    return REFUSED() ? NULL : grant(REAL(memalign)(align, n));
}

EARLY int posix_memalign(void **block, size_t align, size_t n)
{
    void *made = REFUSED() ? NULL : grant(REAL(memalign)(align, n));

    if (!made)
        return ENOMEM;
    *block = made;
    return 0;
}

EARLY void free(void *block)
{
    if (block)
        n_live--;
    REAL(free)(block);
}

/* A sanitizer has these of its own, which ask nobody. */
char *strdup(const char *text)
{
    return strndup(text, strlen(text));
}

char *strndup(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *copy = REFUSED() ? NULL : grant(REAL(malloc)(n + 1));

    if (!copy)
        return NULL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

/* The same for what the C library has no second name for. */
#define FIND(name)                                                             \
    extern __typeof__(name) __interceptor_##name __attribute__((weak));        \
    static __typeof__(name) *real_##name = __interceptor_##name
FIND(mmap);
FIND(munmap);
FIND(pthread_create);
FIND(pthread_join);

/* Before the program counts anything: looking up may take memory. */
EARLY __attribute__((constructor)) static void look_up(void)
{
    Dl_info info;

    if (!real_mmap)
        real_mmap = dlsym(RTLD_NEXT, "mmap");
    if (!real_munmap)
        real_munmap = dlsym(RTLD_NEXT, "munmap");
    if (!real_pthread_create)
        real_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
    if (!real_pthread_join)
        real_pthread_join = dlsym(RTLD_NEXT, "pthread_join");
    if (dladdr(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), &info))
        libc_base = info.dli_fbase;
    is_running = 1;
}

EARLY void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    void *map;

    if (REFUSED())
        return MAP_FAILED;
    if (!real_mmap)
        look_up();
    map = real_mmap(at, n, prot, flags, fd, offset);
    n_live += map != MAP_FAILED;
    return map;
}

EARLY int munmap(void *map, size_t n)
{
    if (!real_munmap)
        look_up();
    n_live--;
    return real_munmap(map, n);
}

/* A thread may take memory before it begins, for a sanitizer's own purposes. */
struct beginning {
    void *(*start)(void *);
    void *arg;
};

static void *begin(void *arg)
{
    struct beginning beginning = *(struct beginning *)arg;

    REAL(free)(arg);
    is_running = 1;
    return beginning.start(beginning.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*start)(void *), void *arg)
{
    struct beginning *beginning = REAL(malloc)(sizeof(*beginning));
    int rc;

    *beginning = (struct beginning){start, arg};
    is_creating = 1;
    rc = REFUSED() ? EAGAIN
                   : real_pthread_create(thread, attr, begin, beginning);
    is_creating = 0;
    n_live += rc == 0;
    if (rc)
        REAL(free)(beginning);
    return rc;
}

int pthread_join(pthread_t thread, void **result)
{
    n_live--;
    return real_pthread_join(thread, result);
}

#else

int fault_stands(void)
{
    return 0;
}

#endif
