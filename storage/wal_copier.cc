#include "storage/wal_copier.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"

namespace quorate::storage {

template <class F>
auto WalCopier::Alive(F fn) {
  return [alive = std::weak_ptr<bool>(alive_), fn = std::move(fn)](auto&&... args) mutable {
    if (!alive.expired()) fn(std::forward<decltype(args)>(args)...);
  };
}

WalCopier::WalCopier(Env& env, FileSystem& files, WalLive& live, uint64_t step_bytes, CopyFn copy,
                     Closure emptied)
    : env_(env),
      files_(files),
      live_(live),
      step_bytes_(step_bytes),
      copy_(std::move(copy)),
      emptied_(std::move(emptied)) {}

void WalCopier::Start(uint64_t segment, const std::string& path, uint32_t seed) {
  CHECK(idle() && segment != 0);
  segment_ = segment;
  content_.reset();
  next_item_ = 0;
  last_group_ = GroupId();
  const auto needs = live_.segments().find(segment);
  if (needs != live_.segments().end() && needs->second.runs != 0) return Read(path, seed);
  env_.executor.Post(Alive([this] { Step(); }));
}

// The whole segment at once, away from the executor; checksums are verified there, too.
void WalCopier::Read(const std::string& path, uint32_t seed) {
  const auto content = std::make_shared<std::unique_ptr<Content>>();
  files_.Background(
      [&files = files_, path, seed, content]() -> Status {
        auto read = std::make_unique<Content>();
        const auto file = files.Open(path, OpenMode::kMustExist);
        // A file that is gone is no failed read.
        if (file.ok()) {
          ASSIGN_OR_RETURN(const uint64_t size, (*file)->Size());
          ASSIGN_OR_RETURN(read->bytes, (*file)->Read(0, size));
          if (read->bytes.size() != size) {
            return IoError(fmt::format("read {}: {} of {} bytes", path, read->bytes.size(), size));
          }
          read->items = ScanSegment(read->bytes, seed);
        } else if (file.status().code() != Code::kNotFound) {
          return file.status();
        }
        *content = std::move(read);
        return Status::Ok();
      },
      Alive([this, path, seed, content](const Status& status) {
        if (!status.ok()) {
          PROBE("wal: copy reads again");
          env_.log.Error("wal: {}; it is read again in {} s", status.ToString(),
                         kCopyReadRetry / 1s);
          read_timer_ = env_.executor.After(kCopyReadRetry, [this, path, seed] {
            read_timer_ = 0;
            Read(path, seed);
          });
          return;
        }
        content_ = std::move(*content);
        Step();
      }));
}

void WalCopier::Step() {
  bytes_ = 0;
  looks_ = 0;
  // Heads only once the entries are copied: what is left of them then could not be read.
  const bool entries = content_ == nullptr || StepEntries();
  const bool done = entries && copies_.empty() && StepHeads();
  if (copies_.empty()) {
    if (!done) return env_.executor.Post(Alive([this] { Step(); }));
    segment_ = 0;
    return emptied_();
  }
  std::vector<Copy> copies = std::exchange(copies_, {});
  Copy last = std::move(copies.back());
  copies.pop_back();
  for (Copy& copy : copies) copy_(std::move(copy.record), copy.flags, {});
  copy_(std::move(last.record), last.flags, Alive([this] { Step(); }));
}

bool WalCopier::StepEntries() {
  for (; next_item_ < content_->items.size(); ++next_item_) {
    if (bytes_ >= step_bytes_ || ++looks_ > kCopyStepLooks) return false;
    CopyEntries(content_->items[next_item_]);
  }
  content_.reset();
  return true;
}

void WalCopier::CopyEntries(const ScanItem& item) {
  // What cannot be read is noticed by what it leaves behind, when heads are copied.
  if (item.kind != ScanItem::Kind::kRecord || MUTANT("wal-copy-drops-entries")) return;
  const WalLive::Group* group = live_.Find(item.frame.group);
  const Place place{segment_, item.begin};
  if (group == nullptr || WalLive::LiveOf(*group, 1, UINT64_MAX, place).empty()) return;
  WalRecord record;
  RecordFlags flags;
  if (!DecodeBody(item.body, &record, &flags) || record.entries.empty()) return;
  const uint64_t first = record.entries.front().index;
  const uint64_t last = record.entries.back().index;
  for (const WalLive::Range& range : WalLive::LiveOf(*group, first, last, place)) {
    PROBE("wal: copied forward");
    const auto begin = record.entries.begin() + static_cast<ptrdiff_t>(range.first - first);
    const auto end = record.entries.begin() + static_cast<ptrdiff_t>(range.last - first + 1);
    WalRecord copy;
    copy.group = item.frame.group;
    copy.incarnation = group->incarnation;
    copy.entries.assign(std::make_move_iterator(begin), std::make_move_iterator(end));
    for (const WalEntry& entry : copy.entries) bytes_ += entry.payload.size();
    copies_.push_back({std::move(copy), {.damaged = group->damaged, .copied = true}});
  }
}

bool WalCopier::StepHeads() {
  auto it = live_.groups().upper_bound(last_group_);
  for (; it != live_.groups().end(); ++it) {
    if (++looks_ > kCopyStepLooks) return false;
    last_group_ = it->first;
    const WalLive::Group& group = it->second;
    CHECK(group.damaged || WalLive::Contiguous(group), "group {}: copying left a hole", it->first);
    bool damaged = group.damaged;
    if (live_.ForgetRuns(it->first, segment_)) {
      PROBE("wal: copy found damage");
      env_.log.Error("wal: entries of group {} in {} cannot be read back", it->first,
                     SegmentName(segment_));
      damaged = !MUTANT("wal-copy-drops-entries");
    } else if (group.hard_state_segment != segment_ && group.mark_segment != segment_) {
      continue;
    }
    copies_.push_back({live_.Head(it->first), {.damaged = damaged, .copied = true}});
  }
  return true;
}

}  // namespace quorate::storage
