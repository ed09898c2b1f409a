// What the driver of cross attention hands to the kernels of one instruction set: a block of images against a block of
// captions. Included by files compiled with different flags: declarations alone, and what is always inlined.
#pragma once

#include <stdint.h>

namespace fasthash {

// A direction sees a pair as a tile of cosines whose rows are what attends (the query) and whose columns are what is
// attended to (the context).
struct AttentionSide {
  const float* rows;      // [starts[count], width] unit vectors; columns d .. width-1 are zero
  const int64_t* starts;  // [count + 1] first row of each item
  int64_t first, count;   // items of the block
  const float* grams;     // each item's matrix of cosines [k, k rounded up to whole vectors]
  const int64_t* gram_starts;
  float* grad;        // [starts[count], width], added to; or null
  float* gram_grads;  // as grams, sums of the matrices' gradients and their transposes, added to; or null

  __attribute__((always_inline)) int64_t begin() const { return starts[first]; }
  __attribute__((always_inline)) int64_t end() const { return starts[first + count]; }
};

struct AttentionWay {
  float weight, temperature, pool;
};

struct AttentionBlock {
  AttentionSide regions, words;
  const float* panels;  // the words of the block, packed
  int64_t d, width;
  AttentionWay t2i, i2t;
  float leak;
  int64_t captions;   // row of scores and grad
  float* scores;      // [images, captions] to write, or null
  const float* grad;  // [images, captions], where scores is null
  int64_t stride;     // floats of a row of the next two
  float* cosines;     // scratch [regions of the block, stride]
  float* residual;    // scratch likewise, for gradients
  float* tile;        // scratch, tile_floats
};

struct AttentionKernels {
  int64_t vector;  // floats of a vector
  int64_t panel;   // rows of a panel
  // x [d] to unit length in out [width]; returns 1 / length, 0 for zeros
  float (*unit)(const float* x, int64_t d, int64_t width, float* out);
  // `count` rows to panels of d * panel floats each
  void (*pack)(const float* rows, int64_t count, int64_t d, int64_t width, float* panels);
  // out [count, stride] = cosines of the rows of one item; scratch: panels of the item
  void (*gram)(const float* rows, int64_t count, int64_t d, int64_t width, float* scratch, float* out, int64_t stride);
  // the pairs of a block
  void (*forward)(const AttentionBlock& block);
  void (*backward)(const AttentionBlock& block);
  // gradient of given vectors from the sums for one item's unit vectors: grad [count, width] changes in place
  void (*finish)(const float* rows, const float* inverse, int64_t count, int64_t width, const float* gram_grad,
                 int64_t stride, float* grad);
  // scratch of a pair of an image with up to `regions` and a caption with up to `words`
  int64_t (*tile_floats)(int64_t regions, int64_t words);
};

extern const AttentionKernels kAttentionScalar, kAttentionAvx2, kAttentionAvx512;

}  // namespace fasthash
