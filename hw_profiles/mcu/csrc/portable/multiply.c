#include "arithmetic.h"
#include "hwnas_kernels.h"

void hwnas_multiply(const hwnas_multiply_params *params, const int8_t *first, const int8_t *second,
                    int8_t *out, void *scratch)
{
    const hwnas_multiply_params copy = *params, *p = &copy; /* bytes may alias the struct */
    (void)scratch;
    for (int32_t i = 0; i < p->positions; i++)
        for (int32_t c = 0; c < p->channels; c++) {
            int32_t product = (*first++ - p->first_zero) * (second[c] - p->second_zero);
            product = hwnas_scaled(product, p->multiplier, p->shift) + p->out_zero;
            *out++ = hwnas_clamped(product, p->low, p->high);
        }
}
