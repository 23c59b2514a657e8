// Depthwise convolution on a CPU, NHWC float32: forward, and both gradients in one pass.
//
// A work item is one image and one vector of channels: its rows stay in the first-level cache.
// Rows are cut in tiles of up to 8 output pixels whose sums stay in registers, and every input
// vector that is loaded serves all taps of its row. Borders are clipped, so nothing is padded or
// copied. Kernel size and width are read at run time: dead taps and channels cost nothing.
//
// Results do not depend on the number of threads: sums over the batch are made in a number of
// parts that depends on shapes only, and added in order.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif
constexpr int kMaxTaps = 7;         // of a row in one tile; longer rows take several passes
constexpr int kGroupLanes = 64;     // channels of a task
constexpr int kBatchParts = 16;     // parts of the batch that are summed apart

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float LooseVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
using Index = std::ptrdiff_t;

inline Vec Load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline void Store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

// Distances in floats between neighbours of a map or a kernel.
struct Pitch {
  Index row, pixel;
};

// `rows` rows of taps over T output pixels that lie `Step` input pixels apart. `in` is the pixel
// that the first tap of the first output meets; columns outside [low, high) do not exist.
struct Tile {
  const float* in;
  Pitch in_pitch;
  const float* weight;
  Pitch weight_pitch;
  float* out;
  Index out_pixel;
  int rows, low, high;
  bool add;
};

template <int Taps, int T, int Step, bool Edge>
void Correlate(const Tile& a) {
  Vec sum[T];
  UNROLL for (int t = 0; t < T; ++t) sum[t] = a.add ? Load(a.out + t * a.out_pixel) : Vec{};
  const float* in = a.in;
  const float* weight = a.weight;
  for (int y = 0; y < a.rows; ++y, in += a.in_pitch.row, weight += a.weight_pitch.row) {
    Vec w[Taps];
    UNROLL for (int k = 0; k < Taps; ++k) w[k] = Load(weight + k * a.weight_pitch.pixel);
    UNROLL for (int m = 0; m < (T - 1) * Step + Taps; ++m) {
      if (Edge && (m < a.low || m >= a.high)) continue;
      const Vec v = Load(in + m * a.in_pitch.pixel);
      UNROLL for (int k = 0; k < Taps; ++k) {
        if (m >= k && (m - k) % Step == 0 && (m - k) / Step < T) sum[(m - k) / Step] += v * w[k];
      }
    }
  }
  UNROLL for (int t = 0; t < T; ++t) Store(a.out + t * a.out_pixel, sum[t]);
}

using CorrelateFn = void (*)(const Tile&);

template <int Taps, int Step, bool Edge>
CorrelateFn CorrelateOfWidth(int width) {
  switch (width) {
    case 8: return Correlate<Taps, 8, Step, Edge>;
    case 7: return Correlate<Taps, 7, Step, Edge>;
    case 4: return Correlate<Taps, 4, Step, Edge>;
    case 2: return Correlate<Taps, 2, Step, Edge>;
    default: return Correlate<Taps, 1, Step, Edge>;
  }
}

template <int Step, bool Edge>
CorrelateFn CorrelateOf(int taps, int width) {
  switch (taps) {
    case 1: return CorrelateOfWidth<1, Step, Edge>(width);
    case 2: return CorrelateOfWidth<2, Step, Edge>(width);
    case 3: return CorrelateOfWidth<3, Step, Edge>(width);
    case 4: return CorrelateOfWidth<4, Step, Edge>(width);
    case 5: return CorrelateOfWidth<5, Step, Edge>(width);
    case 6: return CorrelateOfWidth<6, Step, Edge>(width);
    default: return CorrelateOfWidth<7, Step, Edge>(width);
  }
}

int TileWidth(int width, int left) {
  if (width % 7 == 0) return 7;
  return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// One row of a correlation: out[x] = sum over taps of in[x * step + first + tap].
struct Row {
  const float* in;  // its column 0
  Pitch in_pitch;
  int in_width;
  const float* weight;
  Pitch weight_pitch;
  int rows, taps, step, first;
  float* out;
  Index out_pixel;
  int out_width;
};

void ZeroRow(float* out, Index pixel, int width) {
  for (int x = 0; x < width; ++x) Store(out + x * pixel, Vec{});
}

void CorrelateRow(const Row& a) {
  if (a.rows <= 0 || a.taps <= 0) return ZeroRow(a.out, a.out_pixel, a.out_width);
  // Steps over 2 are rare: a tap at a time, over every step-th pixel.
  const int max_taps = a.step > 2 ? 1 : kMaxTaps;
  for (int x = 0; x < a.out_width;) {
    const int width = TileWidth(a.out_width, a.out_width - x);
    for (int tap = 0; tap < a.taps; tap += max_taps) {
      const int taps = std::min(max_taps, a.taps - tap);
      const int column = x * a.step + a.first + tap;
      Tile tile{a.in + column * a.in_pitch.pixel, a.in_pitch,
                a.weight + tap * a.weight_pitch.pixel, a.weight_pitch,
                a.out + x * a.out_pixel, a.out_pixel,
                a.rows, -column, a.in_width - column, tap > 0};
      int step = a.step;
      if (step > 2) {
        tile.in_pitch.pixel *= step;
        tile.low = column >= 0 ? 0 : (-column + step - 1) / step;
        tile.high = tile.high <= 0 ? 0 : (tile.high + step - 1) / step;
        step = 1;
      }
      const bool edge = tile.low > 0 || tile.high < (width - 1) * step + taps;
      (step == 1 ? edge ? CorrelateOf<1, true>(taps, width) : CorrelateOf<1, false>(taps, width)
                 : edge ? CorrelateOf<2, true>(taps, width) : CorrelateOf<2, false>(taps, width))(
          tile);
    }
    x += width;
  }
}

struct Shape {
  Index batches, n, height, width, out_height, out_width, channels, kernel, stride, padding;
};

// The part of a kernel that lives.
struct Live {
  int kernel, channels, offset, padding;
};

int FloorDiv(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int CeilDiv(int a, int b) { return -FloorDiv(-a, b); }

// Pointers are at the item's first channel; `pixel` is the distance between pixels.
void ForwardItem(const Shape& s, const Live& live, const float* x, const float* weight, float* out,
                 Index pixel) {
  const Pitch taps{s.kernel * pixel, pixel};
  const float* corner = weight + live.offset * (taps.row + taps.pixel);
  for (int y = 0; y < s.out_height; ++y) {
    const int top = y * int(s.stride) - live.padding;
    const int from = std::max(0, -top), to = std::min(live.kernel, int(s.height) - top);
    CorrelateRow({x + (top + from) * s.width * pixel, {s.width * pixel, pixel}, int(s.width),
                  corner + from * taps.row, taps, to - from, live.kernel, int(s.stride),
                  -live.padding, out + y * s.out_width * pixel, pixel, int(s.out_width)});
  }
}

// dx[i] = sum of g[o] * w[i + padding - o * stride]: for each residue of i + padding the taps of
// that residue, backwards, correlated with g.
void InputGradientItem(const Shape& s, const Live& live, const float* g, const float* weight,
                       float* dx, Index pixel) {
  const int stride = int(s.stride);
  const Pitch taps{s.kernel * pixel, pixel};
  const float* corner = weight + live.offset * (taps.row + taps.pixel);
  for (int y = 0; y < s.height; ++y) {
    // Output rows whose tap y + padding - o * stride is in the kernel.
    const int first_o = std::max(0, CeilDiv(y + live.padding - live.kernel + 1, stride));
    const int last_o = std::min(int(s.out_height) - 1, FloorDiv(y + live.padding, stride));
    const int first_tap = y + live.padding - first_o * stride;
    for (int x = 0; x < std::min(stride, int(s.width)); ++x) {
      const int phase = ((x + live.padding) % stride + stride) % stride;
      const int count = phase < live.kernel ? (live.kernel - phase + stride - 1) / stride : 0;
      const int last_column = FloorDiv(x + live.padding, stride);
      CorrelateRow({g + first_o * s.out_width * pixel, {s.out_width * pixel, pixel},
                    int(s.out_width),
                    corner + first_tap * taps.row + (phase + (count - 1) * stride) * taps.pixel,
                    {-stride * taps.row, -stride * taps.pixel}, last_o - first_o + 1, count, 1,
                    last_column - count + 1, dx + (y * s.width + x) * pixel, stride * pixel,
                    (int(s.width) - x + stride - 1) / stride});
    }
  }
}

// Sums over a map of g[o] * x[o * stride + tap] for `rows` x Taps taps, added to `sums`.
struct Taps2d {
  const float* x;
  const float* g;
  Index pixel;
  float* sums;
  Index sums_row;
  int height, width, out_height, out_width;
  int top, left;  // input pixel that the first tap meets at output (0, 0)
  int rows, stride;
};

constexpr int RowsAtOnce(int taps) {
  const int rows = (kRegisters - 9) / taps;
  return rows < 1 ? 1 : rows > 4 ? 4 : rows;
}

template <int Taps, int T, int Step, int Rows>
inline void AddProducts(const Taps2d& a, Vec (&sum)[Rows][Taps], int y, int x) {
  const float* g = a.g + (Index(y) * a.out_width + x) * a.pixel;
  Vec gradient[T];
  UNROLL for (int t = 0; t < T; ++t) gradient[t] = Load(g + t * a.pixel);
  const int stride = Step == 0 ? a.stride : Step;
  const int column = x * stride + a.left;
  UNROLL for (int r = 0; r < Rows; ++r) {
    const int row = y * stride + a.top + r;
    if (r >= a.rows || row < 0 || row >= a.height) continue;
    const float* in = a.x + (Index(row) * a.width + column) * a.pixel;
    if (Step == 0) {
      for (int t = 0; t < T; ++t) {
        UNROLL for (int k = 0; k < Taps; ++k) {
          const int at = t * stride + k;
          if (at + column >= 0 && at + column < a.width) sum[r][k] += Load(in + at * a.pixel) * gradient[t];
        }
      }
      continue;
    }
    constexpr int kStep = Step == 0 ? 1 : Step;
    UNROLL for (int m = 0; m < (T - 1) * kStep + Taps; ++m) {
      if (column + m < 0 || column + m >= a.width) continue;
      const Vec v = Load(in + m * a.pixel);
      UNROLL for (int k = 0; k < Taps; ++k) {
        if (m >= k && (m - k) % kStep == 0 && (m - k) / kStep < T) {
          sum[r][k] += v * gradient[(m - k) / kStep];
        }
      }
    }
  }
}

template <int Taps, int Step>
void AddTaps(const Taps2d& a) {
  constexpr int Rows = RowsAtOnce(Taps);
  Vec sum[Rows][Taps];
  UNROLL for (int r = 0; r < Rows; ++r) {
    UNROLL for (int k = 0; k < Taps; ++k) {
      sum[r][k] = r < a.rows ? Load(a.sums + r * a.sums_row + k * kLanes) : Vec{};
    }
  }
  const int stride = Step == 0 ? a.stride : Step;
  // Output rows that meet a real input row at some tap.
  const int from = std::max(0, CeilDiv(1 - a.top - a.rows, stride));
  const int to = std::min(a.out_height - 1, FloorDiv(a.height - 1 - a.top, stride));
  for (int y = from; y <= to; ++y) {
    for (int x = 0; x < a.out_width;) {
      const int width = Step == 0 ? 1 : TileWidth(a.out_width, a.out_width - x);
      switch (width) {
        case 8: AddProducts<Taps, 8, Step, Rows>(a, sum, y, x); break;
        case 7: AddProducts<Taps, 7, Step, Rows>(a, sum, y, x); break;
        case 4: AddProducts<Taps, 4, Step, Rows>(a, sum, y, x); break;
        case 2: AddProducts<Taps, 2, Step, Rows>(a, sum, y, x); break;
        default: AddProducts<Taps, 1, Step, Rows>(a, sum, y, x); break;
      }
      x += width;
    }
  }
  UNROLL for (int r = 0; r < Rows; ++r) {
    UNROLL for (int k = 0; k < Taps; ++k) {
      if (r < a.rows) Store(a.sums + r * a.sums_row + k * kLanes, sum[r][k]);
    }
  }
}

template <int Step>
void AddTapsOf(int taps, const Taps2d& a) {
  switch (taps) {
    case 1: return AddTaps<1, Step>(a);
    case 2: return AddTaps<2, Step>(a);
    case 3: return AddTaps<3, Step>(a);
    case 4: return AddTaps<4, Step>(a);
    case 5: return AddTaps<5, Step>(a);
    default: return AddTaps<7, Step>(a);
  }
}

// Adds one image's part to `sums`, which holds live.kernel x live.kernel vectors.
void WeightGradientItem(const Shape& s, const Live& live, const float* x, const float* g,
                        float* sums, Index pixel) {
  const Index sums_row = Index(live.kernel) * kLanes;
  for (int tap = 0; tap < live.kernel;) {
    const int taps = live.kernel - tap == 6 ? 5 : std::min(kMaxTaps, live.kernel - tap);
    const int rows_at_once = RowsAtOnce(taps);
    for (int row = 0; row < live.kernel; row += rows_at_once) {
      const Taps2d part{x, g, pixel, sums + row * sums_row + tap * kLanes, sums_row,
                        int(s.height), int(s.width), int(s.out_height), int(s.out_width),
                        row - live.padding, tap - live.padding,
                        std::min(rows_at_once, live.kernel - row), int(s.stride)};
      if (s.stride == 1) AddTapsOf<1>(taps, part);
      else if (s.stride == 2) AddTapsOf<2>(taps, part);
      else AddTapsOf<0>(taps, part);
    }
    tap += taps;
  }
}

// Runs task(0..count-1) on XLA's pool and the calling thread, which never waits for a task that
// has not begun: it does those itself.
void ParallelFor(ffi::ThreadPool pool, Index count, const std::function<void(Index)>& task) {
  struct State {
    std::atomic<Index> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    Index done = 0;
  };
  auto state = std::make_shared<State>();
  // `task` is read only for an index below `count`, while the caller still waits.
  auto work = [state, count, &task] {
    Index finished = 0;
    for (Index i; (i = state->next.fetch_add(1)) < count; ++finished) task(i);
    if (finished == 0) return;
    std::lock_guard<std::mutex> lock(state->mutex);
    state->done += finished;
    if (state->done == count) state->all_done.notify_all();
  };
  const Index helpers = std::min<Index>(count, pool.num_threads()) - 1;
  for (Index i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done == count; });
}

Live LiveOf(const Shape& s, const int32_t* active) {
  const int kernel = std::clamp<int>(active[0], 1, int(s.kernel));
  const int channels = std::clamp<int>(active[1], 0, int(s.channels));
  const int offset = (int(s.kernel) - kernel) / 2;
  return {kernel, channels, offset, int(s.padding) - offset};
}

// Where a task's vectors of channels begin. The last one overlaps its neighbour where the
// channels are no multiple of the lanes: both write the same values.
struct Group {
  Index begin, channels;
  Index start(Index block) const { return std::min((begin + block) * kLanes, channels - kLanes); }
};

// Copies pixels between `lanes` and kLanes channels, for maps narrower than a vector.
void Widen(const float* from, Index pixels, Index lanes, float* to) {
  std::memset(to, 0, sizeof(float) * pixels * kLanes);
  for (Index i = 0; i < pixels; ++i) std::memcpy(to + i * kLanes, from + i * lanes, 4 * lanes);
}
void Narrow(const float* from, Index pixels, Index lanes, float* to) {
  for (Index i = 0; i < pixels; ++i) std::memcpy(to + i * lanes, from + i * kLanes, 4 * lanes);
}

struct Problem {
  Shape s;
  Index in_size, out_size, kernel_size;  // floats of one image and one kernel
  Index parts, groups;
  Problem(const Shape& shape) : s(shape) {
    in_size = s.height * s.width * s.channels;
    out_size = s.out_height * s.out_width * s.channels;
    kernel_size = s.kernel * s.kernel * s.channels;
    parts = std::min<Index>(s.n, kBatchParts);
    groups = std::max<Index>(1, s.channels / kGroupLanes);
  }
  Index tasks() const { return s.batches * parts * groups; }
};

void ZeroChannels(float* map, Index pixels, Index channels, Index from, Index to) {
  if (from >= to) return;
  for (Index i = 0; i < pixels; ++i) {
    std::memset(map + i * channels + from, 0, sizeof(float) * (to - from));
  }
}

struct Task {
  Index batch, first, last, group_begin, group_end, blocks;
  Group group;
  Live live;
};

Task TaskOf(const Problem& p, Index i, const int32_t* active) {
  const Index group = i % p.groups, part = i / p.groups % p.parts;
  Task t;
  t.batch = i / p.groups / p.parts;
  t.first = p.s.n * part / p.parts;
  t.last = p.s.n * (part + 1) / p.parts;
  t.live = LiveOf(p.s, active + 2 * t.batch);
  t.group_begin = group * kGroupLanes;
  // The last group takes the rest, so that vectors overlap inside a task only.
  t.group_end = group + 1 == p.groups ? p.s.channels : t.group_begin + kGroupLanes;
  const Index live_end = std::min<Index>(t.group_end, t.live.channels);
  t.blocks = std::max<Index>(0, (live_end - t.group_begin + kLanes - 1) / kLanes);
  t.group = {t.group_begin / kLanes, std::max<Index>(p.s.channels, kLanes)};
  return t;
}

// First dead channel that no live vector has covered.
Index Covered(const Task& t) {
  return std::min(t.group_end, t.group_begin + t.blocks * kLanes);
}

void ForwardTask(const Problem& p, const Task& t, const float* x, const float* weight,
                 float* out) {
  const Shape& s = p.s;
  const Index in_pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const bool narrow = s.channels < kLanes;
  std::vector<float> wide;
  if (narrow) wide.resize((in_pixels + out_pixels + s.kernel * s.kernel) * kLanes);
  float* wide_out = wide.data() + in_pixels * kLanes;
  float* wide_weight = wide_out + out_pixels * kLanes;
  const float* w = weight + t.batch * p.kernel_size;
  if (narrow) Widen(w, s.kernel * s.kernel, s.channels, wide_weight);
  for (Index n = t.first; n < t.last; ++n) {
    const float* image = x + (t.batch * s.n + n) * p.in_size;
    float* result = out + (t.batch * s.n + n) * p.out_size;
    if (narrow && t.blocks > 0) {
      Widen(image, in_pixels, s.channels, wide.data());
      ForwardItem(s, t.live, wide.data(), wide_weight, wide_out, kLanes);
      Narrow(wide_out, out_pixels, s.channels, result);
      continue;
    }
    for (Index b = 0; b < t.blocks; ++b) {
      const Index c = t.group.start(b);
      ForwardItem(s, t.live, image + c, w + c, result + c, s.channels);
    }
    ZeroChannels(result, out_pixels, s.channels, Covered(t), t.group_end);
  }
}

void BackwardTask(const Problem& p, const Task& t, const float* x, const float* weight,
                  const float* g, float* dx, float* dw) {
  const Shape& s = p.s;
  const Index in_pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const Index taps = s.kernel * s.kernel, live_taps = t.live.kernel * t.live.kernel;
  const bool narrow = s.channels < kLanes;
  std::vector<float> sums(t.blocks * live_taps * kLanes), wide;
  if (narrow) wide.resize((2 * in_pixels + out_pixels + taps) * kLanes);
  float* wide_dx = wide.data() + in_pixels * kLanes;
  float* wide_g = wide_dx + in_pixels * kLanes;
  float* wide_weight = wide_g + out_pixels * kLanes;
  const float* w = weight + t.batch * p.kernel_size;
  if (narrow) Widen(w, taps, s.channels, wide_weight);
  for (Index n = t.first; n < t.last; ++n) {
    const float* image = x + (t.batch * s.n + n) * p.in_size;
    const float* gradient = g + (t.batch * s.n + n) * p.out_size;
    float* result = dx + (t.batch * s.n + n) * p.in_size;
    if (narrow && t.blocks > 0) {
      Widen(image, in_pixels, s.channels, wide.data());
      Widen(gradient, out_pixels, s.channels, wide_g);
      WeightGradientItem(s, t.live, wide.data(), wide_g, sums.data(), kLanes);
      InputGradientItem(s, t.live, wide_g, wide_weight, wide_dx, kLanes);
      Narrow(wide_dx, in_pixels, s.channels, result);
      continue;
    }
    for (Index b = 0; b < t.blocks; ++b) {
      const Index c = t.group.start(b);
      WeightGradientItem(s, t.live, image + c, gradient + c, sums.data() + b * live_taps * kLanes,
                         s.channels);
      InputGradientItem(s, t.live, gradient + c, w + c, result + c, s.channels);
    }
    ZeroChannels(result, in_pixels, s.channels, Covered(t), t.group_end);
  }
  for (Index i = 0; i < taps; ++i) {
    std::fill(dw + i * s.channels + t.group_begin, dw + i * s.channels + t.group_end, 0.0f);
  }
  for (Index b = 0; b < t.blocks; ++b) {
    const Index c = narrow ? 0 : t.group.start(b);
    const Index lanes = std::min<Index>(kLanes, t.live.channels - c);
    for (Index i = 0; i < live_taps; ++i) {
      const Index row = t.live.offset + i / t.live.kernel, column = t.live.offset + i % t.live.kernel;
      std::memcpy(dw + (row * s.kernel + column) * s.channels + c,
                  sums.data() + (b * live_taps + i) * kLanes, sizeof(float) * lanes);
    }
  }
}

Shape ShapeOf(ffi::Span<const int64_t> x, ffi::Span<const int64_t> weight,
              ffi::Span<const int64_t> out, int64_t stride, int64_t padding) {
  const size_t lead = x.size() - 4;  // axes that jax.vmap put in front
  Index batches = 1;
  for (size_t i = 0; i < lead; ++i) batches *= x[i];
  return {batches, x[lead], x[lead + 1], x[lead + 2], out[lead + 1], out[lead + 2],
          x[lead + 3], weight[lead], stride, padding};
}

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, int64_t stride,
                   int64_t padding, ffi::Result<F32> out) {
  const Problem p(ShapeOf(x.dimensions(), weight.dimensions(), out->dimensions(), stride, padding));
  const int32_t* live = active.typed_data();
  ParallelFor(pool, p.tasks(), [&](Index i) {
    ForwardTask(p, TaskOf(p, i, live), x.typed_data(), weight.typed_data(), out->typed_data());
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 g, int64_t stride,
                    int64_t padding, ffi::Result<F32> dx, ffi::Result<F32> dw) {
  const Problem p(ShapeOf(x.dimensions(), weight.dimensions(), g.dimensions(), stride, padding));
  const int32_t* live = active.typed_data();
  std::unique_ptr<float[]> parts(new float[p.s.batches * p.parts * p.kernel_size]);
  ParallelFor(pool, p.tasks(), [&](Index i) {
    const Task t = TaskOf(p, i, live);
    BackwardTask(p, t, x.typed_data(), weight.typed_data(), g.typed_data(), dx->typed_data(),
                 parts.get() + i / p.groups * p.kernel_size);
  });
  for (Index batch = 0; batch < p.s.batches; ++batch) {
    float* total = dw->typed_data() + batch * p.kernel_size;
    std::fill(total, total + p.kernel_size, 0.0f);
    for (Index part = 0; part < p.parts; ++part) {
      const float* from = parts.get() + (batch * p.parts + part) * p.kernel_size;
      for (Index i = 0; i < p.kernel_size; ++i) total[i] += from[i];
    }
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(DepthwiseForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(DepthwiseBackward, Backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Arg<F32>()
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<F32>()
                                  .Ret<F32>());
