#include "hwnas_kernels.h"
#include "matrix_simd.h"

void hwnas_fully_connected(const hwnas_fully_connected_params *p, const int8_t *in, int8_t *out,
                           void *scratch)
{
    hwnas_finish finish = {p->out_c, p->out_zero, p->low,  p->high,
                           p->bias,  p->multiplier, p->shift};
    hwnas_widen(in, in, p->in_c, 1, scratch);
    hwnas_columns(&finish, p->weight, scratch, (p->in_c + 3) / 4, 1, out);
}
