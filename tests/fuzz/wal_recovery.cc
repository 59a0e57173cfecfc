// storage/wal_recovery: a log of whatever records it may hold, with damage on top, is opened or
// refused; what was opened can be appended to, and says the same when it is opened again.
#include <algorithm>
#include <memory>

#include "base/check.h"
#include "storage/wal.h"
#include "storage/wal_format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::storage;

constexpr uint64_t kSegmentBytes = 16 << 10;
constexpr uint64_t kLogId = 77;
constexpr char kDirectory[] = "wal";

// What a group's records so far amount to: records that the log would not have taken are left out,
// because recovery rightly trusts what has a valid checksum and makes sense. In every fourth
// segment they are not: whatever they say, recovery ends, and says the same the next time.
struct Group {
  bool exists = false;
  uint64_t incarnation = 0;
  uint64_t mark = 0;
  uint64_t last = 0;
  uint32_t seq = 0;
  Place newest;

  bool Take(const WalRecord& record) {
    constexpr uint64_t kMax = uint64_t{1} << 40;
    const uint64_t mark_to = record.mark ? record.mark->index : 0;
    if (record.incarnation > kMax || mark_to > kMax) return false;
    if (exists && record.incarnation < incarnation) return false;
    if (record.reset && !record.mark) return false;
    Group next = *this;
    next.exists = true;
    if (record.incarnation > incarnation) next.mark = next.last = 0;
    next.incarnation = record.incarnation;
    if (record.reset) next.mark = next.last = mark_to;
    if (!record.entries.empty()) {
      const uint64_t first = record.entries.front().index;
      if (first <= next.mark || first > next.last + 1) return false;
      next.last = record.entries.back().index;
    }
    if (mark_to > next.last) return false;
    next.mark = std::max(next.mark, mark_to);
    if (record.destroy) next = Group{.seq = seq};
    *this = next;
    ++seq;
    return true;
  }
};

// Input: per record a byte (low 2 bits: group; bit 2: a new batch begins; bit 3: a new segment
// begins; bit 4: its number is left out; bit 5: a digest of the segment goes before it) and a body;
// an empty body ends it. Then pairs of a frame's
// length for a place and a byte to be written there.
class Log {
 public:
  explicit Log(std::string_view* input) {
    Begin();
    for (int records = 0; records < 32 && !input->empty(); ++records) {
      const uint8_t how = TakeByte(input);
      const std::string_view body = TakeFrame(input);
      if (body.empty()) break;
      if ((how & 8) != 0 || segment_.size() + kFrameBytes + body.size() > kSegmentBytes) {
        End();
        if ((how & 16) != 0) ++number_;
        Begin();
      }
      if ((how & 4) != 0) batch_ = segment_.size();
      if ((how & 32) != 0) AppendDigest(Note::Digest::kOfSegment);
      Append(GroupId(how & 3), body);
    }
    End();
  }
  const std::vector<std::pair<std::string, std::string>>& files() const { return files_; }
  std::vector<std::pair<std::string, std::string>>& files() { return files_; }

 private:
  void Begin() {
    segment_ = EncodeSegmentHeader({.number = ++number_, .log_id = kLogId});
    batch_ = segment_.size();
    AppendDigest(Note::Digest::kOfLog);
  }
  void AppendDigest(Note::Digest digest) {
    const bool of_log = digest == Note::Digest::kOfLog;
    Note note{.oldest = 1,
              .previous_end = of_log ? previous_end_ : 0,
              .log_id = of_log ? kLogId : 0,
              .digest = digest};
    for (uint64_t id = 1; id < std::size(groups_); ++id) {
      const Group& group = groups_[id];
      if (group.newest.segment != number_ && (!of_log || !group.exists)) continue;
      note.last_records.push_back(group.exists ? Note::Last{GroupId(id), group.seq, group.newest}
                                               : Note::Last{GroupId(id)});
    }
    std::string body;
    EncodeNote(note, &body);
    Append(kNoteGroup, body);
  }
  void Append(GroupId group, std::string_view body) {
    Group& state = groups_[group.value()];
    if (group == kNoteGroup) {
      Note note;
      if (!DecodeNote(body, &note)) return;
      ++state.seq;
    } else {
      WalRecord record;
      RecordFlags flags;
      // One in four may say anything that decodes: what cannot be meant is damage.
      if (!DecodeBody(body, &record, &flags)) return;
      if (!state.Take(record) && (number_ & 3) != 0) return;
    }
    const size_t at = segment_.size();
    segment_.resize(at + kFrameBytes);
    segment_.append(body);
    SealRecord(&segment_, at, SegmentSeed(kLogId, number_),
               {.offset = static_cast<uint32_t>(at),
                .batch = static_cast<uint32_t>(batch_),
                .seq = state.seq,
                .group = group});
    state.newest = {number_, at};
    if (!state.exists && group != kNoteGroup) state.seq = 0;  // destroyed: numbers start again
  }
  void End() {
    previous_end_ = segment_.size();
    segment_.resize(kSegmentBytes);
    files_.emplace_back(SegmentName(number_), std::move(segment_));
  }

  uint64_t number_ = 0;
  size_t batch_ = 0;
  uint64_t previous_end_ = 0;
  Group groups_[4];
  std::string segment_;
  std::vector<std::pair<std::string, std::string>> files_;
};

Result<std::unique_ptr<Wal>> Open(TestEnv& world, RamFiles& files) {
  return Wal::Open(world.env, files, {.directory = kDirectory, .segment_bytes = kSegmentBytes});
}

bool Same(const std::map<GroupId, WalGroup>& a, const std::map<GroupId, WalGroup>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.incarnation == y.second.incarnation &&
           x.second.hard_state == y.second.hard_state && x.second.mark == y.second.mark &&
           x.second.entries == y.second.entries && x.second.damaged == y.second.damaged;
  });
}

}  // namespace

void Run(std::string_view input) {
  Log log(&input);
  while (input.size() >= 3) {
    auto& bytes = log.files()[TakeByte(&input) % log.files().size()].second;
    const size_t low = TakeByte(&input), high = TakeByte(&input);
    bytes[(low + high * 256) % bytes.size()] = static_cast<char>(TakeByte(&input));
  }
  TestEnv world;
  RamDisk disk;
  {
    RamFiles files(world.executor, disk);
    for (const auto& [name, bytes] : log.files()) {
      auto file = files.Open(std::string(kDirectory) + "/" + name, OpenMode::kCreate);
      CHECK(file.ok() && (*file)->Write(0, bytes).ok());
    }
  }
  disk.SettleAll();
  std::map<GroupId, WalGroup> first;
  bool lost = false;
  {
    RamFiles files(world.executor, disk);
    auto wal = Open(world, files);
    if (!wal.ok()) return;
    first = (*wal)->recovered();
    lost = (*wal)->lost_records();
    for (const auto& [id, group] : first) {
      uint64_t index = group.mark.index;
      for (const WalEntry& entry : group.entries) CHECK(entry.index == ++index, "a gap");
    }
  }
  disk.Kill();
  world.executor.Clear();
  RamFiles files(world.executor, disk);
  auto wal = Open(world, files);
  CHECK(wal.ok(), "opened once, and then: {}", wal.status().ToString());
  CHECK(Same((*wal)->recovered(), first), "the second opening finds something else");
  // The second opening may be more careful than the first, never less.
  CHECK(!lost || (*wal)->lost_records(), "lost records are forgotten");
  bool durable = false;
  WalRecord record;
  record.group = GroupId(9);
  record.hard_state = WalHardState{1, 1, 0};
  (*wal)->Append(std::move(record), [&durable] { durable = true; });
  world.executor.RunFor(1s);
  CHECK(durable, "an append to a log that opened");
}

std::vector<std::string> Seeds() {
  std::string input;
  const auto record = [&input](int how, const WalRecord& record) {
    std::string body;
    EncodeBody(record, {}, &body);
    input.push_back(static_cast<char>(how));
    PutFrame(&input, body);
  };
  WalRecord first;
  first.incarnation = 1;
  first.hard_state = WalHardState{1, 1, 0};
  first.entries = {{1, 1, 1, "configuration"}, {2, 1, 2, ""}};
  record(1, first);
  WalRecord more;
  more.incarnation = 1;
  more.entries = {{3, 1, 0, "three"}, {4, 2, 0, "four"}};
  record(5, more);
  record(2, first);
  WalRecord mark;
  mark.incarnation = 1;
  mark.mark = WalMark{2, 1};
  record(13, mark);
  WalRecord reset;
  reset.incarnation = 1;
  reset.reset = true;
  reset.mark = WalMark{9, 2};
  reset.hard_state = WalHardState{2, 0, 9};
  record(6, reset);
  WalRecord behind_a_digest;
  behind_a_digest.incarnation = 1;
  behind_a_digest.entries = {{5, 2, 0, "five"}};
  record(33, behind_a_digest);
  const std::string whole = input;
  WalRecord destroy;
  destroy.incarnation = 1;
  destroy.destroy = true;
  record(29, destroy);
  return {whole, input, whole + std::string("\0\0\0\0\x50\x10\x7f", 7)};
}

}  // namespace quorate::fuzz
