#include "comm/cuda/peer_mailbox.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "comm/agreement.h"
#include "comm/cuda/peer_start.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::uint64_t kEntries = 64;
constexpr std::size_t kNameBytes = 64;

}  // namespace

/// From one rank, in whose memory it lies, to one peer.
struct PeerMailbox::Box {
  alignas(64) std::atomic<std::uint64_t> posted;
  alignas(64) std::atomic<std::uint64_t> taken;
  Landing entries[kEntries];
};

PeerMailbox::PeerMailbox(Communicator& control)
    : bytes_(sizeof(Box) * static_cast<std::size_t>(control.size() - 1)) {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  const int size = control.size(), rank = control.rank();
  const std::string own_name = str("/longspan-{}-{}", getpid(), static_cast<const void*>(this));
  const auto give_back = [&] {
    shm_unlink(own_name.c_str());
    for (void* memory : mapped_) munmap(memory, bytes_);
  };
  void* own = nullptr;
  try {
    own = agree_on(control, [&] { return map(own_name, true); });
  } catch (const Error&) {
    give_back();
    throw;
  }
  std::vector<std::byte> name(kNameBytes);
  std::memcpy(name.data(), own_name.data(), std::min(own_name.size(), kNameBytes - 1));
  const std::vector<std::byte> names = gather_to_all(control, name);
  const auto attempt = [&] {
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      const auto* const its = reinterpret_cast<const char*>(names.data()) + peer * kNameBytes;
      out_.push_back({static_cast<Box*>(own) + place_among_peers(rank, peer)});
      in_.push_back({static_cast<Box*>(map(its, false)) + place_among_peers(peer, rank)});
    }
    return true;
  };
  try {
    agree_on(control, attempt);
  } catch (const Error&) {
    give_back();
    throw;
  }
  shm_unlink(own_name.c_str());  // everybody has it
}

PeerMailbox::~PeerMailbox() {
  for (void* memory : mapped_) munmap(memory, bytes_);
}

void* PeerMailbox::map(const std::string& name, bool creates) {
  const int file = shm_open(name.c_str(), creates ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
  if (file < 0) {
    throw CommError(str("ranks of this host share no memory: {}: {}", name, std::strerror(errno)));
  }
  // New memory is zero: nothing posted, nothing taken.
  const bool sized = !creates || ftruncate(file, static_cast<off_t>(bytes_)) == 0;
  void* const memory =
      sized ? mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  const int code = errno;
  close(file);
  if (memory == MAP_FAILED) {
    if (creates) shm_unlink(name.c_str());
    throw CommError(str("ranks of this host share no memory: {}: {}", name, std::strerror(code)));
  }
  mapped_.push_back(memory);
  return memory;
}

void PeerMailbox::post(std::size_t peer, const Landing& landing, const GoOn& go_on) {
  Side& side = out_[peer];
  Box& box = *side.box;
  wait_until([&] { return side.count - box.taken.load(std::memory_order_acquire) < kEntries; },
             go_on);
  box.entries[side.count % kEntries] = landing;
  box.posted.store(++side.count, std::memory_order_release);
}

Landing PeerMailbox::take(std::size_t peer, const GoOn& go_on) {
  Side& side = in_[peer];
  Box& box = *side.box;
  wait_until([&] { return box.posted.load(std::memory_order_acquire) > side.count; }, go_on);
  const Landing landing = box.entries[side.count % kEntries];
  box.taken.store(++side.count, std::memory_order_release);
  return landing;
}

}  // namespace longspan
