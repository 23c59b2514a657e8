/* From reset to main: the least that a Cortex-M or a RISC-V core needs. */
#include <stdint.h>

extern uint8_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
int main(void);
void reset(void);

__attribute__((noreturn, used)) static void start(void)
{
    const uint8_t *from = data_load;
    for (uint8_t *to = data_start; to < data_end;)
        *to++ = *from++;
    for (uint8_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    main();
    for (;;)
        ;
}

#if defined(__arm__)
void reset(void) { start(); }

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[2] = {
    (uintptr_t)stack_top, (uintptr_t)reset};
#else
__attribute__((section(".vectors"), naked, used)) void reset(void)
{
    __asm__ volatile("la sp, stack_top\n tail start\n");
}
#endif
