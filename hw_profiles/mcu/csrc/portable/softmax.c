#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Multiplies values of which both have two bits before the point; so has the result. */
static int32_t times_four(int32_t x)
{
    return x > (1 << 29) - 1 ? INT32_MAX : x < -(1 << 29) ? INT32_MIN : x * 4;
}

/* 1 / (1 + a), both with 31 bits behind the point: three steps of Newton's. */
static int32_t one_over_one_plus(int32_t a)
{
    int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + hwnas_doubling_high(half, -1010580540);
    for (int32_t i = 0; i < 3; i++) {
        int32_t rest = (1 << 29) - hwnas_doubling_high(half, x);
        x += times_four(hwnas_doubling_high(x, rest));
    }
    return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

void hwnas_softmax(const hwnas_softmax_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_softmax_params copy = *params, *p = &copy; /* bytes may alias the struct */
    int32_t largest = -128, total = 0;
    (void)scratch;
    for (int32_t i = 0; i < p->size; i++)
        largest = in[i] > largest ? in[i] : largest;
    for (int32_t i = 0; i < p->size; i++)
        total += hwnas_divide_by_power(p->exponentials[largest - in[i]], 12);
    int32_t headroom = __builtin_clz((uint32_t)total);
    int32_t scale = one_over_one_plus((int32_t)(((uint32_t)total << headroom) - (1u << 31)));
    for (int32_t i = 0; i < p->size; i++) {
        int32_t one = p->exponentials[largest - in[i]];
        int32_t share = hwnas_divide_by_power(hwnas_doubling_high(scale, one), 35 - headroom);
        out[i] = one ? hwnas_clamped(share - 128, -128, 127) : -128;
    }
}
