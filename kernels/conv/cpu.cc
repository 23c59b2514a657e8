// Convolution on a CPU, NHWC float32, and both gradients: the pixels under the kernel are laid side by
// side for a few output rows at a time, in the second-level cache, and multiplied by the weights. Only
// live taps and channels are read and written; the gradient of the other weights is zero.

#include <cstdint>

#include "cpp/panels.h"
#include "cpp/parallel.h"

namespace ffi = xla::ffi;

namespace {

constexpr Index kPatchFloats = 1 << 16;  // of patches at a time

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;

// `active`: the live kernel size, input and output channels.
struct Conv {
  Index n, height, width, in, out_height, out_width, out, kernel, stride;
  Index size, live_in, live_out, offset, padding;
  Conv(ffi::Span<const int64_t> x, ffi::Span<const int64_t> weight, ffi::Span<const int64_t> y,
       const S32& active, int64_t stride, int64_t whole_padding)
      : n(x[0]), height(x[1]), width(x[2]), in(x[3]), out_height(y[1]), out_width(y[2]), out(y[3]),
        kernel(weight[0]), stride(stride),
        size(std::clamp<Index>(active.typed_data()[0], 1, kernel)),
        live_in(std::clamp<Index>(active.typed_data()[1], 0, in)),
        live_out(std::clamp<Index>(active.typed_data()[2], 0, out)),
        offset((kernel - size) / 2), padding(whole_padding - offset) {}

  Index depth() const { return size * size * live_in; }
  Index rows_at_once() const {
    return std::clamp<Index>(kPatchFloats / std::max<Index>(1, out_width * depth()), 1, out_height);
  }
  // Place of a live weight among all: patches hold (row, column, input channel).
  Index weight(Index tap) const {
    return ((offset + tap / size) * kernel + offset + tap % size) * in * out;
  }
};

// Calls fn(place in the image or -1 outside, place in a patch, floats) for each run of floats that
// the patches of output rows [first, last) share with the image: all taps of a kernel's row at once
// where all channels live.
template <class Fn>
void ForRuns(const Conv& c, Index first, Index last, const Fn& fn) {
  const Index together = c.live_in == c.in ? c.size : 1;
  Index to = 0;
  for (Index y = first; y < last; ++y) {
    for (Index x = 0; x < c.out_width; ++x) {
      const Index left = x * c.stride - c.padding;
      for (Index i = 0; i < c.size; ++i, to += c.size * c.live_in) {
        const Index row = y * c.stride + i - c.padding;
        const bool outside = row < 0 || row >= c.height;
        const Index begin = outside ? c.size : std::clamp<Index>(-left, 0, c.size);
        const Index end = outside ? c.size : std::clamp<Index>(c.width - left, begin, c.size);
        fn(-1, to, begin * c.live_in);
        for (Index j = begin; j < end; j += together) {
          const Index taps = std::min(together, end - j);
          fn((row * c.width + left + j) * c.in, to + j * c.live_in, taps * c.live_in);
        }
        fn(-1, to + end * c.live_in, (c.size - end) * c.live_in);
      }
    }
  }
}

void Gather(const Conv& c, const float* image, float* patches, Index first, Index last) {
  ForRuns(c, first, last, [&](Index at, Index to, Index count) {
    if (at < 0) for (Index k = 0; k < count; ++k) patches[to + k] = 0.0f;
    else for (Index k = 0; k < count; ++k) patches[to + k] = image[at + k];
  });
}

void Scatter(const Conv& c, const float* patches, float* image, Index first, Index last) {
  ForRuns(c, first, last, [&](Index at, Index from, Index count) {
    if (at >= 0) for (Index k = 0; k < count; ++k) image[at + k] += patches[from + k];
  });
}

// The live weights, as rows of patches.
Zeros Compact(const Conv& c, const float* weight) {
  Zeros rows(c.depth() * c.live_out);
  for (Index tap = 0, to = 0; tap < c.size * c.size; ++tap) {
    for (Index i = 0; i < c.live_in; ++i, to += c.live_out) {
      std::memcpy(rows.data() + to, weight + c.weight(tap) + i * c.out, 4 * c.live_out);
    }
  }
  return rows;
}

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 bias, int64_t stride,
                   int64_t padding, int64_t activation, ffi::Result<F32> y) {
  const Conv c(x.dimensions(), weight.dimensions(), y->dimensions(), active, stride, padding);
  if (c.live_out == 0) return ffi::Error::Success();
  const Zeros rows = Compact(c, weight.typed_data());
  const Panels panels(rows.data(), c.live_out, 1, c.depth(), c.live_out);
  const Finish finish{bias.element_count() ? bias.typed_data() : nullptr, activation};
  ParallelFor(pool, c.n, [&](Index n) {
    const float* image = x.typed_data() + n * c.height * c.width * c.in;
    const Floats patches(c.rows_at_once() * c.out_width * c.depth());
    for (Index first = 0; first < c.out_height; first += c.rows_at_once()) {
      const Index last = std::min(c.out_height, first + c.rows_at_once());
      float* out = y->typed_data() + (n * c.out_height + first) * c.out_width * c.out;
      Gather(c, image, patches.data(), first, last);
      panels.Apply(patches.data(), c.depth(), out, c.out, 0, (last - first) * c.out_width, finish);
    }
  });
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, F32 g, F32 weight, S32 active, int64_t stride,
                         int64_t padding, ffi::Result<F32> dx) {
  const Conv c(dx->dimensions(), weight.dimensions(), g.dimensions(), active, stride, padding);
  const Zeros rows = Compact(c, weight.typed_data());
  const Panels transposed(rows.data(), 1, c.live_out, c.live_out, c.depth());
  ParallelFor(pool, c.n, [&](Index n) {
    float* image = dx->typed_data() + n * c.height * c.width * c.in;
    const Floats patches(c.rows_at_once() * c.out_width * c.depth());
    std::fill(image, image + c.height * c.width * c.in, 0.0f);
    for (Index first = 0; first < c.out_height; first += c.rows_at_once()) {
      const Index last = std::min(c.out_height, first + c.rows_at_once());
      const float* from = g.typed_data() + (n * c.out_height + first) * c.out_width * c.out;
      transposed.Apply(from, c.out, patches.data(), c.depth(), 0, (last - first) * c.out_width, {});
      Scatter(c, patches.data(), image, first, last);
    }
  });
  return ffi::Error::Success();
}

ffi::Error WeightGradient(ffi::ThreadPool pool, F32 x, F32 g, S32 active, int64_t stride,
                          int64_t padding, ffi::Result<F32> dw) {
  const Conv c(x.dimensions(), dw->dimensions(), g.dimensions(), active, stride, padding);
  const Index parts = std::clamp<Index>(c.n, 1, kParts), size = c.depth() * c.live_out;
  const Zeros sums(parts * size);
  ParallelFor(pool, parts, [&](Index part) {
    const Floats patches(c.rows_at_once() * c.out_width * c.depth());
    for (Index n = c.n * part / parts; n < c.n * (part + 1) / parts; ++n) {
      const float* image = x.typed_data() + n * c.height * c.width * c.in;
      for (Index first = 0; first < c.out_height; first += c.rows_at_once()) {
        const Index last = std::min(c.out_height, first + c.rows_at_once());
        const float* from = g.typed_data() + (n * c.out_height + first) * c.out_width * c.out;
        Gather(c, image, patches.data(), first, last);
        AddProducts(patches.data(), c.depth(), c.depth(), from, c.out, c.live_out, 0,
                    (last - first) * c.out_width, sums.data() + part * size, c.live_out);
      }
    }
  });
  std::fill(dw->typed_data(), dw->typed_data() + dw->element_count(), 0.0f);
  for (Index tap = 0, row = 0; tap < c.size * c.size; ++tap) {
    for (Index i = 0; i < c.live_in; ++i, ++row) {
      float* to = dw->typed_data() + c.weight(tap) + i * c.out;
      for (Index part = 0; part < parts; ++part) {
        const float* from = sums.data() + part * size + row * c.live_out;
        for (Index o = 0; o < c.live_out; ++o) to[o] += from[o];
      }
    }
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(ConvForward, Forward,
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

#define HWNAS_GRADIENT(symbol, function)                    \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, function,           \
                                ffi::Ffi::Bind()            \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Arg<F32>()             \
                                    .Arg<F32>()             \
                                    .Arg<S32>()             \
                                    .Attr<int64_t>("stride")  \
                                    .Attr<int64_t>("padding") \
                                    .Ret<F32>())

HWNAS_GRADIENT(ConvInputGradient, InputGradient);
HWNAS_GRADIENT(ConvWeightGradient, WeightGradient);
