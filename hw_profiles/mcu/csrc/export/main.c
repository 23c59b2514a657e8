/* Runs one input and compares the output with the expected one. */
#include "model.h"
#include "test_data.h"

/* How many bytes of the output are wrong, for a debugger or a test to look at: 0 is good. */
volatile int32_t wrong_bytes = -1;
int8_t made[MODEL_OUTPUT_BYTES];

int main(void)
{
    int8_t *in = model_input();
    for (int32_t i = 0; i < MODEL_INPUT_BYTES; i++)
        in[i] = test_input[i];
    model_run();
    int32_t wrong = 0;
    for (int32_t i = 0; i < MODEL_OUTPUT_BYTES; i++) {
        made[i] = model_output()[i];
        wrong += made[i] != test_output[i];
    }
    wrong_bytes = wrong;
    return wrong;
}
