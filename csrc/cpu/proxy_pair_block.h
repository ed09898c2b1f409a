// What the driver of the proxy and pair loss hands to the kernels of one instruction set.
// Included by files compiled with different flags: declarations and constants only.
#pragma once

#include <stdint.h>

namespace fasthash {

constexpr int64_t kProxyRows = 24;      // label rows of a block: a multiple of every kernel's tile
constexpr int64_t kProxyColumns = 128;  // columns at a time, of rows or of classes: a multiple of every kernel's panel
constexpr int64_t kProxyStride = 144;   // floats; rows of 128 would put every row into the same few cache sets

// One operand: rows of length 1 and, side by side, the same rows in panels. Both end in zeros up to whole blocks.
struct UnitRows {
  const float* rows;  // [count, d] as given
  int64_t count;
  float* unit;     // [padded, width]
  float* inverse;  // [padded] one over the length, or 0
  float* panels;   // [padded / panel][d, panel]
};

struct ProxyPairInputs {
  UnitRows x, y, proxies;
  int64_t d, width;  // width: d rounded up to whole vectors
  // of the label rows, readable for kProxyColumns entries behind the last
  const int32_t* bits;  // [planes, plane]: bits 32 p .. 32 p + 31 of the labels
  int64_t planes, plane;
  const int32_t* size;        // number of labels
  const int32_t* many;        // not 0: more than one label
  const float* inverse_root;  // one over the root of the size, or 0
  float threshold;
  float variance;  // weight
  bool relevant;
  float near, far;   // derivative of the loss by a cosine that counts: to its own proxy, to another
  float pull, push;  // of a positive pair, of a negative pair
};

// Sums over a block of rows, not yet divided by the counts.
struct ProxyPairSums {
  double near, far, spread, pull, push;
};

struct ProxyPairKernels {
  int64_t vector;  // floats of a vector
  void (*prepare)(const UnitRows& side, int64_t first, int64_t rows, int64_t d, int64_t width);
  // Pairs of the rows with all rows: those that share a label, those of two rows of several labels that share none.
  void (*count)(const ProxyPairInputs& in, int64_t first, int64_t rows, int64_t* shared, int64_t* apart);
  int64_t (*scratch)(const ProxyPairInputs& in);  // floats that `block` needs
  // The block's sums and, unless they are null, its gradients: out [rows, d] of x and y, and its share, added to
  // by_proxies [classes, width], before the proxies' lengths are considered.
  ProxyPairSums (*block)(const ProxyPairInputs& in, int64_t first, int64_t rows, float* scratch, float* out_x,
                         float* out_y, float* by_proxies);
  // out [side.count, d] from gradients [lanes][side.count, width] by rows of length 1, `lane` floats from lane to lane
  void (*finish)(const UnitRows& side, int64_t d, int64_t width, float* grad, int64_t lanes, int64_t lane, float* out);
};

extern const ProxyPairKernels kProxyPairScalar, kProxyPairAvx2, kProxyPairAvx512;

}  // namespace fasthash
