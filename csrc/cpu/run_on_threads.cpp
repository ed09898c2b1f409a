#include "cpu/run_on_threads.h"

#include <dlfcn.h>

#include <atomic>
#include <chrono>
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

thread_local bool (*stop_asked)() = nullptr;
constexpr std::chrono::milliseconds kAskEvery{50};  // asking waits for Python's lock

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

void run_tasks(int64_t tasks, int threads, const std::function<void(int64_t, int)>& work) {
  std::atomic<int64_t> next{0};
  std::atomic<int> joined{0};
  std::atomic<bool> stopped{false};
  const auto caller = std::this_thread::get_id();
  const auto asked = stop_asked;
  // all threads are asked for, even when there are fewer tasks: a pool that shrinks has to grow again
  run_on_threads(tasks > 1 ? threads : 1, [&](int) {
    int self = -1;
    const bool asks = asked != nullptr && std::this_thread::get_id() == caller;
    auto last = std::chrono::steady_clock::now();
    for (int64_t task; !stopped && (task = next.fetch_add(1)) < tasks;) {
      if (self < 0) self = joined.fetch_add(1);
      work(task, self);
      if (!asks || std::chrono::steady_clock::now() - last < kAskEvery) continue;
      if (asked()) stopped = true;
      last = std::chrono::steady_clock::now();
    }
  });
  if (stopped) throw Interrupted{};
}

StopWhen::StopWhen(bool (*asked)()) { stop_asked = asked; }
StopWhen::~StopWhen() { stop_asked = nullptr; }

}  // namespace fasthash
