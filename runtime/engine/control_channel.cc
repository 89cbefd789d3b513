#include "runtime/engine/control_channel.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kMaxPayload = std::size_t{1} << 30;  // a prompt of 256M tokens

struct Frame {
  MessageType type;
  std::uint32_t unused = 0;
  std::uint64_t length;  // of the whole payload
  std::array<std::byte, 4080> head;
};
static_assert(sizeof(Frame) == 4096);

ConstBytes bytes_of(const Frame& frame) { return std::as_bytes(std::span(&frame, 1)); }

}  // namespace

ControlChannel::ControlChannel(Communicator& control, std::chrono::milliseconds deadline)
    : control_(control), deadline_(deadline) {}

void ControlChannel::send(const std::vector<int>& peers, const Message& message) {
  Frame frame{.type = message.type, .length = message.payload.size(), .head = {}};
  const std::size_t inside = std::min(message.payload.size(), frame.head.size());
  std::copy_n(message.payload.begin(), inside, frame.head.begin());
  std::vector<Send> sends;
  for (int peer : peers) {
    sends.push_back({peer, bytes_of(frame)});
    if (message.payload.size() > inside) {
      sends.push_back({peer, std::span(message.payload).subspan(inside)});
    }
  }
  if (!sends.empty()) control_.transfer(std::move(sends), {}, {deadline_});
}

Message ControlChannel::receive(int peer, Patience patience) {
  Frame frame;
  control_.transfer({}, {{peer, std::as_writable_bytes(std::span(&frame, 1))}}, patience);
  if (frame.length > kMaxPayload) {
    throw CommError(str("control message of {} bytes from rank {}", frame.length, peer));
  }
  Message message{.type = frame.type, .payload = std::vector<std::byte>(frame.length)};
  const std::size_t inside = std::min<std::size_t>(frame.length, frame.head.size());
  std::copy_n(frame.head.begin(), inside, message.payload.begin());
  if (frame.length > inside) {
    control_.transfer({}, {{peer, Bytes(message.payload).subspan(inside)}}, {deadline_});
  }
  return message;
}

}  // namespace longspan
