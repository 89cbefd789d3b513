#include "runtime/model/stop_strings.h"

#include <algorithm>
#include <utility>

namespace longspan {

std::string StopStrings::push(std::string_view text) {
  if (found_) return "";
  held_ += text;
  const std::string* first = nullptr;
  std::size_t begin = 0, end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const bool earlier = at + stop.size() < end || (at + stop.size() == end && at < begin);
    if (!earlier) continue;
    first = &stop;
    begin = at;
    end = at + stop.size();
  }
  if (first) {
    found_ = *first;
    return std::exchange(held_, {}).substr(0, begin);
  }
  const std::size_t free = held_.size() - held_back();
  std::string out = held_.substr(0, free);
  held_.erase(0, free);
  return out;
}

std::string StopStrings::pass(std::string_view text) {
  if (found_) return "";
  return std::exchange(held_, {}) + std::string(text);
}

/// The longest end of the text that a stop begins with.
std::size_t StopStrings::held_back() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > longest; --size) {
      if (held_.compare(held_.size() - size, size, stop, 0, size) == 0) longest = size;
    }
  }
  return longest;
}

}  // namespace longspan
