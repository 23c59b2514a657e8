// An inverted residual on a CPU, NHWC float32, forwards: expand, depthwise, squeeze and excite, project
// and add, for a few images at a time, so that the wide maps between them never leave the
// second-level cache.

#include <cstdint>

#include "cpp/depthwise.h"
#include "cpp/panels.h"
#include "cpp/parallel.h"
#include "cpp/scale.h"

namespace ffi = xla::ffi;

namespace {

constexpr Index kScratch = 1 << 18;  // floats of wide maps at a time: half of a common cache
constexpr Index kTasks = 16;         // at least, where there are as many images

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;

struct Block {
  Shape s;  // of the depthwise convolution; its channels are those of the scratch
  Live live;
  Index in, live_in, wide, out, live_out, squeezed;
  bool expands, squeezes, adds;
  int64_t activation;
};

struct Weights {
  Panels expand, project, squeeze, excite;
  Zeros depthwise, depthwise_bias;
  const float *expand_bias, *project_bias, *squeeze_bias, *excite_bias;
};

// The live part of a kernel's weights, whose vectors of channels may end beyond the live ones.
void Pack(const float* from, Index rows, Index row, Index live, float* to, Index pitch) {
  for (Index i = 0; i < rows; ++i) std::memcpy(to + i * pitch, from + i * row, 4 * live);
}

void AddRows(const float* x, Index x_row, float* y, Index y_row, Index rows, Index live) {
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < live; c += kLanes) {
      const int lanes = int(std::min<Index>(kLanes, live - c));
      float* to = y + r * y_row + c;
      Store(to, Load(to, lanes) + Load(x + r * x_row + c, lanes), lanes);
    }
  }
}

// The mean of each channel, of `vectors` vectors, over an image.
void Pool(const float* map, Index pixels, Index vectors, float* mean) {
  const Index pitch = vectors * kLanes;
  for (Index c = 0; c < pitch; c += kLanes) {
    Vec sum = {};
    for (Index i = 0; i < pixels; ++i) sum += Load(map + i * pitch + c);
    Store(mean + c, sum / float(pixels));
  }
}

// Multiplies the filtered maps by what a small network makes of their means.
void SqueezeExcite(const Block& b, const Weights& w, float* filtered, Index images) {
  const Index pixels = b.s.out_height * b.s.out_width, pitch = b.s.channels;
  const Floats means(images * pitch), hidden(images * b.squeezed), gates(images * pitch);
  for (Index n = 0; n < images; ++n) {
    Pool(filtered + n * pixels * pitch, pixels, pitch / kLanes, means.data() + n * pitch);
  }
  w.squeeze.Apply(means.data(), pitch, hidden.data(), b.squeezed, 0, images,
                  {w.squeeze_bias, kRelu});
  w.excite.Apply(hidden.data(), b.squeezed, gates.data(), pitch, 0, images,
                 {w.excite_bias, kNone});
  for (Index i = 0; i < images * pitch; i += kLanes) {
    Store(gates.data() + i, Clip6(Load(gates.data() + i) + 3.0f) * (1.0f / 6.0f));
  }
  ScaleRows({gates.data(), pitch, pixels, b.wide}, filtered, pitch, 0, images * pixels, filtered,
            pitch);
}

// Images [first, last).
void Run(const Block& b, const Weights& w, const float* x, float* out, Index first, Index last) {
  const Shape& s = b.s;
  const Index in_pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const Index pitch = s.channels, images = last - first;
  const Floats expanded(images * in_pixels * pitch), filtered(images * out_pixels * pitch);
  x += first * in_pixels * b.in;
  out += first * out_pixels * b.out;
  if (b.expands) {
    w.expand.Apply(x, b.in, expanded.data(), pitch, 0, images * in_pixels,
                   {w.expand_bias, b.activation});
  } else {
    Pack(x, images * in_pixels, b.in, b.wide, expanded.data(), pitch);
  }
  for (Index n = 0; n < images; ++n) {
    ForwardImage(s, b.live, {pitch / kLanes, pitch - kLanes, false}, expanded.data() + n * in_pixels * pitch,
                 w.depthwise.data(), {w.depthwise_bias.data(), b.activation},
                 filtered.data() + n * out_pixels * pitch, pitch);
  }
  if (b.squeezes) SqueezeExcite(b, w, filtered.data(), images);
  w.project.Apply(filtered.data(), pitch, out, b.out, 0, images * out_pixels,
                  {w.project_bias, kNone});
  if (b.adds) AddRows(x, b.in, out, b.out, images * out_pixels, b.live_out);
}

// `active`: the live input channels, kernel size, expanded channels and output channels, and squeezed
// ones if there are any.
ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 expand, F32 expand_bias, F32 depthwise,
                   F32 depthwise_bias, F32 project, F32 project_bias, F32 squeeze,
                   F32 squeeze_bias, F32 excite, F32 excite_bias, S32 active, int64_t stride,
                   int64_t padding, int64_t activation, bool adds, ffi::Result<F32> y) {
  const auto in = x.dimensions(), out = y->dimensions(), kernel = depthwise.dimensions();
  const int32_t* live = active.typed_data();
  const int size = std::clamp<int>(live[1], 1, int(kernel[0]));
  const int offset = (int(kernel[0]) - size) / 2;
  const Index channels = kernel[2], wide = std::clamp<Index>(live[2], 0, channels);
  const Index live_in = std::clamp<Index>(live[0], 0, in[3]);
  const Index live_out = std::clamp<Index>(live[3], 0, out[3]);
  const bool squeezes = squeeze.element_count() > 0;
  const Index reduced = squeezes ? squeeze.dimensions()[1] : 0;
  const Index squeezed = squeezes ? std::clamp<Index>(live[4], 0, reduced) : 0;
  const Index pitch = CeilDiv<Index>(wide, kLanes) * kLanes;
  const Block b{{1, in[0], in[1], in[2], out[1], out[2], pitch, kernel[0], stride, padding},
                {size, int(wide), offset, int(padding) - offset},
                in[3], live_in, wide, out[3], live_out, squeezed,
                expand.element_count() > 0, squeezes, adds, activation};
  const Index taps = kernel[0] * kernel[0];
  const Weights w{Panels(expand.typed_data(), channels, 1, b.expands ? live_in : 0, wide),
                  Panels(project.typed_data(), out[3], 1, wide, live_out),
                  Panels(squeeze.typed_data(), reduced, 1, squeezes ? wide : 0, squeezed),
                  Panels(excite.typed_data(), channels, 1, squeezed, squeezes ? wide : 0),
                  Zeros(taps * pitch), Zeros(pitch),
                  expand_bias.typed_data(), project_bias.typed_data(),
                  squeeze_bias.typed_data(), excite_bias.typed_data()};
  Pack(depthwise.typed_data(), taps, channels, wide, w.depthwise.data(), pitch);
  Pack(depthwise_bias.typed_data(), 1, channels, wide, w.depthwise_bias.data(), pitch);
  const Index floats = (in[1] * in[2] + out[1] * out[2]) * std::max<Index>(pitch, 1);
  const Index images = std::clamp<Index>(kScratch / floats, 1, CeilDiv<Index>(in[0], kTasks));
  ParallelFor(pool, CeilDiv<Index>(in[0], images), [&](Index task) {
    Run(b, w, x.typed_data(), y->typed_data(), task * images,
        std::min<Index>(in[0], (task + 1) * images));
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(InvertedResidualForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Attr<int64_t>("activation")
                                  .Attr<bool>("adds")
                                  .Ret<F32>());
