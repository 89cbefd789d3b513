#include "attention/block_chooser.h"

#include <algorithm>

#include "attention/block_sums.h"
#include "attention/cpu/choose_blocks.h"
#include "attention/tell_all.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// Values of one block's sums: its queries by head, then its keys by KV head.
std::int64_t values_per_block(const HeadShape& shape) {
  return 1LL * (shape.query_heads + shape.kv_heads) * shape.head_dim;
}

/// A rank has rows of each block at most, and of no more blocks than it has rows.
std::int64_t most_sums(const HeadShape& shape, std::int64_t block, const PrefillLimits& limits) {
  const std::int64_t all = blocks_in(limits.all_rows, block);
  return (limits.ranks * std::min(all, limits.rows) + all) * values_per_block(shape);
}

std::int64_t most_choices(const HeadShape& shape, std::int64_t block, const PrefillLimits& limits) {
  const std::int64_t all = blocks_in(limits.all_rows, block);
  return shape.kv_heads * all * all;
}

}  // namespace

BlockChooser::BlockChooser(Device& device, const HeadShape& shape,
                           const Approximation& approximation, const PrefillLimits& limits)
    : shape_(shape),
      block_(approximation.block_tokens),
      mass_(approximation.block_mass),
      sums_(device.allocate(sizeof(double) * most_sums(shape, block_, limits))),
      chosen_(device.allocate(most_choices(shape, block_, limits))) {}

std::size_t BlockChooser::memory_bytes(const HeadShape& shape, const Approximation& approximation,
                                       const PrefillLimits& limits) {
  const std::int64_t block = approximation.block_tokens;
  return sizeof(double) * most_sums(shape, block, limits) + most_choices(shape, block, limits);
}

std::int64_t BlockChooser::width() const { return values_per_block(shape_); }

KeyChoice BlockChooser::choice(std::int64_t tokens) const {
  const std::int64_t blocks = blocks_in(tokens, block_);
  return {.query_unit = block_,
          .key_unit = block_,
          .query_units = blocks,
          .key_units = blocks,
          .chosen = chosen_.as<std::uint8_t>().data()};
}

std::vector<BlockChooser::Said> BlockChooser::lay_out(const SplitChunk& chunk) const {
  std::vector<Said> said(chunk.size());
  double* next = sums_.as<double>().data();
  for (int j = 0; j < chunk.size(); ++j) {
    said[j].blocks = blocks_of(chunk.streams[j].positions(), block_);
    said[j].sums = next;
    next += std::ssize(said[j].blocks) * width();
  }
  expects(next - sums_.as<double>().data() + blocks_in(chunk.all_rows(), block_) * width() <=
              std::ssize(sums_.as<double>()),
          "the prompt fits the memory planned for it");
  return said;
}

void BlockChooser::choose(Stream& compute, const Group& group, const SplitChunk& chunk,
                          const ChunkRows& rows) {
  expects(chunk.all_columns() == chunk.all_rows(), "the chunk is a whole prompt");
  std::vector<Said> said = lay_out(chunk);
  compute.call([this, &chunk, rows, own = said[chunk.rank]] { pool(chunk, rows, own); });
  std::vector<std::span<double>> sums;
  for (const Said& one : said) {
    sums.emplace_back(one.sums, static_cast<std::size_t>(std::ssize(one.blocks) * width()));
  }
  tell_all(compute, group, sums);
  compute.call([this, tokens = chunk.all_rows(), said = std::move(said)] { merge(tokens, said); });
}

void BlockChooser::pool(const SplitChunk& chunk, const ChunkRows& rows, const Said& own) const {
  pool_blocks({.shape = shape_,
               .q = rows.q,
               .keys = rows.keys,
               .positions = chunk.positions,
               .block = block_,
               .blocks = own.blocks,
               .sums = own.sums});
}

void BlockChooser::merge(std::int64_t tokens, const std::vector<Said>& said) const {
  const std::int64_t blocks = blocks_in(tokens, block_);
  const Said& last = said.back();
  double* total = last.sums + std::ssize(last.blocks) * width();
  std::fill_n(total, blocks * width(), 0.0);
  for (const Said& one : said) add_block_sums(one.blocks, one.sums, width(), total);
  choose_blocks({.shape = shape_,
                 .tokens = tokens,
                 .block = block_,
                 .mass = mass_,
                 .sums = total,
                 .chosen = chosen_.as<std::uint8_t>().data()});
}

}  // namespace longspan
