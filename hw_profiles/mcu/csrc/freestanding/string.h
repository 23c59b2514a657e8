/* For compilers without a C library. As builtins, copies of a few bytes stay loads and stores. */
#ifndef HWNAS_STRING_H
#define HWNAS_STRING_H

#include <stddef.h>

#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset

#endif
