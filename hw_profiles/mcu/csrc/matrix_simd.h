/* Products of packed weights (hw_profiles/mcu/packing.py) with one or two columns of inputs. */
#ifndef HWNAS_MATRIX_SIMD_H
#define HWNAS_MATRIX_SIMD_H

#include <arm_acle.h>
#include <stdint.h>

#include "arithmetic.h"

#define HWNAS_INLINE static inline __attribute__((always_inline))

/* A word that need not be aligned. */
HWNAS_INLINE uint32_t hwnas_word(const int8_t *from)
{
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return word;
}

/* The first n < 4 bytes of a word; the others are zero, and not read. */
HWNAS_INLINE uint32_t hwnas_part_of_word(const int8_t *from, int32_t n)
{
    uint32_t word = 0;
    for (int32_t i = 0; i < n; i++)
        word |= (uint32_t)(uint8_t)from[i] << (8 * i);
    return word;
}

HWNAS_INLINE uint32_t hwnas_even(uint32_t word)
{
    return (uint32_t)__sxtb16(word);
}

HWNAS_INLINE uint32_t hwnas_odd(uint32_t word)
{
    uint32_t wide; /* GCC has no intrinsic that rotates as well. */
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(wide) : "r"(word));
    return wide;
}

/* Widen n inputs of each column to 16 bits: for every four of them the pair (0, 2) of each column,
 * then the pair (1, 3) of each. What is missing to a multiple of four is zero. */
HWNAS_INLINE void hwnas_widen(const int8_t *first, const int8_t *second, int32_t n,
                              const int columns, uint32_t *to)
{
    for (; n > 0; n -= 4, first += 4, second += 4, to += 2 * columns) {
        uint32_t a = n >= 4 ? hwnas_word(first) : hwnas_part_of_word(first, n);
        to[0] = hwnas_even(a);
        to[columns] = hwnas_odd(a);
        if (columns == 2) {
            uint32_t b = n >= 4 ? hwnas_word(second) : hwnas_part_of_word(second, n);
            to[1] = hwnas_even(b);
            to[3] = hwnas_odd(b);
        }
    }
}

/* What is done with sums of output channels. */
typedef struct {
    int32_t out_c, out_zero, low, high;
    const int32_t *bias, *multiplier, *shift;
} hwnas_finish;

HWNAS_INLINE void hwnas_put(const hwnas_finish *f, int32_t channel, int32_t sum, int8_t *out)
{
    int32_t made = hwnas_scaled(sum, f->multiplier[channel], f->shift[channel]) + f->out_zero;
    out[channel] = hwnas_clamped(made, f->low, f->high);
}

/* All output channels, two at a time, for one or two columns of widened inputs; outputs of the
 * second column follow those of the first. */
HWNAS_INLINE void hwnas_columns(const hwnas_finish *f, const int8_t *weight, const uint32_t *inputs,
                                int32_t fours, const int columns, int8_t *out)
{
    for (int32_t channel = 0; channel < f->out_c; channel += 2) {
        int32_t both = channel + 1 < f->out_c;
        int32_t a = f->bias[channel], b = a, c = both ? f->bias[channel + 1] : 0, d = c;
        const uint32_t *x = inputs;
        for (int32_t i = fours; i > 0; i--) {
#pragma GCC unroll 2
            for (int pair = 0; pair < 2; pair++, weight += 4, x += columns) {
                uint32_t word = hwnas_word(weight);
                int16x2_t even = (int16x2_t)hwnas_even(word), odd = (int16x2_t)hwnas_odd(word);
                a = __smlad(even, (int16x2_t)x[0], a);
                c = __smlad(odd, (int16x2_t)x[0], c);
                if (columns == 2) {
                    b = __smlad(even, (int16x2_t)x[1], b);
                    d = __smlad(odd, (int16x2_t)x[1], d);
                }
            }
        }
        hwnas_put(f, channel, a, out);
        if (columns == 2)
            hwnas_put(f, channel, b, out + f->out_c);
        if (both) {
            hwnas_put(f, channel + 1, c, out);
            if (columns == 2)
                hwnas_put(f, channel + 1, d, out + f->out_c);
        }
    }
}

#endif
