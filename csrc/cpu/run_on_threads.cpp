#include "cpu/run_on_threads.h"

#include <dlfcn.h>

#include <atomic>
#include <thread>
#include <vector>

namespace fasthash {
namespace {

struct Team {
  const std::function<void(int)>& work;
  std::atomic<int> next{0};
};

void join_team(void* team) {
  auto* t = static_cast<Team*>(team);
  t->work(t->next.fetch_add(1));
}

// GNU OpenMP's entry point for a parallel region, which LLVM's runtime has as well; null when no runtime is loaded.
using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

Parallel openmp() {
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return parallel;
}

}  // namespace

void run_on_threads(int threads, const std::function<void(int)>& work) {
  if (threads <= 1) return work(0);
  if (const Parallel parallel = openmp()) {
    Team team{work};
    return parallel(join_team, &team, static_cast<unsigned>(threads), 0);
  }
  std::vector<std::thread> helpers;
  try {
    helpers.reserve(static_cast<size_t>(threads - 1));
    for (int t = 1; t < threads; ++t) helpers.emplace_back([&work, t] { work(t); });
  } catch (...) {  // neither threads nor memory for more: those that started take all the work
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace fasthash
