#include "arithmetic.h"
#include "hwnas_kernels.h"

void hwnas_add(const hwnas_add_params *params, const int8_t *first, const int8_t *second, int8_t *out,
               void *scratch)
{
    const hwnas_add_params copy = *params, *p = &copy; /* bytes may alias the struct */
    (void)scratch;
    for (int32_t i = 0; i < p->size; i++) {
        int32_t a = (first[i] - p->first_zero) * (1 << 20);
        int32_t b = (second[i] - p->second_zero) * (1 << 20);
        int32_t total = hwnas_scaled(a, p->first_multiplier, p->first_shift)
                        + hwnas_scaled(b, p->second_multiplier, p->second_shift);
        total = hwnas_scaled(total, p->out_multiplier, p->out_shift) + p->out_zero;
        out[i] = hwnas_clamped(total, p->low, p->high);
    }
}
