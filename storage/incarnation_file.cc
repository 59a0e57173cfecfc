#include "storage/incarnation_file.h"

#include <algorithm>
#include <utility>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kSlotBytes = 64 << 10;
constexpr size_t kHeaderBytes = 8;
constexpr size_t kHistoryMax = 1'000;
constexpr size_t kVarintBytesMax = 10;
static_assert(kHeaderBytes + 8 * kVarintBytesMax + kHistoryMax * (kVarintBytesMax + 8) +
                  limits::kNodesMax * (2 * kVarintBytesMax + 8) <=
              kSlotBytes);

void PutIncarnation(std::string* out, const Incarnation& incarnation) {
  PutVarint(out, incarnation.number);
  PutFixed64(out, incarnation.nonce);
}

bool GetIncarnation(std::string_view* in, Incarnation* incarnation) {
  return GetVarint(in, &incarnation->number) && GetFixed64(in, &incarnation->nonce);
}

}  // namespace

std::string IncarnationFile::Encode(const State& state) {
  std::string body;
  PutVarint(&body, state.sequence);
  PutVarint(&body, state.doubted ? 1 : 0);
  PutVarint(&body, state.lost_up_to);
  PutVarint(&body, state.history.size());
  for (const Incarnation& each : state.history) PutIncarnation(&body, each);
  PutVarint(&body, state.others.size());
  for (const auto& [node, incarnation] : state.others) {
    PutVarint(&body, node.value());
    PutIncarnation(&body, incarnation);
  }
  std::string slot;
  PutFixed32(&slot, Crc32c(body));
  PutFixed32(&slot, static_cast<uint32_t>(body.size()));
  return slot + body;
}

bool IncarnationFile::Decode(std::string_view slot, State* state) {
  uint32_t crc = 0;
  uint32_t size = 0;
  if (!GetFixed32(&slot, &crc) || !GetFixed32(&slot, &size) || size > slot.size()) return false;
  std::string_view body = slot.substr(0, size);
  if (body.empty() || Crc32c(body) != crc) return false;
  uint64_t doubted = 0;
  uint64_t count = 0;
  if (!GetVarint(&body, &state->sequence) || !GetVarint(&body, &doubted) ||
      !GetVarint(&body, &state->lost_up_to) || !GetVarint(&body, &count) || count > kHistoryMax) {
    return false;
  }
  state->doubted = doubted != 0;
  state->history.resize(count);
  for (Incarnation& each : state->history) {
    if (!GetIncarnation(&body, &each)) return false;
  }
  if (!GetVarint(&body, &count) || count > limits::kNodesMax) return false;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t node = 0;
    Incarnation incarnation;
    if (!GetVarint(&body, &node) || !GetIncarnation(&body, &incarnation)) return false;
    state->others[NodeId(node)] = incarnation;
  }
  return body.empty();
}

Result<std::unique_ptr<IncarnationFile>> IncarnationFile::Open(Env& env, FileSystem& files,
                                                               const std::string& directory) {
  ASSIGN_OR_RETURN(auto file, files.Open(directory + "/INCARNATIONS", OpenMode::kCreate));
  RETURN_IF_ERROR(file->Allocate(2 * kSlotBytes));
  std::unique_ptr<IncarnationFile> opened(new IncarnationFile(env, std::move(file)));
  RETURN_IF_ERROR(opened->Load());
  State& wanted = opened->wanted_;
  const uint64_t newest = wanted.history.empty() ? 0 : wanted.history.back().number;
  const Incarnation drawn{std::max(newest, wanted.lost_up_to) + 1,
                          env.random.Fork("incarnation").Next()};
  if (wanted.history.size() == kHistoryMax) wanted.history.erase(wanted.history.begin());
  wanted.history.push_back(drawn);
  if (MUTANT("incarnation-not-durable")) {
    opened->durable_ = wanted;
    return opened;
  }
  RETURN_IF_ERROR(opened->WriteNow());
  RETURN_IF_ERROR(files.SyncDirectory(directory));
  return opened;
}

Status IncarnationFile::Load() {
  bool blank = true;
  for (const uint64_t at : {uint64_t{0}, kSlotBytes}) {
    ASSIGN_OR_RETURN(const std::string slot, file_->Read(at, kSlotBytes));
    blank &= slot.find_first_not_of('\0') == std::string::npos;
    State state;
    if (Decode(slot, &state) && state.sequence >= wanted_.sequence) wanted_ = std::move(state);
  }
  if (!blank && wanted_.sequence == 0) {
    PROBE("storage: incarnations lost");
    env_.log.Error(
        "data: INCARNATIONS is damaged: if others remember this node, its replicas are fetched "
        "again");
  }
  durable_ = wanted_;
  return Status::Ok();
}

Incarnation IncarnationFile::previous() const {
  const auto& history = durable_.history;
  return history.size() < 2 ? Incarnation() : history[history.size() - 2];
}

bool IncarnationFile::Descends(const Incarnation& incarnation) const {
  const auto& history = durable_.history;
  return incarnation.number <= durable_.lost_up_to ||
         std::find(history.begin(), history.end(), incarnation) != history.end();
}

// ---- writing ------------------------------------------------------------------------------------

// Never the slot that holds what is durable.
std::string IncarnationFile::Next() {
  wanted_.sequence = durable_.sequence + 1;
  return Encode(wanted_);
}

uint64_t IncarnationFile::Offset() const { return wanted_.sequence % 2 * kSlotBytes; }

Status IncarnationFile::WriteNow() {
  const std::string bytes = Next();
  RETURN_IF_ERROR(file_->Write(Offset(), bytes));
  RETURN_IF_ERROR(file_->Sync());
  durable_ = wanted_;
  return Status::Ok();
}

void IncarnationFile::WriteLater(Done done) {
  waiting_.push_back(std::move(done));
  if (!writing_) StartWrite();
}

void IncarnationFile::StartWrite() {
  writing_ = true;
  auto bytes = std::make_shared<const std::string>(Next());
  file_->WriteAndSync(Offset(), std::move(bytes),
                      [this, alive = alive_, state = wanted_,
                       waiting = std::exchange(waiting_, {})](const Status& status) mutable {
                        if (!*alive) return;
                        writing_ = false;
                        if (status.ok()) durable_ = std::move(state);
                        for (Done& done : waiting) {
                          done(status);
                          if (!*alive) return;
                        }
                        if (!waiting_.empty() && !writing_) StartWrite();
                      });
}

void IncarnationFile::Doubt(const Incarnation& newer, Done done) {
  wanted_.doubted = !MUTANT("incarnation-reverted-not-damaged");
  wanted_.lost_up_to = std::max(wanted_.lost_up_to, newer.number);
  WriteLater(std::move(done));
}

Status IncarnationFile::Settle() {
  wanted_.doubted = false;
  return WriteNow();
}

Incarnation IncarnationFile::Remembered(NodeId node) const {
  const auto found = durable_.others.find(node);
  return found == durable_.others.end() ? Incarnation() : found->second;
}

void IncarnationFile::Remember(NodeId node, const Incarnation& incarnation, Done done) {
  const bool known = wanted_.others.contains(node);
  if (!known && wanted_.others.size() >= limits::kNodesMax) {
    return done(Status(Code::kOverloaded, "too many nodes are remembered"));
  }
  wanted_.others[node] = incarnation;
  WriteLater(std::move(done));
}

}  // namespace quorate::storage
