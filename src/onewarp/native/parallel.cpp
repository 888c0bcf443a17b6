#include "parallel.h"

#include <condition_variable>
#include <deque>
#include <system_error>
#include <thread>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace onewarp {
namespace {

struct Job {
  SharedWork& work;
  int asked;        // helpers that may still come
  int running = 0;  // helpers at work
};

// Threads that wait for jobs. They are never ended: they hold nothing of Python's, and a process may end while they wait.
class Helpers {
 public:
  void share(SharedWork& work, int helpers) {
    Job job{work, helpers};
    {
      const std::lock_guard<std::mutex> hold(lock_);
      jobs_.push_back(&job);
      while (waiting_ + starting_ < pending() && threads_ < kMost && start()) {
      }
    }
    if (helpers == 1)
      wake_.notify_one();
    else
      wake_.notify_all();
    work.run(0);
    std::unique_lock<std::mutex> hold(lock_);
    for (auto at = jobs_.begin(); at != jobs_.end(); ++at) {
      if (*at == &job) {
        jobs_.erase(at);
        break;
      }
    }
    ended_.wait(hold, [&] { return job.running == 0; });
  }

 private:
  static constexpr int kMost = 256;

  int pending() const {
    int count = 0;
    for (const Job* job : jobs_) count += job->asked;
    return count;
  }

  bool start() {
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      return false;  // no more threads to be had: the ones there are do the work
    }
    ++threads_;
    ++starting_;
    return true;
  }

  void serve() {
    std::unique_lock<std::mutex> hold(lock_);
    --starting_;
    for (;;) {
      ++waiting_;
      wake_.wait(hold, [&] { return !jobs_.empty(); });
      --waiting_;
      Job& job = *jobs_.front();
      const int worker = job.asked;
      if (--job.asked == 0) jobs_.pop_front();
      ++job.running;
      hold.unlock();
      job.work.run(worker);
      hold.lock();
      --job.running;
      ended_.notify_all();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_, ended_;
  std::deque<Job*> jobs_;
  int threads_ = 0, starting_ = 0, waiting_ = 0;
};

// After a fork the child has none of the threads: it begins anew. The old object stays where it is, its lock perhaps held.
std::atomic<Helpers*> helpers_of_process{nullptr};
std::once_flag once;

Helpers& the_helpers() {
  std::call_once(once, [] {
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { helpers_of_process.store(nullptr); });
#endif
  });
  Helpers* helpers = helpers_of_process.load();
  if (helpers == nullptr) {
    Helpers* fresh = new Helpers;
    if (helpers_of_process.compare_exchange_strong(helpers, fresh))
      helpers = fresh;
    else
      delete fresh;
  }
  return *helpers;
}

}  // namespace

void share(SharedWork& work, int helpers) { the_helpers().share(work, helpers); }

}  // namespace onewarp
