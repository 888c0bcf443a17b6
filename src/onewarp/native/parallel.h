// A parallel loop over independent items. Its threads are kept: starting one takes as long as a batch of small images.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

namespace onewarp {

// Work that a call shares with helping threads: run(worker) is called once by each that comes in time.
class SharedWork {
 public:
  virtual void run(int worker) = 0;

 protected:
  ~SharedWork() = default;
};

// Calls work.run(0) here and, as threads come free, work.run(1) ... work.run(helpers) elsewhere; returns when all that
// began have ended. What nobody has begun by the time run(0) returns is dropped: run must then have nothing left to do.
void share(SharedWork& work, int helpers);

// The number of workers that parallel_for tells apart.
inline int worker_count(int64_t count, int threads) {
  const int64_t workers = threads < count ? threads : count;
  return workers > 1 ? static_cast<int>(workers) : 1;
}

// Runs body(item, worker) for every item in [0, count), on at most `threads` threads, the calling one included.
// worker < worker_count(count, threads) tells apart what runs at the same time. The first exception is rethrown here.
template <class Body> void parallel_for(int64_t count, int threads, const Body& body) {
  class Loop final : public SharedWork {
   public:
    Loop(int64_t count, int workers, const Body& body) : count_(count), workers_(workers), body_(body) {}
    void run(int worker) override {
      try {
        int64_t item = 0, end = 0;
        while (take(&item, &end))
          for (; item < end; ++item) body_(item, worker);
      } catch (...) {
        next_.store(count_);
        const std::lock_guard<std::mutex> hold(lock_);
        if (!error_) error_ = std::current_exception();
      }
    }
    void rethrow() {
      if (error_) std::rethrow_exception(error_);
    }

   private:
    // Neighbours go to one thread, because caches read ahead, into what another would write; less and less towards the
    // end, so that all end together.
    bool take(int64_t* item, int64_t* end) {
      *item = next_.load();
      do {
        if (*item >= count_) return false;
        *end = *item + (count_ - *item) / (2 * workers_) + 1;
        if (*end > count_) *end = count_;
      } while (!next_.compare_exchange_weak(*item, *end));
      return true;
    }

    const int64_t count_;
    const int workers_;
    const Body& body_;
    std::atomic<int64_t> next_{0};
    std::mutex lock_;
    std::exception_ptr error_;
  };

  const int workers = worker_count(count, threads);
  Loop loop(count, workers, body);
  if (workers > 1)
    share(loop, workers - 1);
  else
    loop.run(0);
  loop.rethrow();
}

}  // namespace onewarp
