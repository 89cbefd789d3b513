#include "comm/group.h"

#include <algorithm>

#include "comm/error.h"

namespace longspan {

Group::Group(Communicator& communicator, std::vector<int> ranks)
    : communicator_(&communicator), ranks_(std::move(ranks)) {
  auto sorted = ranks_;
  std::ranges::sort(sorted);
  expects(std::ranges::adjacent_find(sorted) == sorted.end(), "a group names a rank once");
  expects(!sorted.empty() && sorted.front() >= 0 && sorted.back() < communicator.size(),
          "a group names ranks of its communicator");
  const auto self = std::ranges::find(ranks_, communicator.rank());
  expects(self != ranks_.end(), "this rank belongs to the group");
  index_ = static_cast<int>(self - ranks_.begin());
}

Group Group::part(const std::vector<int>& indices) const {
  std::vector<int> ranks;
  for (int index : indices) ranks.push_back(ranks_.at(index));
  return Group(*communicator_, std::move(ranks));
}

void Group::exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) const {
  const auto world_rank = [this](int index) {
    expects(index >= 0 && index < size(), "a peer is an index of the group");
    return ranks_[static_cast<std::size_t>(index)];
  };
  for (Send& send : sends) send.peer = world_rank(send.peer);
  for (Receive& receive : receives) receive.peer = world_rank(receive.peer);
  communicator_->exchange(stream, std::move(sends), std::move(receives));
}

}  // namespace longspan
