#include "schema/row_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "quorate/v1/schema.pb.h"
#include "schema/limits.h"
#include "schema/wire.h"

namespace quorate::schema {
namespace {

constexpr uint32_t kNumberMax = (1u << 29) - 1;

bool IsMessage(Kind kind) {
  return kind == Kind::kPresent || kind == Kind::kTimestamp || kind == Kind::kDuration;
}

WireType WireTypeOf(v1::ColumnType type) {
  switch (type) {
    case v1::COLUMN_DOUBLE:
    case v1::COLUMN_FIXED64:
    case v1::COLUMN_SFIXED64:
      return WireType::kFixed64;
    case v1::COLUMN_FLOAT:
    case v1::COLUMN_FIXED32:
    case v1::COLUMN_SFIXED32:
      return WireType::kFixed32;
    case v1::COLUMN_GROUP:
      return WireType::kStartGroup;
    case v1::COLUMN_STRING:
    case v1::COLUMN_BYTES:
    case v1::COLUMN_MESSAGE:
    case v1::COLUMN_TIMESTAMP:
    case v1::COLUMN_DURATION:
      return WireType::kLengthDelimited;
    default:
      return WireType::kVarint;
  }
}

// A number as protobuf's parsers read it: what is too wide is cut.
Value FromBits(v1::ColumnType type, uint64_t bits) {
  const auto narrow = static_cast<uint32_t>(bits);
  switch (type) {
    case v1::COLUMN_DOUBLE:
      return Value::Double(std::bit_cast<double>(bits));
    case v1::COLUMN_FLOAT:
      return Value::Float(std::bit_cast<float>(narrow));
    case v1::COLUMN_INT64:
    case v1::COLUMN_SFIXED64:
      return Value::Int(static_cast<int64_t>(bits));
    case v1::COLUMN_UINT64:
    case v1::COLUMN_FIXED64:
      return Value::Uint(bits);
    case v1::COLUMN_INT32:
    case v1::COLUMN_ENUM:
    case v1::COLUMN_SFIXED32:
      return Value::Int(static_cast<int32_t>(narrow));
    case v1::COLUMN_UINT32:
    case v1::COLUMN_FIXED32:
      return Value::Uint(narrow);
    case v1::COLUMN_SINT32:
      return Value::Int(static_cast<int32_t>(UnZigZag(narrow)));
    case v1::COLUMN_SINT64:
      return Value::Int(UnZigZag(bits));
    case v1::COLUMN_BOOL:
      return Value::Bool(bits != 0);
    default:
      return Value();
  }
}

Value Zero(v1::ColumnType type) {
  switch (KindOf(type)) {
    case Kind::kString:
      return Value::String("");
    case Kind::kBytes:
      return Value::Bytes("");
    default:
      return FromBits(type, 0);
  }
}

}  // namespace

// The last step of a column, and what the column has where its field is absent.
struct RowReader::Leaf {
  std::string path;
  v1::ColumnType type = v1::COLUMN_NONE;
  Kind kind = Kind::kNull;
  bool itself_repeated = false;  // its last step is
  bool repeated = false;         // one of its steps is
  size_t repeated_at = 0;        // which one
  bool has_default = false;
  Value absent;  // null, the default, or zero
};

// A field on the way: what is below it, and what it ends.
struct RowReader::Node {
  struct Step {
    std::unique_ptr<Node> below;  // of a message that leads on
    std::vector<size_t> leaves;   // columns that end here
    std::vector<size_t> all;      // those, and all below
    bool repeated = false;
    size_t depth = 0;  // 0: of the row's message
  };
  std::map<uint32_t, Step> steps;
  // A field -> the steps that it ends when it comes later: members of its oneof.
  std::map<uint32_t, std::vector<uint32_t>> ends;
  std::vector<size_t> here;  // columns whose last step is one of these steps
};

RowReader::RowReader() : root_(std::make_unique<Node>()) {}
RowReader::~RowReader() = default;
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;

Result<size_t> RowReader::AddColumn(const v1::Column& column) {
  const auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("column {}: {}", Printable(column.path()), why));
  };
  if (column.steps().empty() || column.steps_size() > static_cast<int>(kStepsMax)) {
    return wrong(fmt::format("has {} steps, 1 to {} are possible", column.steps_size(), kStepsMax));
  }
  Leaf leaf;
  leaf.path = column.path();
  leaf.type = column.type();
  leaf.kind = KindOf(column.type());
  if (leaf.kind == Kind::kNull) return wrong("has no type that this version knows");
  for (const v1::PathStep& step : column.steps()) {
    if (step.number() == 0 || step.number() > kNumberMax) return wrong("has no such field number");
    if (step.repeated() && leaf.repeated) return wrong("leads through two repeated fields");
    leaf.repeated |= step.repeated();
    if (!leaf.repeated) ++leaf.repeated_at;
    leaf.itself_repeated = step.repeated();
  }
  if (column.has_default_value()) {
    if (!column.has_presence()) return wrong("has a default and no presence");
    auto value = ParseLiteral(leaf.type, column.default_value());
    if (!value.ok()) return wrong(value.status().message());
    leaf.absent = std::move(value).value();
    leaf.has_default = true;
  } else if (!column.has_presence() && !IsMessage(leaf.kind) && !leaf.itself_repeated) {
    leaf.absent = Zero(leaf.type);
  }

  Node* node = root_.get();
  std::vector<Node::Step*> way;
  for (const v1::PathStep& step : column.steps()) {
    if (!way.empty()) {
      if (way.back()->below == nullptr) way.back()->below = std::make_unique<Node>();
      node = way.back()->below.get();
    }
    const bool first = !node->steps.contains(step.number());
    Node::Step& at = node->steps[step.number()];
    if (!first && at.repeated != step.repeated()) return wrong("is repeated in one of two columns");
    at.repeated = step.repeated();
    at.depth = way.size();
    for (const uint32_t sibling : step.oneof_siblings()) {
      std::vector<uint32_t>& ended = node->ends[sibling];
      if (std::ranges::find(ended, step.number()) == ended.end()) ended.push_back(step.number());
    }
    way.push_back(&at);
  }
  for (const size_t same : way.back()->leaves) {
    if (leaves_[same].type != leaf.type) return wrong("has another type in another column");
    if (leaves_[same].absent == leaf.absent) return same;
  }
  const size_t place = leaves_.size();
  leaves_.push_back(std::move(leaf));
  way.back()->leaves.push_back(place);
  for (Node::Step* step : way) step->all.push_back(place);
  node->here.push_back(place);
  return place;
}

Status RowReader::AddStored(const v1::StoredField& field) {
  if (field.number() == 0 || field.number() > kNumberMax) {
    return InvalidArgument(
        fmt::format("stored field {}: has no such number", Printable(field.name())));
  }
  if (!stored_.insert(field.number()).second) return Status::Ok();
  for (const uint32_t sibling : field.oneof_siblings()) {
    stored_ends_[sibling].push_back(field.number());
  }
  return Status::Ok();
}

// One walk. A column's values so far are in `row->columns`; of a singular one there is none until
// its message is known to be there (`Enter`), so that a missing message can be told from a missing
// field. Recurses as deep as columns have steps, whatever is in the bytes.
class RowReader::Walk {
 public:
  Walk(const RowReader& reader, Row* row) : reader_(reader), row_(row) {}

  Status Message(const Node& node, std::string_view bytes, bool root) {
    Enter(node);
    const std::string_view all = bytes;
    for (WireField field; !bytes.empty();) {
      const size_t at = all.size() - bytes.size();
      if (!NextField(&bytes, &field)) return Malformed(at, root);
      if (root) Store(field);
      if (const auto ended = node.ends.find(field.number); ended != node.ends.end()) {
        for (const uint32_t number : ended->second) End(node.steps.at(number));
      }
      const auto step = node.steps.find(field.number);
      if (step == node.steps.end()) continue;
      RETURN_IF_ERROR(Take(step->second, field));
    }
    return Status::Ok();
  }

  Status Finish(RowReader::Judge judge) {
    for (size_t place = 0; place < reader_.leaves_.size(); ++place) {
      const Leaf& leaf = reader_.leaves_[place];
      Values& values = row_->columns[place];
      if (!leaf.repeated && values.empty()) values.push_back(Missing(leaf));
      if (judge == RowReader::Judge::kForm) continue;
      for (const Value& value : values) RETURN_IF_ERROR(JudgeValue(leaf, value));
    }
    return Status::Ok();
  }

 private:
  // A field in a message that is missing itself: null, unless it has a default.
  static Value Missing(const Leaf& leaf) { return leaf.has_default ? leaf.absent : Value(); }

  static Status Malformed(size_t at, bool root) {
    return InvalidArgument(fmt::format("no message has such bytes (byte {}{})", at,
                                       root ? "" : " of a message inside it"));
  }

  static Status JudgeValue(const Leaf& leaf, const Value& value) {
    const char* wrong = nullptr;
    if (value.kind() == Kind::kString && !IsUtf8(value.text())) wrong = "is not UTF-8";
    if (value.kind() == Kind::kTimestamp && !IsTimestamp(value.seconds(), value.nanos())) {
      wrong = "is outside of the years 1 to 9999, or its nanos outside of 0 to 999,999,999";
    }
    if (value.kind() == Kind::kDuration && !IsDuration(value.seconds(), value.nanos())) {
      wrong = "is longer than 10,000 years, or its nanos are of another sign or too many";
    }
    if (wrong == nullptr) return Status::Ok();
    return InvalidArgument(fmt::format("{} {}", leaf.path, wrong));
  }

  void Store(const WireField& field) {
    if (const auto ended = reader_.stored_ends_.find(field.number);
        ended != reader_.stored_ends_.end()) {
      std::erase_if(row_->stored, [&](const auto& kept) {
        return std::ranges::find(ended->second, kept.first) != ended->second.end();
      });
    }
    if (reader_.stored_.contains(field.number))
      row_->stored.emplace_back(field.number, field.whole);
  }

  // Another member of its oneof came later: as if it had never been there.
  void End(const Node::Step& step) {
    for (const size_t place : step.all) {
      Values& values = row_->columns[place];
      const Leaf& leaf = reader_.leaves_[place];
      if (values.empty()) continue;
      if (leaf.repeated && leaf.repeated_at > step.depth) {
        values.clear();  // elements below it
        continue;
      }
      // In an element of a repeated message above it, the last value is the one of this element.
      const bool here = std::ranges::find(step.leaves, place) != step.leaves.end();
      values.back() = here ? leaf.absent : Missing(leaf);
      if (!here && !leaf.repeated) values.clear();
    }
  }

  Status Take(const Node::Step& step, const WireField& field) {
    for (const size_t place : step.leaves) RETURN_IF_ERROR(TakeLeaf(place, field));
    const bool message = field.type == WireType::kLengthDelimited;
    if (step.below == nullptr || !message) return Status::Ok();
    if (step.repeated) {
      // A new element: every column below has its place in it, even if nothing is there.
      for (const size_t place : step.all) {
        if (std::ranges::find(step.leaves, place) != step.leaves.end()) continue;
        RETURN_IF_ERROR(Room(place));
        row_->columns[place].push_back(Missing(reader_.leaves_[place]));
      }
    }
    return Message(*step.below, field.payload, false);
  }

  // Columns whose last step is in a message that is there: absent so far.
  void Enter(const Node& node) {
    for (const size_t place : node.here) {
      const Leaf& leaf = reader_.leaves_[place];
      Values& values = row_->columns[place];
      if (leaf.itself_repeated) continue;
      if (!leaf.repeated) {
        if (values.empty()) values.push_back(leaf.absent);
      } else if (!values.empty() && values.back().null()) {
        values.back() = leaf.absent;
      }
    }
  }

  Status Room(size_t place) {
    if (row_->columns[place].size() < kElementsMax) return Status::Ok();
    return InvalidArgument(
        fmt::format("{} has more than {} elements", reader_.leaves_[place].path, kElementsMax));
  }

  Status Put(size_t place, Value value) {
    Values& values = row_->columns[place];
    if (reader_.leaves_[place].itself_repeated) {
      RETURN_IF_ERROR(Room(place));
      values.push_back(std::move(value));
    } else if (values.empty()) {
      values.push_back(std::move(value));
    } else {
      values.back() = std::move(value);
    }
    return Status::Ok();
  }

  Status TakeLeaf(size_t place, const WireField& field) {
    const Leaf& leaf = reader_.leaves_[place];
    const WireType wire = WireTypeOf(leaf.type);
    const bool packable = wire != WireType::kLengthDelimited && wire != WireType::kStartGroup;
    if (leaf.itself_repeated && packable && field.type == WireType::kLengthDelimited) {
      return TakePacked(place, wire, field.payload);
    }
    if (field.type != wire) return Status::Ok();  // an unknown field, as for every parser
    switch (leaf.kind) {
      case Kind::kString:
        return Put(place, Value::String(std::string(field.payload)));
      case Kind::kBytes:
        return Put(place, Value::Bytes(std::string(field.payload)));
      case Kind::kPresent:
        return Put(place, Value::Present());
      case Kind::kTimestamp:
      case Kind::kDuration:
        return TakeTime(place, field.payload);
      default:
        return Put(place, FromBits(leaf.type, field.bits));
    }
  }

  Status TakePacked(size_t place, WireType wire, std::string_view bytes) {
    while (!bytes.empty()) {
      WireField element;
      if (!NextPacked(&bytes, wire, &element.bits)) {
        return InvalidArgument(
            fmt::format("{} has a malformed packed list", reader_.leaves_[place].path));
      }
      RETURN_IF_ERROR(Put(place, FromBits(reader_.leaves_[place].type, element.bits)));
    }
    return Status::Ok();
  }

  // Both are of seconds = 1 and nanos = 2. A second piece is merged with the first.
  Status TakeTime(size_t place, std::string_view bytes) {
    const Leaf& leaf = reader_.leaves_[place];
    int64_t seconds = 0;
    int32_t nanos = 0;
    const Values& values = row_->columns[place];
    if (!leaf.itself_repeated && !values.empty() && !values.back().null()) {
      seconds = values.back().seconds();
      nanos = values.back().nanos();
    }
    for (WireField field; !bytes.empty();) {
      if (!NextField(&bytes, &field)) {
        return InvalidArgument(fmt::format("{} is no well-formed message", leaf.path));
      }
      if (field.type != WireType::kVarint) continue;
      if (field.number == 1) seconds = static_cast<int64_t>(field.bits);
      if (field.number == 2) nanos = static_cast<int32_t>(static_cast<uint32_t>(field.bits));
    }
    const bool timestamp = leaf.kind == Kind::kTimestamp;
    return Put(place,
               timestamp ? Value::Timestamp(seconds, nanos) : Value::Duration(seconds, nanos));
  }

  const RowReader& reader_;
  Row* row_;
};

Result<RowReader::Row> RowReader::Read(std::string_view row, Judge judge) const {
  Row found;
  found.columns.resize(leaves_.size());
  Walk walk(*this, &found);
  RETURN_IF_ERROR(walk.Message(*root_, row, true));
  RETURN_IF_ERROR(walk.Finish(judge));
  return found;
}

}  // namespace quorate::schema
