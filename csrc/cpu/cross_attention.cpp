// Cuts the pairs into blocks of some images and some captions, and gives the blocks to threads.
//
// Gradients are sums over blocks in one place for each item. Block (i, (i + step) mod n) comes in its step: no two of a
// step touch the same item, and each item sees its blocks in the order of the steps, so the sums are bitwise the same
// for any number of threads. A block waits for the block before it of its images and of its captions alone.
#include "cross_attention.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "cpu/cross_attention_side.h"
#include "cpu/run_on_threads.h"

namespace fasthash {
namespace {

constexpr int64_t kGroupRegions = 144, kGroupWords = 160;  // rows that stay in the L2 cache with their gradients
constexpr int64_t kSmallWork = int64_t{1} << 22;           // multiply-adds worth less than starting a thread

AttentionInput regions_of(const CrossAttention& p) { return {p.regions, p.region_mask, p.images, p.regions_each, p.d}; }

AttentionInput words_of(const CrossAttention& p) { return {p.words, p.word_mask, p.captions, p.words_each, p.d}; }

class Run {
 public:
  Run(const CrossAttention& p, const AttentionKernels& kernels, int threads)
      : problem_(p),
        kernels_(kernels),
        regions_(regions_of(p), kernels, kGroupRegions),
        words_(words_of(p), kernels, kGroupWords) {
    const int64_t work = p.images * p.regions_each * p.captions * p.words_each * p.d;
    threads_ = work < kSmallWork ? 1 : std::max(threads, 1);
    if (p.t2i.weight != 0) regions_.want_grams();
    if (p.i2t.weight != 0) words_.want_grams();
    words_.want_panels();
  }

  void forward(float* scores) {
    make_scratch(false);
    prepare();
    const int64_t captions = words_.groups();
    each(regions_.groups() * captions, [&](int64_t index, float* scratch) {
      AttentionBlock block = make_block(index / captions, index % captions, scratch);
      block.scores = scores;
      kernels_.forward(block);
    });
  }

  void backward(const float* grad, float* grad_regions, float* grad_words) {
    if (grad_regions != nullptr) regions_.want_grads(problem_.t2i.weight != 0);
    if (grad_words != nullptr) words_.want_grads(problem_.i2t.weight != 0);
    make_scratch(true);
    prepare();
    gradient_blocks(grad);
    const int64_t images = grad_regions != nullptr ? regions_.count() : 0;
    const int64_t captions = grad_words != nullptr ? words_.count() : 0;
    each(images + captions, [&](int64_t index, float*) {
      if (index < images) {
        regions_.finish(index, grad_regions + index * problem_.regions_each * problem_.d);
      } else {
        words_.finish(index - images, grad_words + (index - images) * problem_.words_each * problem_.d);
      }
    });
  }

 private:
  int64_t stride() const { return (words_.longest_group() + kernels_.panel - 1) / kernels_.panel * kernels_.panel; }
  int64_t block_floats() const { return regions_.longest_group() * stride(); }

  void make_scratch(bool gradients) {
    const int64_t item = std::max(regions_.scratch_floats(), words_.scratch_floats());
    const int64_t floats = std::max(tile_floats() + block_floats() * (gradients ? 2 : 1), item);
    for (int t = 0; t < threads_; ++t) scratch_.push_back(std::make_unique<LineBuffer<float>>(floats));
  }

  // work(index, scratch memory of its thread) for every index below count
  template <typename Work>
  void each(int64_t count, const Work& work) {
    run_tasks(count, threads_, [&](int64_t index, int thread) { work(index, scratch_[thread]->data()); });
  }

  void prepare() {
    const int64_t images = regions_.count();
    each(images + words_.count(), [&](int64_t index, float* scratch) {
      index < images ? regions_.prepare(index, scratch) : words_.prepare(index - images, scratch);
    });
    each(words_.groups(), [&](int64_t group, float*) { words_.pack(group); });
  }

  AttentionBlock make_block(int64_t images, int64_t captions, float* scratch) {
    AttentionBlock block{};
    block.regions = regions_.side(images);
    block.words = words_.side(captions);
    block.panels = words_.panels(captions);
    block.d = problem_.d;
    block.width = (problem_.d + kernels_.vector - 1) / kernels_.vector * kernels_.vector;
    block.t2i = {problem_.t2i.weight, problem_.t2i.temperature, problem_.t2i.pool};
    block.i2t = {problem_.i2t.weight, problem_.i2t.temperature, problem_.i2t.pool};
    block.leak = problem_.leak;
    block.captions = problem_.captions;
    block.stride = stride();
    block.tile = scratch;
    block.cosines = scratch + tile_floats();
    block.residual = block.cosines;
    return block;
  }

  int64_t tile_floats() const {
    const int64_t floats = kernels_.tile_floats(regions_.longest_item(), words_.longest_item());
    return (floats + 15) / 16 * 16;
  }

  void gradient_blocks(const float* grad) {
    const int64_t images = regions_.groups(), captions = words_.groups(), steps = std::max(images, captions);
    std::vector<std::atomic<int64_t>> image_steps(steps), caption_steps(steps);  // done, by group
    each(steps * steps, [&](int64_t index, float* scratch) {
      const int64_t step = index / steps, image = index % steps, caption = (image + step) % steps;
      // blocks are taken in their order, so those waited for are under way
      while (image_steps[image].load(std::memory_order_acquire) < step) std::this_thread::yield();
      while (caption_steps[caption].load(std::memory_order_acquire) < step) std::this_thread::yield();
      if (image < images && caption < captions) {
        AttentionBlock block = make_block(image, caption, scratch);
        block.residual = block.cosines + block_floats();
        block.grad = grad;
        kernels_.backward(block);
      }
      image_steps[image].store(step + 1, std::memory_order_release);
      caption_steps[caption].store(step + 1, std::memory_order_release);
    });
  }

  const CrossAttention& problem_;
  const AttentionKernels& kernels_;
  AttentionItems regions_, words_;
  int threads_;
  std::vector<std::unique_ptr<LineBuffer<float>>> scratch_;
};

const AttentionKernels& kernels_for(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kAttentionAvx512;
  if (isa == Isa::kAvx2) return kAttentionAvx2;
#endif
  (void)isa;
  return kAttentionScalar;
}

}  // namespace

void cross_attention_score_cpu(const CrossAttention& problem, float* scores, Isa isa, int threads) {
  Run(problem, kernels_for(isa), threads).forward(scores);
}

void cross_attention_score_backward_cpu(const CrossAttention& problem, const float* grad, float* grad_regions,
                                        float* grad_words, Isa isa, int threads) {
  Run(problem, kernels_for(isa), threads).backward(grad, grad_regions, grad_words);
}

}  // namespace fasthash
