#include "runtime/model/block_offer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "comm/collective.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

enum class NoticeKind : std::int32_t { kOffer, kReady, kFailed };

/// What the leader says; the size of every message must be known to both sides.
struct Notice {
  NoticeKind kind;
  ExitCode code;  // of a failure
  std::uint64_t inode;
  BlockMark mark;
  std::array<char, 1024> text;  // path of an offer, message of a failure; ends in a zero

  void set_text(std::string_view words) {
    text.fill(0);
    std::ranges::copy(words.substr(0, text.size() - 1), text.begin());
  }
};

struct Answer {
  std::int32_t mapped;
};

template <typename T>
Bytes bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

void tell_followers(const HostRanks& host, Notice& notice, Patience patience) {
  std::vector<Send> sends;
  for (int rank : host.followers()) sends.push_back({rank, bytes_of(notice)});
  host.control().transfer(std::move(sends), {}, patience);
}

std::optional<Mapping> try_map(const Notice& notice, std::size_t bytes, std::uint64_t layout) {
  if (notice.mark.layout != layout) return std::nullopt;
  std::optional<Mapping> mapping = try_map_block(notice.text.data(), bytes, notice.inode);
  if (!mapping) return std::nullopt;
  BlockMark found;
  std::memcpy(&found, mapping->bytes().data(), sizeof(found));
  return found == notice.mark ? std::move(mapping) : std::nullopt;
}

}  // namespace

BlockMark BlockMark::fresh(std::uint64_t layout) {
  std::random_device random;
  return {std::uint64_t{random()} << 32 | random(), layout};
}

bool BlockOffer::offer(const BlockFile& file, const BlockMark& mark) {
  Notice notice{NoticeKind::kOffer, ExitCode::kClean, file.inode(), mark, {}};
  notice.set_text(file.path());
  tell_followers(host_, notice, patience_);

  std::vector<Answer> answers(host_.followers().size());
  std::vector<Receive> receives;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    receives.push_back({host_.followers()[i], bytes_of(answers[i])});
  }
  host_.control().transfer({}, std::move(receives), patience_);
  return std::ranges::all_of(answers, [](const Answer& answer) { return answer.mapped != 0; });
}

void BlockOffer::ready() {
  Notice notice{NoticeKind::kReady, ExitCode::kClean, 0, {}, {}};
  tell_followers(host_, notice, patience_);
}

void BlockOffer::failed(const std::exception& failure) {
  const auto* error = dynamic_cast<const Error*>(&failure);
  Notice notice{NoticeKind::kFailed, error ? error->code() : ExitCode::kInternal, 0, {}, {}};
  notice.set_text(failure.what());
  tell_followers(host_, notice, patience_);
}

std::optional<Mapping> await_block(const HostRanks& host, std::size_t bytes, std::uint64_t layout,
                                   Patience patience) {
  std::optional<Mapping> mapping;
  for (;;) {
    Notice notice{};
    host.control().transfer({}, {{host.leader(), bytes_of(notice)}}, patience);
    switch (notice.kind) {
      case NoticeKind::kOffer: {
        mapping = try_map(notice, bytes, layout);
        Answer answer{mapping.has_value()};
        host.control().transfer({{host.leader(), bytes_of(answer)}}, {}, patience);
        break;
      }
      case NoticeKind::kReady:
        return mapping;
      case NoticeKind::kFailed:
        raise({notice.code, notice.text.data()});
    }
  }
}

}  // namespace longspan
