#include "comm/mpi/mpi_session.h"

#include <sched.h>
#include <sys/prctl.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <utility>

#include "comm/cpu/brief_spin.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/mpi/mpi_exchange.h"
#include "comm/mpi/mpi_world.h"
#include "comm/mpi/short_slice.h"
#include "comm/str.h"

namespace longspan {

class MpiSession::ProgressThread {
 public:
  explicit ProgressThread(std::size_t largest_piece) : largest_piece_(largest_piece) {}

  // The other threads' part; hand_over also this thread's own, from within a `done`.

  void hand_over(Channel channel, std::shared_ptr<MpiExchange> exchange);
  void close();
  void abandon() { abandoned_ = true; }
  bool abandoned() const { return abandoned_; }
  std::future<void> started() { return started_.get_future(); }
  std::future<void> ended() { return ended_.get_future(); }
  /// Valid once started.
  const MpiWorld& world() const { return *world_; }

  // The thread itself.

  void run();

 private:
  using Exchange = std::shared_ptr<MpiExchange>;
  using Clock = MpiExchange::Clock;

  void serve();
  bool take_new();
  void post(Channel channel, const Exchange& exchange);
  bool poll_all();
  void rest();
  void fail_all(const std::string& reason);

  const std::size_t largest_piece_;
  std::promise<void> started_;
  std::promise<void> ended_;
  std::optional<MpiWorld> world_;
  std::atomic<bool> abandoned_ = false;
  std::vector<Exchange> outstanding_;  // this thread's own

  std::mutex mutex_;
  std::condition_variable news_;
  std::vector<std::pair<Channel, Exchange>> handed_over_;
  bool closing_ = false;
  std::atomic<bool> has_news_ = false;  // either changed: what a brief spin looks at
};

void MpiSession::ProgressThread::hand_over(Channel channel, Exchange exchange) {
  {
    const std::lock_guard lock(mutex_);
    handed_over_.emplace_back(channel, std::move(exchange));
    has_news_.store(true, std::memory_order_release);
  }
  news_.notify_one();
  // Where ranks fill the cores, the progress thread would wait for this one's time slice to end,
  // and the peer for its message: the exchange would begin when it should be over.
  sched_yield();
}

void MpiSession::ProgressThread::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    has_news_.store(true, std::memory_order_release);
  }
  news_.notify_one();
}

void MpiSession::ProgressThread::run() {
  // Linux rounds sleeps up by 50 us unless told otherwise; our naps in a step are 125 to 200.
  prctl(PR_SET_TIMERSLACK, 1000);
  ask_for_short_slices();
  try {
    world_.emplace();
  } catch (...) {
    started_.set_exception(std::current_exception());
    return;
  }
  started_.set_value();
  serve();
  if (!abandoned_) world_->finalize();
  ended_.set_value();
}

void MpiSession::ProgressThread::serve() {
  while (take_new()) {
    if (!poll_all()) rest();
  }
}

// Waits for work when none is outstanding; false when the session closes.
bool MpiSession::ProgressThread::take_new() {
  const auto has_news = [this] { return has_news_.load(std::memory_order_acquire); };
  if (!outstanding_.empty() && !has_news()) return true;
  if (outstanding_.empty()) spin_briefly(has_news);

  std::vector<std::pair<Channel, Exchange>> taken;
  {
    std::unique_lock lock(mutex_);
    if (outstanding_.empty()) {
      news_.wait(lock, [this] { return closing_ || !handed_over_.empty(); });
    }
    if (closing_ && handed_over_.empty() && outstanding_.empty()) return false;
    taken.swap(handed_over_);
    has_news_.store(false, std::memory_order_relaxed);
  }
  for (const auto& [channel, exchange] : taken) post(channel, exchange);
  return true;
}

void MpiSession::ProgressThread::post(Channel channel, const Exchange& exchange) {
  if (abandoned_) {
    exchange->give_up("not begun: an earlier exchange of this process was abandoned");
    return;
  }
  try {
    exchange->post(channel == Channel::kData ? world_->data() : world_->control(), largest_piece_);
    outstanding_.push_back(exchange);
  } catch (const Error& error) {
    abandoned_ = exchange->has_abandoned();
    exchange->give_up(error.what());
  }
}

/// Whether anything moved.
bool MpiSession::ProgressThread::poll_all() {
  const auto now = Clock::now();
  bool moved = outstanding_.empty();
  std::erase_if(outstanding_, [&](const Exchange& exchange) {
    if (abandoned_) return false;
    const auto progress = exchange->poll(now);
    moved = moved || progress != MpiExchange::Progress::kNone;
    if (progress != MpiExchange::Progress::kDone) return false;
    if (exchange->has_abandoned()) abandoned_ = true;  // first: who hears of the failure may ask
    exchange->finish();
    return true;
  });
  if (abandoned_) fail_all("given up: another exchange of this process was abandoned");
  return moved;
}

void MpiSession::ProgressThread::fail_all(const std::string& reason) {
  for (const Exchange& exchange : outstanding_) exchange->give_up(reason);
  outstanding_.clear();
}

void MpiSession::ProgressThread::rest() {
  const auto now = Clock::now();
  std::chrono::nanoseconds nap = std::chrono::hours(1);
  for (const Exchange& exchange : outstanding_) nap = std::min(nap, exchange->longest_nap(now));
  if (nap == nap.zero()) {
    sched_yield();
    return;
  }
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, nap, [this] { return has_news_.load(std::memory_order_relaxed); });
}

MpiSession::MpiSession(const MpiSessionOptions& options)
    : progress_(std::make_shared<ProgressThread>(options.largest_piece)),
      leave_deadline_(options.leave_deadline) {
  auto started = progress_->started();
  thread_ = std::thread([progress = progress_] { progress->run(); });
  if (started.wait_for(options.start_deadline) == std::future_status::ready) {
    try {
      started.get();
      return;
    } catch (...) {
      thread_.join();
      throw;
    }
  }
  thread_.detach();
  throw DeviceError(
      str("MPI did not start within {} s: did every rank start?", options.start_deadline.count()));
}

MpiSession::~MpiSession() {
  auto ended = progress_->ended();
  progress_->close();
  if (ended.wait_for(leave_deadline_) == std::future_status::ready) {
    thread_.join();
    return;
  }
  progress_->abandon();
  thread_.detach();
  log(LogLevel::kWarning, str("the other ranks did not leave MPI within {} s; leaving without them",
                              leave_deadline_.count()));
}

int MpiSession::rank() const { return progress_->world().rank(); }
int MpiSession::size() const { return progress_->world().size(); }
const std::vector<int>& MpiSession::host_ranks() const { return progress_->world().host_ranks(); }
bool MpiSession::abandoned() const { return progress_->abandoned(); }

void MpiSession::begin(Channel channel, std::vector<Send> sends, std::vector<Receive> receives,
                       const Patience& patience, std::function<void(std::exception_ptr)> done) {
  progress_->hand_over(channel,
                       std::make_shared<MpiExchange>(rank(), std::move(sends), std::move(receives),
                                                     patience, std::move(done)));
}

}  // namespace longspan
