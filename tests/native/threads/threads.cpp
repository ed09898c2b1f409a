// Exits with 0 when threads are handled as csrc/cpu/hamming_threads.h and run_on_threads.h say, else with a line.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <thread>

#include "cpu/hamming_threads.h"
#include "cpu/run_on_threads.h"

namespace {

thread_local int allocations_left = -1;  // -1: as many as wanted

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(1);
}

// The other thread ends only when the calling one, which has nothing to do, asks what is asked while waiting.
void asks_while_waiting() {
  std::atomic<bool> asked{false};
  const auto work = [&](bool calling) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!calling && !asked) {
      check(std::chrono::steady_clock::now() < deadline, "run_team joins without asking");
      std::this_thread::yield();
    }
  };
  fasthash::run_team(2, work, [&] { asked = true; });
  check(asked, "run_team did not wait");
}

void rethrows(bool from_calling) {
  bool caught = false;
  std::atomic<int> calls{0};
  try {
    fasthash::run_team(
        3,
        [&](bool calling) {
          ++calls;
          if (calling == from_calling) throw std::runtime_error("work");
        },
        [] {});
  } catch (const std::runtime_error&) {
    caught = true;
  }
  check(caught && calls == 3, "run_team does not rethrow, or leaves work out");
}

// Whichever allocation of starting threads fails, work is done by those that are there.
void goes_on_without_memory() {
  for (int allowed = 0; allowed < 12; ++allowed) {
    std::atomic<int> calls{0};
    const std::function<void(bool)> team_work = [&](bool) { ++calls; };
    const std::function<void(int)> work = [&](int) { ++calls; };
    const std::function<void()> nothing = [] {};
    allocations_left = allowed;
    fasthash::run_team(5, team_work, nothing);
    allocations_left = -1;
    check(calls >= 1 && calls <= 5 && (allowed > 0 || calls == 1), "run_team: wrong number of calls");
    calls = 0;
    allocations_left = allowed;
    fasthash::run_on_threads(5, work);
    allocations_left = -1;
    check(calls >= 1 && calls <= 5 && (allowed > 0 || calls == 1), "run_on_threads: wrong number of calls");
  }
}

}  // namespace

void* operator new(size_t size) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

int main() {
  asks_while_waiting();
  rethrows(true);
  rethrows(false);
  goes_on_without_memory();
}
