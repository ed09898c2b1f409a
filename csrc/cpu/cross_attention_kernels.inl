// The cross-attention kernels of one instruction set. The including file defines FASTHASH_VECTOR (floats of a vector)
// and FASTHASH_ATTENTION_TABLE (the AttentionKernels to define). No standard C++ header may be included here: an inline
// function of one would be compiled with this file's flags and could be chosen by the linker for every other file.
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/cross_attention_block.h"

namespace fasthash {
namespace {

// clang-format off: in this order
#include "cpu/float_simd.inl"
#include "cpu/gemm_tiles.inl"
#include "cpu/cross_attention_products.inl"
#include "cpu/cross_attention_pair.inl"
// clang-format on

static float unit(const float* x, int64_t d, int64_t width, float* out) {
  Floats sums{};
  int64_t k = 0;
  for (; k + kVector <= d; k += kVector) sums += load(x + k) * load(x + k);
  float square = sum_of(sums);
  for (; k < d; ++k) square += x[k] * x[k];
  const float length = sqrtf(square);
  const float inverse = length <= 1e-12f ? 0.0f : 1 / length;
  for (k = 0; k < d; ++k) out[k] = inverse * x[k];
  for (; k < width; ++k) out[k] = 0;
  return inverse;
}

static void pack(const float* rows, int64_t count, int64_t d, int64_t width, float* panels) {
  for (int64_t j = 0; j < count; j += kPanel) {
    pack_panel(rows + j * width, width, count - j, d, 1.0f, panels + j * d);
  }
}

static void gram(const float* rows, int64_t count, int64_t d, int64_t width, float* scratch, float* out,
                 int64_t stride) {
  pack(rows, count, d, width, scratch);
  for (int64_t j = 0; j < count; j += kPanel) {
    const int64_t columns = stride - j < kPanel ? stride - j : kPanel;
    inner_rows<kTileRows>(rows, width, count, scratch + j * d, d, out + j, stride, columns);
  }
}

// The cosines of rows [begin, end) of the block's regions with all columns of panels [first, last).
static void cosines(const AttentionBlock& block, int64_t begin, int64_t end, int64_t first, int64_t last) {
  const float* rows = block.regions.rows + begin * block.width;
  float* out = block.cosines + (begin - block.regions.begin()) * block.stride;
  for (int64_t i = 0; i < end - begin; i += kTileRows) {  // a strip of rows stays in the cache for all panels
    const int64_t count = end - begin - i < kTileRows ? end - begin - i : kTileRows;
    for (int64_t p = first; p < last; ++p) {
      inner_rows<kTileRows>(rows + i * block.width, block.width, count, block.panels + p * kPanel * block.d, block.d,
                            out + i * block.stride + p * kPanel, block.stride, kPanel);
    }
  }
}

static int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

static void forward(const AttentionBlock& block) {
  const AttentionSide &regions = block.regions, &words = block.words;
  cosines(block, regions.begin(), regions.end(), 0, panels_of(words.end() - words.begin()));
  for (int64_t i = regions.first; i < regions.first + regions.count; ++i) {
    for (int64_t t = words.first; t < words.first + words.count; ++t) {
      float score = 0;
      if (block.t2i.weight != 0) score += block.t2i.weight * Pair(block, i, t, false).score();
      if (block.i2t.weight != 0) score += block.i2t.weight * Pair(block, i, t, true).score();
      block.scores[i * block.captions + t] = score;
    }
  }
}

// gradients of the vectors of items from the residual of images [image, image + images) and of captions likewise
static void add_sums(const AttentionBlock& block, int64_t image, int64_t images, int64_t caption, int64_t captions) {
  const AttentionSide &regions = block.regions, &words = block.words;
  const int64_t row = regions.starts[image], rows = regions.starts[image + images] - row;
  const int64_t column = words.starts[caption], columns = words.starts[caption + captions] - column;
  const float* residual = block.residual + (row - regions.begin()) * block.stride + (column - words.begin());
  const Operand x{words.rows + column * block.width, block.width, columns};
  const Operand y{regions.rows + row * block.width, block.width, rows};
  if (regions.grad != nullptr) {
    add_products({residual, block.stride, 1}, x, regions.grad + row * block.width, block.width, rows);
  }
  if (words.grad != nullptr) {
    add_products({residual, 1, block.stride}, y, words.grad + column * block.width, block.width, columns);
  }
}

static void pair_gradient(const AttentionBlock& block, int64_t i, int64_t t) {
  const float grad = block.grad[i * block.captions + t];
  const bool both = block.t2i.weight != 0 && block.i2t.weight != 0;
  if (block.t2i.weight != 0) Pair(block, i, t, false).gradient(block.t2i.weight * grad, false);
  if (block.i2t.weight != 0) Pair(block, i, t, true).gradient(block.i2t.weight * grad, both);
}

// Few pairs have a gradient under a loss of hardest negatives: only their columns are made.
static void few_gradients(const AttentionBlock& block) {
  const AttentionSide &regions = block.regions, &words = block.words;
  for (int64_t i = regions.first; i < regions.first + regions.count; ++i) {
    int64_t made = 0;  // panels before it are there
    for (int64_t t = words.first; t < words.first + words.count; ++t) {
      if (block.grad[i * block.captions + t] == 0) continue;
      const int64_t first = (words.starts[t] - words.begin()) / kPanel;
      const int64_t last = panels_of(words.starts[t + 1] - words.begin());
      cosines(block, regions.starts[i], regions.starts[i + 1], first > made ? first : made, last);
      made = last;
      pair_gradient(block, i, t);
      add_sums(block, i, 1, t, 1);
    }
  }
}

static void backward(const AttentionBlock& block) {
  const AttentionSide &regions = block.regions, &words = block.words;
  for (int64_t i = regions.first; i < regions.first + regions.count; ++i) {
    for (int64_t t = words.first; t < words.first + words.count; ++t) {
      if (block.grad[i * block.captions + t] == 0) return few_gradients(block);
    }
  }
  cosines(block, regions.begin(), regions.end(), 0, panels_of(words.end() - words.begin()));
  for (int64_t i = regions.first; i < regions.first + regions.count; ++i) {
    for (int64_t t = words.first; t < words.first + words.count; ++t) pair_gradient(block, i, t);
  }
  add_sums(block, regions.first, regions.count, words.first, words.count);
}

static void finish(const float* rows, const float* inverse, int64_t count, int64_t width, const float* gram_grad,
                   int64_t stride, float* grad) {
  if (gram_grad != nullptr) add_products({gram_grad, stride, 1}, {rows, width, count}, grad, width, count);
  for (int64_t i = 0; i < count; ++i) {
    Floats sum{};
    for (int64_t k = 0; k < width; k += kVector) sum += load(grad + i * width + k) * load(rows + i * width + k);
    const Floats along = all(sum_of(sum)), factor = all(inverse[i]);
    for (int64_t k = 0; k < width; k += kVector) {
      float* p = grad + i * width + k;
      store(p, factor * (load(p) - along * load(rows + i * width + k)));
    }
  }
}

}  // namespace

extern const AttentionKernels FASTHASH_ATTENTION_TABLE = {kVector, kPanel,   unit,   pack,       gram,
                                                          forward, backward, finish, tile_floats};

}  // namespace fasthash
