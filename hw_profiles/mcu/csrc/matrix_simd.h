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

/* Sums of a block of rows; the weights of the next block are returned. */
HWNAS_INLINE const int8_t *hwnas_sums(const int8_t *weight, const uint32_t *x, int32_t fours,
                                      const int rows, const int columns, int32_t *sum)
{
    int32_t total[8];
    for (int i = 0; i < rows * columns; i++)
        total[i] = sum[i];
    for (int32_t i = fours * 2; i > 0; i--, x += columns) {
#pragma GCC unroll 2
        for (int r = 0; r < rows; r += 2, weight += 4) {
            uint32_t word = hwnas_word(weight);
            int16x2_t even = (int16x2_t)hwnas_even(word), odd = (int16x2_t)hwnas_odd(word);
#pragma GCC unroll 2
            for (int c = 0; c < columns; c++) {
                int32_t *place = total + r * columns + c;
                place[0] = __smlad(even, (int16x2_t)x[c], place[0]);
                place[columns] = __smlad(odd, (int16x2_t)x[c], place[columns]);
            }
        }
    }
    for (int i = 0; i < rows * columns; i++)
        sum[i] = total[i];
    return weight;
}

/* What is done with sums of output channels. */
typedef struct {
    int32_t out_c, out_zero, low, high;
    const int32_t *bias, *multiplier, *shift;
} hwnas_finish;

HWNAS_INLINE const int8_t *hwnas_block(const hwnas_finish *f, const int8_t *weight,
                                       const uint32_t *x, int32_t fours, int32_t channel,
                                       const int rows, const int columns, int8_t *out)
{
    int32_t sum[8], missing = channel + rows - f->out_c;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            sum[r * columns + c] = r < rows - missing || missing <= 0 ? f->bias[channel + r] : 0;
    weight = hwnas_sums(weight, x, fours, rows, columns, sum);
    for (int r = 0; r < rows; r++) {
        if (missing > 0 && r >= rows - missing)
            break;
        int32_t multiplier = f->multiplier[channel + r], shift = f->shift[channel + r];
        for (int c = 0; c < columns; c++) {
            int32_t made = hwnas_scaled(sum[r * columns + c], multiplier, shift) + f->out_zero;
            out[c * f->out_c + channel + r] = hwnas_clamped(made, f->low, f->high);
        }
    }
    return weight;
}

/* All output channels for one or two columns of widened inputs; outputs of the second follow those
 * of the first. */
HWNAS_INLINE void hwnas_columns(const hwnas_finish *f, const int8_t *weight, const uint32_t *x,
                                int32_t fours, const int columns, int8_t *out)
{
    int32_t channel = 0;
    for (; channel + 2 < f->out_c; channel += 4)
        weight = hwnas_block(f, weight, x, fours, channel, 4, columns, out);
    if (channel < f->out_c)
        hwnas_block(f, weight, x, fours, channel, 2, columns, out);
}

#endif
