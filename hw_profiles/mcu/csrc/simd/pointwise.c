#include "hwnas_kernels.h"
#include "matrix_simd.h"

void hwnas_pointwise(const hwnas_pointwise_params *p, const int8_t *in, int8_t *out, void *scratch)
{
    hwnas_finish finish = {p->out_c, p->out_zero, p->low,  p->high,
                           p->bias,  p->multiplier, p->shift};
    int32_t fours = (p->in_c + 3) / 4, i = 0;
    for (; i + 2 <= p->positions; i += 2, in += 2 * p->in_c, out += 2 * p->out_c) {
        hwnas_widen(in, in + p->in_c, p->in_c, 2, scratch);
        hwnas_columns(&finish, p->weight, scratch, fours, 2, out);
    }
    if (i < p->positions) {
        hwnas_widen(in, in, p->in_c, 1, scratch);
        hwnas_columns(&finish, p->weight, scratch, fours, 1, out);
    }
}
