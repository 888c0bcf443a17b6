// A parallel loop over independent items. No pool is kept: a batch is milliseconds, starting a thread is microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace onewarp {

// Runs body(item, worker) for every item in [0, count), on at most `threads` threads, the calling one included.
// worker < max(1, min(threads, count)) tells apart what runs at the same time. The first exception is rethrown here.
template <class Body> void parallel_for(int64_t count, int threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  auto work = [&](int worker) {
    try {
      for (int64_t item; (item = next.fetch_add(1)) < count;) body(item, worker);
    } catch (...) {
      next.store(count);
      const std::lock_guard<std::mutex> hold(error_lock);
      if (!error) error = std::current_exception();
    }
  };

  std::vector<std::thread> helpers;
  const int64_t wanted = (threads < count ? threads : count) - 1;
  if (wanted > 0) helpers.reserve(static_cast<size_t>(wanted));
  for (int worker = 1; worker <= wanted; ++worker) {
    try {
      helpers.emplace_back(work, worker);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: the ones there are do the work
    }
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

// The number of workers that parallel_for tells apart.
inline int worker_count(int64_t count, int threads) {
  const int64_t workers = threads < count ? threads : count;
  return workers > 1 ? static_cast<int>(workers) : 1;
}

}  // namespace onewarp
