/* gemmlowp's roundings, as TensorFlow Lite Micro has them. */
#ifndef HWNAS_ARITHMETIC_H
#define HWNAS_ARITHMETIC_H

#include <stdint.h>

/* a * b / 2^31 to the nearest, halves up. */
static inline int32_t hwnas_doubling_high(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^exponent to the nearest, halves away from zero; exponent 0 to 31. */
static inline int32_t hwnas_divide_by_power(int32_t x, int32_t exponent)
{
    int32_t mask = (int32_t)((1u << exponent) - 1u);
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0));
}

/* hwnas_scaled: x * multiplier * 2^(shift - 31); x is below 2^30 in magnitude, also after a shift to the left. */
#if defined(__ARM_FEATURE_DSP) && !defined(HWNAS_PORTABLE)
/* twice * multiplier / 2^32 to the nearest, halves up. */
static inline int32_t hwnas_product(int32_t twice, int32_t multiplier)
{
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(twice), "r"(multiplier));
    return high;
}

/* hwnas_divide_by_power, right > 0: negative values lose one before halves are rounded up. */
static inline int32_t hwnas_shifted_right(int32_t x, int32_t right)
{
    return (x + (x >> 31) + (1 << (right - 1))) >> right;
}

static inline int32_t hwnas_scaled(int32_t x, int32_t multiplier, int32_t shift)
{
    int32_t twice = shift >= 0 ? (int32_t)((uint32_t)x << (shift + 1)) : x * 2;
    int32_t high = hwnas_product(twice, multiplier);
    return shift >= 0 ? high : hwnas_shifted_right(high, -shift);
}

/* That with shift = -right < 0. */
static inline int32_t hwnas_scaled_right(int32_t x, int32_t multiplier, int32_t right)
{
    return hwnas_shifted_right(hwnas_product(x * 2, multiplier), right);
}
#else
static inline int32_t hwnas_scaled(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift >= 0)
        return hwnas_doubling_high((int32_t)((uint32_t)x << shift), multiplier);
    return hwnas_divide_by_power(hwnas_doubling_high(x, multiplier), -shift);
}
#endif

static inline int8_t hwnas_clamped(int32_t x, int32_t low, int32_t high)
{
    x = x < low ? low : x;
    return (int8_t)(x > high ? high : x);
}

/* total / count to the nearest, halves away from zero. */
static inline int32_t hwnas_mean(int32_t total, int32_t count)
{
    return (total > 0 ? total + count / 2 : total - count / 2) / count;
}

#endif
