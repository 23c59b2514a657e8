#include "model.h"

#include "cores.h"
#include "kernels/hwnas_kernels.h"

#include "constants.h"

static int8_t arena[MODEL_ARENA_BYTES] __attribute__((aligned(16)));

int8_t *model_input(void) { return arena + $input_offset; }

const int8_t *model_output(void) { return arena + $output_offset; }

void model_run(void)
{
$calls
}
