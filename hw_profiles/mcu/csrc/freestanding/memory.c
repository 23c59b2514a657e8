/* What compilers call on their own where there is no C library. */
#include <stddef.h>
#include <stdint.h>

/* Without it loops here become calls of the very functions that they are. */
#if defined(__clang__)
#define HWNAS_AS_WRITTEN __attribute__((no_builtin))
#else
#define HWNAS_AS_WRITTEN __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

HWNAS_AS_WRITTEN void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((((uintptr_t)target | (uintptr_t)source) & 3) == 0)
        for (; n >= 4; n -= 4, target += 4, source += 4)
            *(uint32_t *)(void *)target = *(const uint32_t *)(const void *)source;
    for (; n; n--)
        *target++ = *source++;
    return to;
}

HWNAS_AS_WRITTEN void *memset(void *to, int value, size_t n)
{
    uint8_t *target = to;
    for (; n; n--)
        *target++ = (uint8_t)value;
    return to;
}

HWNAS_AS_WRITTEN void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if (target <= source)
        return memcpy(to, from, n);
    while (n--)
        target[n] = source[n];
    return to;
}
