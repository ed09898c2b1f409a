#include "cpu/hamming_threads.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace fasthash {
namespace {

constexpr auto kPollWhileWaiting = std::chrono::milliseconds(100);

class Team {
 public:
  explicit Team(const std::function<void(bool)>& work) : work_(work) {}

  void run(int64_t threads, const std::function<void()>& while_waiting) {
    std::vector<std::thread> others;
    try {
      others.reserve(static_cast<size_t>(std::max<int64_t>(threads - 1, 0)));
      for (int64_t i = 1; i < threads; ++i) others.emplace_back([this] { leave(attempt([this] { work_(false); })); });
    } catch (...) {  // neither threads nor memory for more: the work is done by fewer
    }
    keep(attempt([this] { work_(true); }));
    wait(static_cast<int64_t>(others.size()), while_waiting);
    for (auto& thread : others) thread.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  template <typename Call>
  static std::exception_ptr attempt(const Call& call) {
    try {
      call();
      return nullptr;
    } catch (...) {
      return std::current_exception();
    }
  }

  void wait(int64_t others, const std::function<void()>& while_waiting) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!done_.wait_for(lock, kPollWhileWaiting, [&] { return left_ == others; })) {
      lock.unlock();
      keep(attempt(while_waiting));
      lock.lock();
    }
  }

  void leave(std::exception_ptr error) {
    keep(error);
    const std::lock_guard<std::mutex> lock(mutex_);
    ++left_;
    done_.notify_one();
  }

  void keep(std::exception_ptr error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error && !error_) error_ = error;
  }

  const std::function<void(bool)>& work_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable done_;
  int64_t left_ = 0;
  std::exception_ptr error_;
};

}  // namespace

void run_team(int64_t threads, const std::function<void(bool calling)>& work,
              const std::function<void()>& while_waiting) {
  Team(work).run(threads, while_waiting);
}

}  // namespace fasthash
