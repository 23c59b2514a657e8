#include "hwnas_kernels.h"

void hwnas_fully_connected(const hwnas_fully_connected_params *p, const int8_t *in, int8_t *out,
                           void *scratch)
{
    hwnas_pointwise(p, in, out, scratch);
}
