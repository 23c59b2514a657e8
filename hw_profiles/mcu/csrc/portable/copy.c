#include "hwnas_kernels.h"

void hwnas_copy(const hwnas_copy_params *p, const int8_t *in, int8_t *out, void *scratch)
{
    (void)scratch;
    int32_t in_stride = p->in_stride, out_stride = p->out_stride, row_bytes = p->row_bytes;
    in += p->in_start;
    out += p->out_start;
    for (int32_t rows = p->rows; rows > 0; rows--, in += in_stride, out += out_stride) {
        int32_t i = 0;
        for (; i + 4 <= row_bytes; i += 4)
            __builtin_memcpy(out + i, in + i, 4);
        for (; i < row_bytes; i++)
            out[i] = in[i];
    }
}
