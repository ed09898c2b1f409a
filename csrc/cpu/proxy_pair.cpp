// Cuts the rows into blocks, gives them to lanes, and lanes to threads.
//
// A block owns its rows of both modalities and walks over all others, so the gradients of codes are written once. Each
// lane has its own sum of the proxies' gradients; lanes are added in their order. How many lanes there are follows from
// the sizes alone, so the result is bitwise the same for any number of threads.
#include "proxy_pair.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/line_buffer.h"
#include "cpu/proxy_pair_block.h"
#include "cpu/run_on_threads.h"

namespace fasthash {
namespace {

constexpr int64_t kSmallWork = int64_t{1} << 21;  // multiply-adds worth less than starting a thread
constexpr int64_t kMostLanes = 16;

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

struct Side {
  LineBuffer<float> unit, inverse, panels;
  UnitRows rows;

  Side(const float* x, int64_t count, int64_t d, int64_t width)
      : unit((padded(count) + kProxyRows) * width), inverse(padded(count)), panels(padded(count) * d) {
    rows = {x, count, unit.data(), inverse.data(), panels.data()};
  }

  static int64_t padded(int64_t count) { return ceil_div(count, kProxyColumns) * kProxyColumns; }
};

struct Labels {
  int64_t planes, plane, positives = 0;
  std::vector<int32_t> bits, size, many;
  std::vector<float> inverse_root;

  explicit Labels(const ProxyPair& p)
      : planes(ceil_div(p.classes, 32)),
        plane(p.m + kProxyColumns),
        bits(planes * plane),
        size(plane),
        many(plane),
        inverse_root(plane) {
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t half = 0; half < planes; ++half) {
        const auto word = static_cast<uint64_t>(p.labels[i * p.words + half / 2]);
        const auto part = static_cast<uint32_t>(word >> (half % 2 * 32));
        bits[half * plane + i] = static_cast<int32_t>(part);
        size[i] += __builtin_popcount(part);
      }
      positives += size[i];
      many[i] = size[i] > 1;
      inverse_root[i] = size[i] > 0 ? 1.0f / std::sqrt(static_cast<float>(size[i])) : 0.0f;
    }
  }
};

// One over a count; the sum of an empty group is 0, and so is its share.
double share(int64_t count) { return count > 0 ? 1.0 / static_cast<double>(count) : 0.0; }

class Run {
 public:
  Run(const ProxyPair& p, const ProxyPairKernels& kernels, int threads)
      : problem_(p),
        kernels_(kernels),
        width_(ceil_div(p.d, kernels.vector) * kernels.vector),
        x_(p.x, p.m, p.d, width_),
        y_(p.y, p.m, p.d, width_),
        proxies_(p.proxies, p.classes, p.d, width_),
        labels_(p),
        blocks_(ceil_div(p.m, kProxyRows)),
        lanes_(std::min(blocks_, kMostLanes)),
        threads_(p.m * (4 * p.m + p.classes) * p.d < kSmallWork ? 1 : threads) {
    in_ = {x_.rows,
           y_.rows,
           proxies_.rows,
           p.d,
           width_,
           labels_.bits.data(),
           labels_.planes,
           labels_.plane,
           labels_.size.data(),
           labels_.many.data(),
           labels_.inverse_root.data(),
           p.threshold,
           p.variance,
           p.relevant,
           0,
           0,
           0,
           0};  // the derivatives follow from the counts
  }

  void operator()() {
    prepare();
    const int64_t negatives = problem_.m * problem_.classes - labels_.positives;
    const double near = share(labels_.positives), far = share(negatives);
    const double pull = share(shared_), push = share(apart_);
    in_.near = static_cast<float>(-near);
    in_.far = static_cast<float>(far);
    in_.pull = static_cast<float>(-problem_.positive_pairs * pull);
    in_.push = static_cast<float>(problem_.negative_pairs * push);
    const ProxyPairSums sums = run_blocks();
    const double terms[] = {sums.near * near, sums.far * far, sums.pull * pull, sums.push * push,
                            sums.spread / static_cast<double>(problem_.m)};
    for (int t = 0; t < 5; ++t) problem_.results[t] = static_cast<float>(terms[t]);
    problem_.results[5] = static_cast<float>(terms[0] + terms[1] + problem_.positive_pairs * terms[2] +
                                             problem_.negative_pairs * terms[3] + problem_.variance * terms[4]);
  }

 private:
  // Rows of length 1 and their panels; how many pairs share labels.
  void prepare() {
    std::vector<std::pair<const UnitRows*, int64_t>> parts;
    for (const UnitRows* side : {&in_.x, &in_.y, &in_.proxies}) {
      for (int64_t i = 0; i < side->count; i += kProxyColumns) parts.emplace_back(side, i);
    }
    std::vector<int64_t> shared(blocks_), apart(blocks_);
    const auto normal = static_cast<int64_t>(parts.size());
    run_tasks(normal + blocks_, threads_, [&](int64_t task, int) {
      if (task < normal) {
        kernels_.prepare(*parts[task].first, parts[task].second, kProxyColumns, problem_.d, width_);
      } else {
        const int64_t block = task - normal, start = block * kProxyRows;
        kernels_.count(in_, start, std::min(kProxyRows, problem_.m - start), &shared[block], &apart[block]);
      }
    });
    for (int64_t block = 0; block < blocks_; ++block) {
      shared_ += shared[block];
      apart_ += apart[block];
    }
  }

  ProxyPairSums run_blocks() {
    const bool grads = problem_.grad_x != nullptr;
    const int64_t lane_floats = problem_.classes * width_;
    LineBuffer<float> by_proxies(grads ? lanes_ * lane_floats : 0);
    std::vector<LineBuffer<float>> memory;
    for (int t = 0; t < threads_; ++t) memory.emplace_back(kernels_.scratch(in_));
    std::vector<ProxyPairSums> parts(blocks_);
    run_tasks(lanes_, threads_, [&](int64_t lane, int thread) {
      for (int64_t block = lane; block < blocks_; block += lanes_) {
        const int64_t start = block * kProxyRows, rows = std::min(kProxyRows, problem_.m - start);
        float* out_x = grads ? problem_.grad_x + start * problem_.d : nullptr;
        float* out_y = grads ? problem_.grad_y + start * problem_.d : nullptr;
        float* sum = grads ? by_proxies.data() + lane * lane_floats : nullptr;
        parts[block] = kernels_.block(in_, start, rows, memory[thread].data(), out_x, out_y, sum);
      }
    });
    if (grads) {
      kernels_.finish(in_.proxies, problem_.d, width_, by_proxies.data(), lanes_, lane_floats, problem_.grad_proxies);
    }
    ProxyPairSums total{};
    for (const ProxyPairSums& part : parts) {
      total.near += part.near;
      total.far += part.far;
      total.spread += part.spread;
      total.pull += part.pull;
      total.push += part.push;
    }
    return total;
  }

  const ProxyPair& problem_;
  const ProxyPairKernels& kernels_;
  int64_t width_;
  Side x_, y_, proxies_;
  Labels labels_;
  int64_t blocks_, lanes_;
  int threads_;
  ProxyPairInputs in_;
  int64_t shared_ = 0, apart_ = 0;
};

}  // namespace

void proxy_pair_cpu(const ProxyPair& problem, Isa isa, int threads) {
  threads = std::max(threads, 1);
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return Run(problem, kProxyPairAvx512, threads)();
  if (isa == Isa::kAvx2) return Run(problem, kProxyPairAvx2, threads)();
#endif
  (void)isa;
  Run(problem, kProxyPairScalar, threads)();
}

}  // namespace fasthash
