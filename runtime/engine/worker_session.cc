// One rank's pages of a held conversation to a session's files, and back: a page at a time through
// one buffer of the host, whatever the device.
#include <algorithm>
#include <exception>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/session_messages.h"
#include "runtime/engine/worker.h"
#include "runtime/model/model_part.h"
#include "runtime/session/page_columns.h"
#include "runtime/session/session_pages.h"

namespace longspan {
namespace {

template <typename Attempt>
PagesReport reported(Attempt&& attempt) {
  PagesReport report;
  try {
    report.part = attempt();
  } catch (const Error& error) {
    report.failure = Failure{error.code(), error.what()};
  } catch (const std::exception& error) {
    report.failure = Failure{ExitCode::kInternal, error.what()};
  }
  return report;
}

/// What both have.
Interval common(Interval a, Interval b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

/// Of an instance's ranks that hold the same KV head the first one writes it.
bool writes_heads(const ModelPart& part, int kv_heads) {
  return part.ranks <= kv_heads || part.index % (part.ranks / kv_heads) == 0;
}

}  // namespace

PagesReport Worker::save_pages(const SavePages& order) {
  return reported([&] { return write_pages(order); });
}

PagesReport Worker::restore_pages(const RestorePages& order) {
  return reported([&] {
    read_pages(order);
    return std::nullopt;
  });
}

/// Where the conversation's own page `number` lies.
PageMemory Worker::memory_of(const PageTable& pages, std::int64_t number, bool full) {
  KvPagePool* tails = kv_.tails();
  if (tails && !full) return page_of(*tails, pages.tail());
  return page_of(kv_.pages(), pages.slot(number));
}

std::optional<SessionPart> Worker::write_pages(const SavePages& order) {
  PageTable& pages = sequences_.at(order.request).pages;
  if (!pages.promised()) return std::nullopt;  // this rank is outside the degree
  pages.open(order.computed);
  const ModelPart& part = model_.config.part;
  const bool has_pages = std::ranges::count(pages.owners(), instance_) > 0;
  if (!has_pages || !writes_heads(part, order.kv_heads)) return std::nullopt;

  const KvPageShape& own = kv_.pages().shape();
  SessionIndex index{.generation = order.generation, .page_tokens = own.page_tokens};
  index.computed = order.computed;
  index.terms = {.kv_type = own.type,
                 .layers = own.layers,
                 .kv_heads = order.kv_heads,
                 .head_dim = own.heads.head_dim};
  SessionPartWriter writer(order.session, index, machine_.rank(), kv_slice(order.kv_heads, part));
  std::vector<std::byte> buffer;
  for (std::int64_t number = 0; number < index.pages(); ++number) {
    if (pages.owners()[number] != instance_) continue;
    const KvPageShape shape = index.page_shape(number, own.heads.kv_heads);
    const bool full = shape.page_tokens == own.page_tokens;
    buffer.resize(shape.page_bytes());
    copy_columns(machine_.device(), *compute_, page_at(buffer.data(), shape),
                 memory_of(pages, number, full),
                 {.heads = own.heads.kv_heads, .columns = shape.page_tokens});
    await_compute();
    writer.add(number, buffer);
  }
  return writer.keep();
}

void Worker::read_pages(const RestorePages& order) {
  for (const RequestId id : order.finished) sequences_.erase(id);
  admit({.request = order.request});
  if (std::ranges::count(order.group, instance_) == 0) return;
  PageTable& pages = sequences_.at(order.request).pages;
  pages.promise(order.owners);
  for (std::int64_t number = 0; number < std::ssize(order.pages); ++number) {
    const PageRef& page = order.pages[number];
    if (page.owner == instance_) pages.place(number, {page.slot, page.generation});
  }
  const SessionIndex index = read_index(order.session);
  if (index.generation != order.generation) {
    throw DataError(
        str("{}: somebody else saved the session just now; start again to go on from "
            "there",
            order.session));
  }
  pages.open(index.computed);
  keep_order();
  for (const SessionPart& part : index.parts) read_part(order.session, index, part, pages);
}

/// Takes from a part what this rank is to hold: of each of its pages, whichever pages of this job
/// its positions are in.
void Worker::read_part(const std::string& session, const SessionIndex& index,
                       const SessionPart& part, PageTable& pages) {
  const std::int64_t page_tokens = kv_.pages().shape().page_tokens;
  const Slice own = kv_slice(index.terms.kv_heads, model_.config.part);
  const Interval heads = common({own.first, own.first + own.count},
                                {part.heads.first, part.heads.first + part.heads.count});
  if (heads.begin >= heads.end) return;
  SessionPartReader reader(session, index, part);
  for (std::size_t i = 0; i < part.pages.size(); ++i) {
    const std::int64_t saved = part.pages[i].number;
    const std::int64_t first = saved * index.page_tokens;
    const Interval positions{first, first + index.columns(saved)};
    Bytes bytes;  // read when the first page of this rank wants it
    for (std::int64_t page = first / page_tokens; page * page_tokens < positions.end; ++page) {
      if (pages.owners()[page] != instance_) continue;
      if (bytes.empty()) bytes = reader.page(i);
      const std::int64_t begin = page * page_tokens;
      const Interval cut = common(positions, {begin, begin + page_tokens});
      const bool full = begin + page_tokens <= index.computed;
      copy_columns(machine_.device(), *compute_, memory_of(pages, page, full),
                   page_at(bytes.data(), index.page_shape(saved, part.heads.count)),
                   {.heads = static_cast<int>(heads.end - heads.begin),
                    .from_head = static_cast<int>(heads.begin) - part.heads.first,
                    .to_head = static_cast<int>(heads.begin) - own.first,
                    .columns = cut.end - cut.begin,
                    .from_column = cut.begin - first,
                    .to_column = cut.begin - begin});
    }
    await_compute();  // before the buffer is used again
  }
}

}  // namespace longspan
