#include "comm/cpu/rendezvous.h"

#include <cstring>

#include "comm/cpu/brief_spin.h"
#include "comm/str.h"

namespace longspan {

void PendingHalves::finish_one() { close(1, {}); }

void PendingHalves::fail_one(const std::string& reason) { close(1, reason); }

void PendingHalves::withdraw(int count) { close(count, {}); }

void PendingHalves::close(int count, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  open_ -= count;
  if (!reason.empty() && !failed_) {
    failure_ = reason;
    failed_ = true;
  }
  changed_.notify_all();
}

bool PendingHalves::wait(const Patience& patience) {
  spin_briefly([this] { return settled(); });
  std::unique_lock lock(mutex_);
  const auto is_settled = [this] { return settled(); };
  if (patience.deadline) {
    changed_.wait_for(lock, *patience.deadline, is_settled);
  } else {
    changed_.wait(lock, is_settled);
  }
  return open_ == 0 && !failed_;
}

void PendingHalves::wait_for_copies() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return open_ == 0; });
}

std::string PendingHalves::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void Lane::offer(Half half, bool is_send) {
  std::unique_lock lock(mutex_);
  auto& own = is_send ? sends_ : receives_;
  auto& other = is_send ? receives_ : sends_;
  if (!other.empty()) {
    const Half partner = std::move(other.front());
    other.pop_front();
    lock.unlock();
    is_send ? meet(half, partner) : meet(partner, half);
  } else if (!closed_.empty()) {
    half.exchange->fail_one(closed_);
  } else {
    own.push_back(std::move(half));
  }
}

void Lane::meet(const Half& send, const Half& receive) const {
  if (send.source.size() == receive.landing.size()) {
    std::memcpy(receive.landing.data(), send.source.data(), send.source.size());
    send.exchange->finish_one();
    receive.exchange->finish_one();
    return;
  }
  const std::string reason = str("rank {} sent {} bytes, but rank {} expected {} bytes from it",
                                 from_, send.source.size(), to_, receive.landing.size());
  send.exchange->fail_one(reason);
  receive.exchange->fail_one(reason);
}

std::size_t Lane::withdraw(const std::shared_ptr<PendingHalves>& exchange) {
  const std::lock_guard lock(mutex_);
  std::size_t bytes = 0;
  for (auto* queue : {&sends_, &receives_}) {
    const auto count = std::erase_if(*queue, [&](const Half& half) {
      if (half.exchange != exchange) return false;
      bytes += half.source.size() + half.landing.size();
      return true;
    });
    if (count > 0) exchange->withdraw(static_cast<int>(count));
  }
  return bytes;
}

void Lane::close(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  closed_ = reason;
  for (auto* queue : {&sends_, &receives_}) {
    for (const Half& half : *queue) half.exchange->fail_one(reason);
    queue->clear();
  }
}

}  // namespace longspan
