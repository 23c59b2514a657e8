// Counts basic blocks that unicorn runs, and what the timing models ask of each.
// Host code: built and loaded by hw_profiles/mcu/counting.py.
#include <cstdint>

namespace {

// Of block i, which starts at base + 2 * i. Mirrored by `_Native` of counting.py.
struct Counter {
    uint64_t base, entries;
    uint32_t *count;    // times run
    uint32_t *again;    // of these, right after itself
    uint32_t *taken;    // of these, followed by another block than the next in memory
    uint32_t *missed;   // of these, where a two-bit predictor was wrong about that
    uint32_t *size;     // bytes
    uint8_t *state;     // of the predictor: 2 and 3 mean taken
    uint64_t last, next;
};

}  // namespace

extern "C" void hwnas_block(void *, uint64_t address, uint32_t size, void *user)
{
    Counter *counter = static_cast<Counter *>(user);
    uint64_t entry = (address - counter->base) >> 1;
    if (entry >= counter->entries)
        return;
    uint64_t last = counter->last;
    if (last < counter->entries) {
        uint32_t taken = address != counter->next;
        uint8_t state = counter->state[last];
        counter->taken[last] += taken;
        counter->missed[last] += taken != (state >> 1);
        counter->state[last] = taken ? state + (state < 3) : state - (state > 0);
        counter->again[entry] += last == entry;
    }
    counter->count[entry]++;
    counter->size[entry] = size;
    counter->last = entry;
    counter->next = address + size;
}
