// Depthwise convolution on a CPU, NHWC float32: forward, and both gradients in one pass.
//
// A work item is one image, or some of its channels. Rows are cut in tiles of up to 8 output pixels
// whose sums stay in registers, and every input vector that is loaded serves all taps of its row. Borders are clipped, so nothing is padded or
// copied. Kernel size and width are read at run time: dead taps and channels cost nothing, and what
// maps hold in dead channels is left as it is.
//
// Results do not depend on the number of threads: sums over the batch are made in a number of
// parts that depends on shapes only, and added in order.

#include <cstdint>
#include <memory>

#include "cpp/depthwise.h"
#include "cpp/parallel.h"
#include "cpu_products.h"

namespace ffi = xla::ffi;

namespace {

constexpr Index kGroupLanes = 64;  // channels that a task has at least, if there are so many
constexpr int kBandPixels = 32;

// dx[i] = sum of g[o] * w[i + padding - o * stride]: for each residue of i + padding the taps of
// that residue, backwards, correlated with g.
void InputGradientRows(const Shape& s, const Live& live, Lanes lanes, const float* g,
                       const float* weight, float* dx, Index pixel, Rows rows) {
  const int stride = int(s.stride);
  const Pitch taps{s.kernel * pixel, pixel};
  const float* corner = weight + live.offset * (taps.row + taps.pixel);
  for (int y = rows.from; y < rows.to; ++y) {
    // Output rows whose tap y + padding - o * stride is in the kernel.
    const int first_o = std::max(0, CeilDiv(y + live.padding - live.kernel + 1, stride));
    const int last_o = std::min(int(s.out_height) - 1, FloorDiv(y + live.padding, stride));
    const int first_tap = y + live.padding - first_o * stride;
    for (int first = 0; first < std::min(stride, int(s.width)); ++first) {
      const int phase = ((first + live.padding) % stride + stride) % stride;
      const int count = phase < live.kernel ? (live.kernel - phase + stride - 1) / stride : 0;
      const int last_column = FloorDiv(first + live.padding, stride);
      CorrelateRow({lanes, g + first_o * s.out_width * pixel, {s.out_width * pixel, pixel},
                    int(s.out_width),
                    corner + first_tap * taps.row + (phase + (count - 1) * stride) * taps.pixel,
                    {-stride * taps.row, -stride * taps.pixel}, last_o - first_o + 1, count, 1,
                    last_column - count + 1, dx + (y * s.width + first) * pixel, stride * pixel,
                    (int(s.width) - first + stride - 1) / stride, {}});
    }
  }
}

// Adds the part of output rows to `sums`, which holds live.kernel x live.kernel vectors.
void WeightGradientRows(const Shape& s, const Live& live, const float* x, const float* g,
                        float* sums, Index pixel, Rows rows) {
  const Index sums_row = Index(live.kernel) * kLanes;
  for (int tap = 0; tap < live.kernel;) {
    const int taps = TapsAtOnce(live.kernel - tap, 2);
    const int rows_at_once = RowsAtOnce(taps);
    for (int row = 0; row < live.kernel; row += rows_at_once) {
      const Taps2d part{x, g, pixel, sums + row * sums_row + tap * kLanes, sums_row,
                        int(s.height), int(s.width), rows, int(s.out_width), row - live.padding,
                        tap - live.padding, std::min(rows_at_once, live.kernel - row), int(s.stride)};
      if (s.stride == 1) AddTapsOf<1>(taps, part);
      else if (s.stride == 2) AddTapsOf<2>(taps, part);
      else AddTapsOf<0>(taps, part);
    }
    tap += taps;
  }
}

Live LiveOf(const Shape& s, const int32_t* active) {
  const int kernel = std::clamp<int>(active[0], 1, int(s.kernel));
  const int channels = std::clamp<int>(active[1], 0, int(s.channels));
  const int offset = (int(s.kernel) - kernel) / 2;
  return {kernel, channels, offset, int(s.padding) - offset};
}

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
  Index parts, groups, group_lanes;
  // Channels are divided only where the images are too few for all threads: neighbouring channels
  // share pages, and rows are best read whole. Results are the same for any number of groups.
  Problem(const Shape& shape, Index threads) : s(shape) {
    in_size = s.height * s.width * s.channels;
    out_size = s.out_height * s.out_width * s.channels;
    kernel_size = s.kernel * s.kernel * s.channels;
    parts = std::min<Index>(s.n, kParts);
    const Index wanted = CeilDiv(2 * threads, std::max<Index>(1, s.batches * parts));
    group_lanes = std::max(kGroupLanes, s.channels / wanted / kLanes * kLanes);
    groups = std::max<Index>(1, s.channels / group_lanes);
  }
  Index tasks() const { return s.batches * parts * groups; }
};

struct Task {
  Index batch, first, last, group_begin, group_end;
  Lanes lanes;  // from group_begin on
  Live live;
};

Task TaskOf(const Problem& p, Index i, const int32_t* active) {
  const Index group = i % p.groups, part = i / p.groups % p.parts;
  Task t;
  t.batch = i / p.groups / p.parts;
  t.first = p.s.n * part / p.parts;
  t.last = p.s.n * (part + 1) / p.parts;
  t.live = LiveOf(p.s, active + 2 * t.batch);
  t.group_begin = group * p.group_lanes;
  // The last group takes the rest, so that vectors overlap inside a task only.
  t.group_end = group + 1 == p.groups ? p.s.channels : t.group_begin + p.group_lanes;
  const Index live_end = std::min<Index>(t.group_end, t.live.channels);
  const Index vectors = CeilDiv(std::max<Index>(0, live_end - t.group_begin), Index(kLanes));
  t.lanes = {vectors, std::max<Index>(p.s.channels, kLanes) - kLanes - t.group_begin, false};
  return t;
}

void ForwardTask(const Problem& p, const Task& t, const float* x, const float* weight,
                 Finish finish, float* out) {
  const Shape& s = p.s;
  const Index in_pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const bool narrow = s.channels < kLanes;
  const Zeros wide(narrow ? (in_pixels + out_pixels + s.kernel * s.kernel + 1) * kLanes : 0);
  float* wide_out = wide.data() + in_pixels * kLanes;
  float* wide_weight = wide_out + out_pixels * kLanes;
  const float* w = weight + t.batch * p.kernel_size + t.group_begin;
  if (narrow) Widen(w, s.kernel * s.kernel, s.channels, wide_weight);
  Lanes lanes = t.lanes;
  lanes.streams = Streams(out, s.batches * s.n * p.out_size, s.channels);
  if (finish.bias) finish.bias += t.batch * s.channels + t.group_begin;
  if (narrow && finish.bias) {
    float* wide_bias = wide_weight + s.kernel * s.kernel * kLanes;
    Widen(finish.bias, 1, s.channels, wide_bias);
    finish.bias = wide_bias;
  }
  for (Index n = t.first; n < t.last && t.lanes.vectors > 0; ++n) {
    const float* image = x + (t.batch * s.n + n) * p.in_size + t.group_begin;
    float* result = out + (t.batch * s.n + n) * p.out_size + t.group_begin;
    if (narrow) {
      Widen(image, in_pixels, s.channels, wide.data());
      ForwardImage(s, t.live, t.lanes, wide.data(), wide_weight, finish, wide_out, kLanes);
      Narrow(wide_out, out_pixels, s.channels, result);
    } else {
      ForwardImage(s, t.live, lanes, image, w, finish, result, s.channels);
    }
  }
}

// Both gradients of one image, in bands of rows that fit the cache. A vector of channels begins
// each band anew, so a band has enough pixels to make that cheap.
void BackwardImage(const Shape& s, const Live& live, Lanes lanes, const float* x,
                   const float* weight, const float* g, float* dx, float* sums, Index pixel) {
  const int rows = CeilDiv(kBandPixels, int(s.out_width)), stride = int(s.stride);
  const int height = int(s.height), out_height = int(s.out_height);
  for (int y = 0; y < out_height; y += rows) {
    const int next = std::min(y + rows, out_height);
    for (Index i = 0; i < lanes.vectors; ++i) {
      const Index c = lanes.start(i);
      WeightGradientRows(s, live, x + c, g + c, sums + i * live.kernel * live.kernel * kLanes,
                         pixel, {y, next});
    }
    const int to = next == out_height ? height : std::min(next * stride, height);
    InputGradientRows(s, live, lanes, g, weight, dx, pixel, {y * stride, to});
  }
}

void BackwardTask(const Problem& p, const Task& t, const float* x, const float* weight,
                  const float* g, float* dx, float* dw) {
  const Shape& s = p.s;
  const Index in_pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const Index taps = s.kernel * s.kernel, live_taps = t.live.kernel * t.live.kernel;
  const bool narrow = s.channels < kLanes;
  Lanes lanes = t.lanes;
  lanes.streams = Streams(dx, s.batches * s.n * p.in_size, s.channels);
  const Zeros sums(t.lanes.vectors * live_taps * kLanes);
  const Zeros wide(narrow ? (2 * in_pixels + out_pixels + taps) * kLanes : 0);
  float* wide_dx = wide.data() + in_pixels * kLanes;
  float* wide_g = wide_dx + in_pixels * kLanes;
  float* wide_weight = wide_g + out_pixels * kLanes;
  const float* w = weight + t.batch * p.kernel_size + t.group_begin;
  if (narrow) Widen(w, taps, s.channels, wide_weight);
  for (Index n = t.first; n < t.last && t.lanes.vectors > 0; ++n) {
    const float* image = x + (t.batch * s.n + n) * p.in_size + t.group_begin;
    const float* gradient = g + (t.batch * s.n + n) * p.out_size + t.group_begin;
    float* result = dx + (t.batch * s.n + n) * p.in_size + t.group_begin;
    if (narrow) {
      Widen(image, in_pixels, s.channels, wide.data());
      Widen(gradient, out_pixels, s.channels, wide_g);
      BackwardImage(s, t.live, t.lanes, wide.data(), wide_weight, wide_g, wide_dx, sums.data(),
                    kLanes);
      Narrow(wide_dx, in_pixels, s.channels, result);
    } else {
      BackwardImage(s, t.live, lanes, image, w, gradient, result, sums.data(), s.channels);
    }
  }
  for (Index i = 0; i < taps; ++i) {
    std::fill(dw + i * s.channels + t.group_begin, dw + i * s.channels + t.group_end, 0.0f);
  }
  for (Index b = 0; b < t.lanes.vectors; ++b) {
    const Index c = t.group_begin + t.lanes.start(b);
    const Index width = std::min<Index>(kLanes, t.live.channels - c);
    for (Index i = 0; i < live_taps; ++i) {
      const Index row = t.live.offset + i / t.live.kernel;
      const Index column = t.live.offset + i % t.live.kernel;
      std::memcpy(dw + (row * s.kernel + column) * s.channels + c,
                  sums.data() + (b * live_taps + i) * kLanes, sizeof(float) * width);
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

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 bias, int64_t stride,
                   int64_t padding, int64_t activation, ffi::Result<F32> out) {
  const Problem p(ShapeOf(x.dimensions(), weight.dimensions(), out->dimensions(), stride, padding),
                  pool.num_threads());
  const int32_t* live = active.typed_data();
  const Finish finish{bias.element_count() ? bias.typed_data() : nullptr, activation};
  ParallelFor(pool, p.tasks(), [&](Index i) {
    ForwardTask(p, TaskOf(p, i, live), x.typed_data(), weight.typed_data(), finish,
                out->typed_data());
  });
  return ffi::Error::Success();
}

ffi::Error Backward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 g, int64_t stride,
                    int64_t padding, ffi::Result<F32> dx, ffi::Result<F32> dw) {
  const Problem p(ShapeOf(x.dimensions(), weight.dimensions(), g.dimensions(), stride, padding),
                  pool.num_threads());
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
                                  .Arg<F32>()
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Attr<int64_t>("activation")
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
