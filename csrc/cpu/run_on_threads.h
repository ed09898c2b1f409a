// Runs work on the threads that the process already has.
#pragma once

#include <cstdint>
#include <functional>

namespace fasthash {

// Calls work(0) .. work(k - 1) at the same time and waits for all, k from 1 to threads: fewer when there are no more
// threads to be had, so work must be taken from a common counter. work must not throw.
//
// Where an OpenMP runtime is loaded, as torch does, its pool is used: torch's workers spin for milliseconds after each
// of its operations, and threads of our own would have to share the cores with them.
void run_on_threads(int threads, const std::function<void(int)>& work);

// Calls work(task, thread) for every task from 0 to tasks - 1, taken in their order; `thread` tells apart those that
// work at the same time and is below min(threads, tasks). work must not throw.
void run_tasks(int64_t tasks, int threads, const std::function<void(int64_t, int)>& work);

struct Interrupted {};

// While one stands, run_tasks on this thread asks now and then between tasks; true makes it throw Interrupted once the
// tasks under way are done.
class StopWhen {
 public:
  explicit StopWhen(bool (*asked)());
  ~StopWhen();
  StopWhen(const StopWhen&) = delete;
  StopWhen& operator=(const StopWhen&) = delete;
};

}  // namespace fasthash
