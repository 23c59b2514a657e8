#include "hwnas_kernels.h"

void hwnas_table(const hwnas_table_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_table_params copy = *params, *p = &copy; /* bytes may alias the struct */
    const int8_t *middle = p->table + 128;
    (void)scratch;
    for (int32_t i = 0; i < p->size; i++)
        out[i] = middle[in[i]];
}
