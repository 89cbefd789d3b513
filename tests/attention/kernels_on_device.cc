#include "tests/attention/kernels_on_device.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

namespace longspan::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Bytes bytes_of(const Array& array) {
  return std::as_writable_bytes(std::span(array.values, array.count));
}

}  // namespace

AttentionKernels& KernelsOnDevice::kernels(const HeadShape& shape, float scale) {
  auto& kernels =
      kernels_[{shape.query_heads, shape.kv_heads, shape.head_dim, shape.ratio, shape.lead, scale}];
  if (!kernels) kernels = backend_.new_kernels(*device_, shape, scale);
  return *kernels;
}

Array KernelsOnDevice::upload(std::span<const float> values) {
  Array array{device_->allocate((values.size() + shift_) * sizeof(float)), nullptr, values.size()};
  if (values.empty()) return array;
  array.values = array.memory.as<float>().data() + shift_;
  device_->copy(*stream_, bytes_of(array), std::as_bytes(values));
  stream_->synchronize();
  return array;
}

Array KernelsOnDevice::upload_kv(std::span<const float> values) {
  if (!backend_.bfloat16_pages) return upload(values);
  std::vector<float> pairs((values.size() + 1) / 2);
  narrow(KvType::kBFloat16, values.data(), std::ssize(values), pairs.data());
  return upload(pairs);
}

std::vector<float> KernelsOnDevice::download_kv(const Array& array, std::size_t count) {
  if (!backend_.bfloat16_pages) return download(array);
  std::vector<float> values(count);
  widen(KvType::kBFloat16, download(array).data(), std::ssize(values), values.data());
  return values;
}

std::vector<float> KernelsOnDevice::download(const Array& array) {
  std::vector<float> values(array.count);
  device_->copy(*stream_, std::as_writable_bytes(std::span(values)), bytes_of(array));
  stream_->synchronize();
  return values;
}

DeviceState KernelsOnDevice::blank_state(std::int64_t items, int head_dim) {
  return {upload(std::vector<float>(items * head_dim, kNan)),
          upload(std::vector<float>(items, kNan)), upload(std::vector<float>(items, kNan))};
}

DevicePartial KernelsOnDevice::blank_partial(std::int64_t items, int head_dim) {
  return {upload(std::vector<float>(items * head_dim, kNan)),
          upload(std::vector<float>(items, kNan))};
}

void KernelsOnDevice::attend(const Prefill& work, const Array& q, const DeviceState& state) {
  AttentionKernels& kernels = this->kernels(work.problem.shape, work.problem.scale);
  kernels.reset(*stream_, state.view(), work.problem.rows());
  for (const auto& segments : work.launches) {
    kernels.attend(*stream_, {q.values, work.positions}, segments, state.view());
  }
}

Computed KernelsOnDevice::prefill(const Prefill& work) {
  const HeadShape& shape = work.problem.shape;
  const std::int64_t items = work.problem.rows() * shape.query_heads;
  const Array q = upload(work.problem.q);
  const DeviceState state = blank_state(items, shape.head_dim);
  const DevicePartial out = blank_partial(items, shape.head_dim);
  attend(work, q, state);
  kernels(shape, work.problem.scale)
      .finish(*stream_, state.view(), out.view(), work.problem.rows());
  return download(out);
}

Computed KernelsOnDevice::prefill_whole(const Prefill& work, const std::vector<DeviceKv*>& late,
                                        bool beside_kernels) {
  const HeadShape& shape = work.problem.shape;
  const std::int64_t rows = work.problem.rows(), items = rows * shape.query_heads;
  const Array q = upload(work.problem.q);
  DeviceState state = blank_state(items, shape.head_dim);
  const auto side = device_->new_stream();
  std::vector<ArrivingSegments> sources;
  for (std::size_t i = 0; i < work.launches.size(); ++i) {
    sources.push_back({late[i] ? late[i]->arrive_late(*side) : Event(), work.launches[i]});
  }
  kernels(shape, work.problem.scale)
      .attend_whole(*stream_, {q.values, work.positions}, std::move(sources), state.view(),
                    beside_kernels);
  return {download(state.acc), download(state.m)};
}

Computed KernelsOnDevice::prefill_in_place(const Prefill& work) {
  const HeadShape& shape = work.problem.shape;
  const std::int64_t items = work.problem.rows() * shape.query_heads;
  const Array q = upload(work.problem.q);
  DeviceState state = blank_state(items, shape.head_dim);
  attend(work, q, state);
  kernels(shape, work.problem.scale)
      .finish(*stream_, state.view(), {state.acc.values, state.m.values}, work.problem.rows());
  return {download(state.acc), download(state.m)};
}

Computed KernelsOnDevice::decode(const DenseProblem& problem,
                                 const std::vector<std::vector<KvSegment>>& segments) {
  const HeadShape& shape = problem.shape;
  const std::int64_t values = std::int64_t{shape.query_heads} * shape.head_dim;
  const Array q = upload(problem.q);
  const DevicePartial out = blank_partial(problem.rows() * shape.query_heads, shape.head_dim);
  std::vector<DecodeRow> rows;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Partial of_row{out.o.values + i * values, out.lse.values + i * shape.query_heads};
    rows.push_back({q.values + i * values, segments[i], of_row});
  }
  kernels(shape, problem.scale).decode(*stream_, rows);
  return download(out);
}

Computed KernelsOnDevice::merge(const HeadShape& shape, const std::vector<Computed>& sources) {
  const std::int64_t items = sources.empty() ? shape.query_heads : std::ssize(sources[0].lse);
  std::vector<DevicePartial> held;
  std::vector<Partial> partials;
  for (const Computed& source : sources) {
    held.push_back(upload(source));
    partials.push_back(held.back().view());
  }
  const DevicePartial out = blank_partial(items, shape.head_dim);
  kernels(shape, 1.0f).merge(*stream_, partials, out.view(), items / shape.query_heads);
  return download(out);
}

KvView DeviceKv::view() const {
  KvView view = host_.view();
  const float* const host = host_.memory().data();
  const std::ptrdiff_t k = view.keys() - host, v = view.values() - host;
  if (on_.has_bfloat16_pages()) view.type = KvType::kBFloat16;
  auto* const memory = reinterpret_cast<std::byte*>(memory_.values);
  view.k = memory + k * value_bytes(view.type);
  view.v = memory + v * value_bytes(view.type);
  return view;
}

Event DeviceKv::arrive_late(Stream& side) {
  const Bytes there = bytes_of(memory_);
  staged_ = on_.device().allocate_on_host(there.size());
  on_.device().copy(side, staged_.bytes(), there);
  const std::vector<float> nothing(memory_.count, kNan);
  on_.device().copy(side, there, std::as_bytes(std::span(nothing)));
  side.synchronize();
  side.call([] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); });
  on_.device().copy(side, there, staged_.bytes());
  return side.record();
}

const KvView& DeviceKv::fetch() {
  std::ranges::copy(on_.download_kv(memory_, host_.memory().size()), host_.memory().begin());
  return host_.view();
}

}  // namespace longspan::test
