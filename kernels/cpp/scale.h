// Maps whose channels are multiplied by factors of their image.

#ifndef HWNAS_CPP_SCALE_H_
#define HWNAS_CPP_SCALE_H_

#include "cpp/vectors.h"

namespace {

// Factors (image, channel) for the rows of a map, `pixels` of which make an image.
struct Scale {
  const float* factors;
  Index row, pixels, channels;  // channels that live
  const float* of(Index r) const { return factors + r / pixels * row; }
  // The last row of the image that row r belongs to, or `last` if that comes before.
  Index end(Index r, Index last) const { return std::min(last, (r / pixels + 1) * pixels); }
};

// to[r - first] = x[r] * factors of its image, for rows [first, last); `to` may be x + first rows.
inline void ScaleRows(const Scale& s, const float* x, Index x_row, Index first, Index last, float* to,
                      Index to_row) {
  for (Index r = first; r < last; ++r) {
    const float *factor = s.of(r), *from = x + r * x_row;
    float* out = to + (r - first) * to_row;
    for (Index c = 0; c < s.channels; c += kLanes) {
      const int lanes = int(std::min<Index>(kLanes, s.channels - c));
      Store(out + c, Load(from + c, lanes) * Load(factor + c, lanes), lanes);
    }
  }
}

// The way back, for rows [first, last) that hold the gradient of the product: sums (image, channel)
// grow by it times x, then it is multiplied by the factors.
inline void PullScale(const Scale& s, const float* x, float* gradient, Index map_row, float* sums,
                      Index first, Index last) {
  for (Index r = first, end; r < last; r = end) {
    end = s.end(r, last);
    for (Index c = 0; c < s.channels; c += kLanes) {
      const int lanes = int(std::min<Index>(kLanes, s.channels - c));
      const Vec factor = Load(s.of(r) + c, lanes);
      float* sum = sums + r / s.pixels * s.row + c;
      Vec total = Load(sum, lanes);
      for (Index i = r; i < end; ++i) {
        float* g = gradient + i * map_row + c;
        const Vec v = Load(g, lanes);
        total += v * Load(x + i * map_row + c, lanes);
        Store(g, v * factor, lanes);
      }
      Store(sum, total, lanes);
    }
  }
}

}  // namespace

#endif  // HWNAS_CPP_SCALE_H_
