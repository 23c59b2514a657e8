// Work shared out over XLA's thread pool.

#ifndef HWNAS_CPP_PARALLEL_H_
#define HWNAS_CPP_PARALLEL_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "cpp/vectors.h"
#include "xla/ffi/api/ffi.h"

namespace {

constexpr int kSpins = 4096;  // about 0.1 ms

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Runs task(0..count-1) on XLA's pool and the calling thread, which never waits for a task that
// has not begun: it does those itself. Tasks are short, so the last ones are waited for awake.
inline void ParallelFor(xla::ffi::ThreadPool pool, Index count,
                        const std::function<void(Index)>& task) {
  struct State {
    std::atomic<Index> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all_done;
  };
  if (count == 1) return task(0);
  auto state = std::make_shared<State>();
  // `task` is read only for an index below `count`, while the caller still waits.
  auto work = [state, count, &task] {
    Index finished = 0;
    for (Index i; (i = state->next.fetch_add(1)) < count; ++finished) task(i);
    if (finished == 0 || state->done.fetch_add(finished) + finished < count) return;
    std::lock_guard<std::mutex> lock(state->mutex);
    state->all_done.notify_all();
  };
  const Index helpers = std::min<Index>(count, pool.num_threads()) - 1;
  for (Index i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(work));
  work();
  for (int i = 0; i < kSpins && state->done < count; ++i) Pause();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done == count; });
}

// Sums over rows are made in this many parts at most, and added in order: results depend on
// shapes, not on the number of threads.
constexpr Index kParts = 16;

}  // namespace

#endif  // HWNAS_CPP_PARALLEL_H_
