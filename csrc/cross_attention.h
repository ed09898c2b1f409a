// Scores of all pairs of an image and a caption by stacked cross attention, and their gradients.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// Words that attend to regions, or regions that attend to words.
struct AttentionDirection {
  float weight;       // of its score; 0: left out
  float temperature;  // of the softmax over what is attended to
  float pool;         // temperature of the log-sum-exp over what attends; 0: mean
};

// All arrays are contiguous.
struct CrossAttention {
  const float* regions;        // [images, regions_each, d]
  const float* words;          // [captions, words_each, d]
  const uint8_t* region_mask;  // [images, regions_each], not 0 where there is a region; null: everywhere
  const uint8_t* word_mask;    // [captions, words_each] likewise
  int64_t images, regions_each, captions, words_each, d;  // all >= 1
  AttentionDirection t2i, i2t;
  float leak;
};

// scores [images, captions]. Extra memory: unit vectors of the inputs' size, Gram matrices, and O(threads) tiles.
void cross_attention_score_cpu(const CrossAttention& problem, float* scores, Isa isa, int threads);

// The inputs' gradients from that of the scores [images, captions]; null where they are not wanted. A pair whose
// gradient is 0 costs next to nothing. Bitwise the same for any number of threads. Extra memory: as much again.
void cross_attention_score_backward_cpu(const CrossAttention& problem, const float* grad, float* grad_regions,
                                        float* grad_words, Isa isa, int threads);

}  // namespace fasthash
