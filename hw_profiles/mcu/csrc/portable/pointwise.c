#include "arithmetic.h"
#include "hwnas_kernels.h"

void hwnas_pointwise(const hwnas_pointwise_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_pointwise_params copy = *params, *p = &copy; /* bytes may alias what lies elsewhere */
    (void)scratch;
    for (int32_t i = 0; i < p->positions; i++, in += p->in_c) {
        const int8_t *weight = p->weight;
        for (int32_t c = 0; c < p->out_c; c++, weight += p->in_c) {
            int32_t total = p->bias[c];
            for (int32_t k = 0; k < p->in_c; k++)
                total += in[k] * weight[k];
            total = hwnas_scaled(total, p->multiplier[c], p->shift[c]) + p->out_zero;
            *out++ = hwnas_clamped(total, p->low, p->high);
        }
    }
}
